//! The faults of a run: drawn before it begins, done when their time comes.

use leasehold_core::time::Timings;

use crate::clock::{MS, SECOND, Time};
use crate::dice::Dice;
use crate::event::{EngineIndex, MachineIndex};
use crate::plan::{Class, Plan};

/// Which machine a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Machine(MachineIndex),
    /// Whichever leads when the time comes.
    Leader,
}

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The process dies and another starts `down` later; `is_proven`: it knows that its
    /// predecessor is gone.
    Crash {
        victim: Victim,
        down: Time,
        is_proven: bool,
    },
    /// Told to lend nothing new, then stopped.
    Drain {
        victim: Victim,
        down: Time,
    },
    /// Nothing is handled for a while; messages wait. The clocks run on.
    Pause {
        victim: Victim,
        lasts: Time,
    },
    /// As a pause, but the steady clock stands still; the wall clock shows it afterwards.
    Suspend {
        victim: Victim,
        lasts: Time,
    },
    WallStep {
        victim: Victim,
        by_ms: i64,
    },
    /// The machine is cut off from all other machines.
    Isolate {
        victim: Victim,
        lasts: Time,
        with_engines: bool,
        is_one_way: bool,
    },
    /// The machine is cut off from all others, with some of the engines: they reach it and nothing
    /// else.
    CutSite {
        victim: Victim,
        lasts: Time,
    },
    /// No engine reaches the machine.
    CutEngines {
        victim: Victim,
        lasts: Time,
    },
    /// One engine loses one machine, or only its answers.
    CutEngine {
        engine: EngineIndex,
        machine: MachineIndex,
        lasts: Time,
        is_one_way: bool,
    },
    /// Leadership moves though nothing failed.
    LeaderChange,
    /// Nobody can be elected for a while.
    NoLeader {
        lasts: Time,
    },
    /// A second process starts under the id of a node that still runs, and takes some of its
    /// engines; the first stops later.
    Twin {
        machine: MachineIndex,
        lasts: Time,
        is_cut_off: bool,
    },
    /// Two groups of machines that don't reach each other; `ones` has a bit for each of the first.
    Split {
        ones: u64,
        lasts: Time,
    },
    /// The steady clock stands still again and again, each time for less than the margin, while no
    /// other machine is reached.
    Stutter {
        victim: Victim,
        times: u64,
    },
    Members(MemberChange),
    /// An engine starts anew in the middle of whatever it did.
    EngineCrash {
        engine: EngineIndex,
    },
    /// Voters are reached, and nothing commits for a while.
    SlowCommits {
        lasts: Time,
    },
    /// The machine gets entries of the log and does not come round to apply them.
    SlowApply {
        victim: Victim,
        lasts: Time,
    },
    /// Another entitlement: units grow, shrink or vanish.
    Entitle,
}

/// Whoever belongs to the cluster changes; that takes a leader.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MemberChange {
    Remove {
        machine: MachineIndex,
    },
    /// The node dies with its disk: the machine comes back as a new one.
    Wipe {
        victim: Victim,
        down: Time,
    },
    /// An operator keeps the node from lending, and lets it in later.
    Fence {
        machine: MachineIndex,
        lasts: Time,
    },
    LetIn {
        machine: MachineIndex,
    },
}

pub(crate) fn schedule(plan: &Plan, dice: &mut Dice) -> Vec<(Time, Fault)> {
    let mut faults = match plan.class {
        Class::Single => one_at_a_time(plan, dice),
        Class::Wild => at_any_time(plan, dice),
        Class::Hostile => site_by_site(plan, dice),
    };
    for _ in 0..dice.below(4) {
        faults.push((dice.between(SECOND, plan.heal_at - SECOND), Fault::Entitle));
    }
    faults
}

fn one_at_a_time(plan: &Plan, dice: &mut Dice) -> Vec<(Time, Fault)> {
    let lease = plan.timings.lease_ms * MS;
    let mut faults = Vec::new();
    let mut at = lease + dice.below(2 * SECOND);
    while at < plan.heal_at {
        let (fault, lasts) = single(plan, dice);
        faults.push((at, fault));
        // The next machine fails when the calls of this one have moved, and those have been
        // renewed once where they are now.
        at += lasts + lease + plan.timings.checkout_ttl_ms * MS + dice.below(2 * lease);
    }
    faults
}

fn single(plan: &Plan, dice: &mut Dice) -> (Fault, Time) {
    let lease = plan.timings.lease_ms * MS;
    let victim = victim(plan, dice);
    let lasts = dice.between(lease / 10, 2 * lease);
    let with_engines = dice.chance(500);
    match dice.below(8) {
        0 | 1 => (Fault::Crash { victim, down: lasts, is_proven: true }, lasts),
        2 => (Fault::Crash { victim, down: lasts, is_proven: false }, lasts),
        3 => (Fault::Pause { victim, lasts }, lasts),
        4 => (Fault::Isolate { victim, lasts, with_engines, is_one_way: false }, lasts),
        5 => (Fault::CutEngines { victim, lasts }, lasts),
        6 => (Fault::Drain { victim, down: lasts }, lasts),
        _ => (Fault::LeaderChange, 0),
    }
}

fn at_any_time(plan: &Plan, dice: &mut Dice) -> Vec<(Time, Fault)> {
    let mut faults = Vec::new();
    let is_stormy = dice.chance(400);
    let gap = plan.timings.lease_ms * MS / if is_stormy { 2 } else { 1 };
    let mut at = dice.below(2 * gap);
    while at < plan.heal_at {
        faults.push((at, any(plan, dice)));
        at += dice.between(gap / 10, 2 * gap);
    }
    if plan.machines > 3 && dice.chance(300) {
        let machine = dice.index(plan.machines);
        let removal = Fault::Members(MemberChange::Remove { machine });
        faults.push((dice.between(SECOND, plan.heal_at), removal));
    }
    faults
}

/// Cuts that outlast a lease and every checkout under it; some after the machine had hardly been
/// heard again.
fn site_by_site(plan: &Plan, dice: &mut Dice) -> Vec<(Time, Fault)> {
    let lease = plan.timings.lease_ms * MS;
    let thaw = plan.timings.thaw_after_ms() * MS;
    let mut faults = Vec::new();
    let mut at = lease + dice.below(lease);
    while at < plan.heal_at {
        let machine = dice.index(plan.machines);
        let victim = Victim::Machine(machine);
        let lasts = lease + thaw + dice.below(2 * lease);
        match dice.below(6) {
            0 => faults.push((at, Fault::Twin { machine, lasts, is_cut_off: true })),
            1 | 2 => {
                // Its beats arrive again when its lease is about to be ended.
                let waited = plan.timings.end_lease_after_ms() * MS;
                let first = waited - dice.below((plan.timings.heartbeat_ms + 400) * MS);
                faults.push((at, Fault::CutSite { victim, lasts: first }));
                at += first + dice.between(20, 400) * MS;
                faults.push((at, Fault::CutSite { victim, lasts }));
            }
            3 => {
                let engine = dice.index(plan.engines);
                let (is_one_way, lasts) = (dice.chance(700), thaw);
                for machine in 0..plan.machines {
                    faults.push((at, Fault::CutEngine { engine, machine, lasts, is_one_way }));
                }
                at += lease / 2;
                continue;
            }
            4 => {
                // Cut off, and halted just as its lease is about to end.
                let halted = at + lease * 3 / 4;
                let times = if dice.chance(600) { 1 } else { dice.between(2, 40) };
                if dice.chance(300) {
                    // Set back by as little as would hide a halt.
                    let by_ms = i64::try_from(halt_ms(&plan.timings)).unwrap_or(0);
                    let fault = Fault::WallStep { victim, by_ms: -by_ms };
                    faults.push((halted.saturating_sub(SECOND), fault));
                }
                faults.push((halted, Fault::Stutter { victim, times }));
                faults.push((at, Fault::CutSite { victim, lasts }));
            }
            _ => faults.push((at, Fault::CutSite { victim, lasts })),
        }
        at += lasts + dice.below(lease);
    }
    faults
}

/// How long one halt of a stutter lasts: below the margin.
pub(crate) fn halt_ms(timings: &Timings) -> u64 {
    (timings.margin_ms * 9 / 10).max(1)
}

fn any(plan: &Plan, dice: &mut Dice) -> Fault {
    let lease = plan.timings.lease_ms * MS;
    let victim = victim(plan, dice);
    let machine = dice.index(plan.machines);
    let engine = dice.index(plan.engines);
    let lasts = dice.between(lease / 20, 3 * lease);
    let is_one_way = dice.chance(400);
    let by_ms = i64::try_from(dice.between(0, 20_000)).unwrap_or(0) - 10_000;
    match dice.below(27) {
        0..=2 => Fault::Crash { victim, down: lasts, is_proven: true },
        3 => Fault::Crash { victim, down: lasts / 10, is_proven: true },
        4 => Fault::Crash { victim, down: lasts, is_proven: false },
        5 | 6 => Fault::Pause { victim, lasts },
        7 => Fault::Suspend { victim, lasts },
        8 => Fault::WallStep { victim, by_ms },
        9 | 10 => Fault::Isolate { victim, lasts, with_engines: dice.chance(300), is_one_way },
        11 => Fault::CutEngines { victim, lasts },
        12 => Fault::CutEngine { engine, machine, lasts, is_one_way },
        13 | 14 => Fault::LeaderChange,
        15 => Fault::NoLeader { lasts: lasts / 2 },
        16 => Fault::Twin { machine, lasts, is_cut_off: dice.chance(300) },
        17 => Fault::Members(MemberChange::Wipe { victim, down: lasts }),
        18 => Fault::Split { ones: dice.between(1, 6), lasts },
        19 => Fault::Stutter { victim, times: dice.between(5, 40) },
        20 => Fault::Members(MemberChange::Fence { machine, lasts }),
        // For as long as a deaf node's lease may last, and longer.
        21 => Fault::Isolate {
            victim: Victim::Machine(machine),
            lasts: 3 * lease + 8 * SECOND,
            with_engines: false,
            is_one_way: true,
        },
        22 | 23 => Fault::EngineCrash { engine },
        24 => Fault::SlowCommits { lasts },
        25 => Fault::SlowApply { victim, lasts },
        _ => Fault::Drain { victim, down: lasts },
    }
}

fn victim(plan: &Plan, dice: &mut Dice) -> Victim {
    if dice.chance(350) { Victim::Leader } else { Victim::Machine(dice.index(plan.machines)) }
}

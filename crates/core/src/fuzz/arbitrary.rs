//! Whatever may be said: ids that exist and that do not, numbers at every limit.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::desk::message::{HandOver, Operated, Operation, PoolUse, Report, Supply, Want};
use crate::entitlement::{Date, LicenseSet};
use crate::id::{
    AllotmentId, CheckoutId, ClusterId, Digest, Epoch, FeatureId, NodeId, PoolId, ProcessId,
};
use crate::ledger::command::{
    Action, ActionOutcome, ActionRefusal, Beat, Command, Founding, LoanLine, Outcome, Refusal,
};
use crate::ledger::tests::fixture;
use crate::ledger::{Checkpoint, Held, NodeView};
use crate::limits::{COUNT_MAX, UNITS_PER_POOL_MAX};
use crate::time::Timings;
use crate::units::Units;

pub(super) const FEATURES: [&str; 3] = ["cpa", "asr.tier1", "tts.chris"];

/// Small numbers, and those at which something may overflow.
pub(super) fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0..24_u64,
        2 => prop::sample::select(vec![
            u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 1 << 32, COUNT_MAX, COUNT_MAX + 1,
            UNITS_PER_POOL_MAX, UNITS_PER_POOL_MAX + 1,
        ]),
        1 => any::<u64>(),
    ]
}

pub(super) fn units() -> impl Strategy<Value = Units> {
    prop_oneof![
        6 => (0..12_u32).prop_map(Units::from),
        1 => Just(Units::MAX),
        1 => (0..12_u32).prop_map(|fewer| Units::MAX.checked_sub(fewer.into()).unwrap()),
        1 => (0..=UNITS_PER_POOL_MAX).prop_map(|units| Units::new(units).unwrap()),
    ]
}

pub(super) fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![6 => 1..=4_u64, 1 => number()].prop_map(NodeId)
}

pub(super) fn epoch() -> impl Strategy<Value = Epoch> {
    number().prop_map(Epoch)
}

pub(super) fn pool() -> impl Strategy<Value = PoolId> {
    prop_oneof![8 => 0..4_u32, 1 => any::<u32>(), 1 => Just(u32::MAX)].prop_map(PoolId)
}

pub(super) fn allotment() -> impl Strategy<Value = AllotmentId> {
    number().prop_map(AllotmentId)
}

pub(super) fn checkout() -> impl Strategy<Value = CheckoutId> {
    prop_oneof![
        6 => (1..4_u64).prop_map(fixture::checkout),
        1 => any::<[u8; 16]>().prop_map(CheckoutId),
        1 => Just(CheckoutId([0xff; 16])),
        // Those that a desk is about to grant itself.
        2 => (epoch(), 1..4_u64).prop_map(|(epoch, counter)| CheckoutId::of(epoch, counter)),
    ]
}

pub(super) fn process() -> impl Strategy<Value = ProcessId> {
    (0..4_u8).prop_map(fixture::process)
}

pub(super) fn feature() -> impl Strategy<Value = FeatureId> {
    prop::sample::select(FEATURES.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn day() -> impl Strategy<Value = Date> {
    let years = prop_oneof![Just(1970_u16), 2025..=2029_u16, Just(9999)];
    (years, 1..=12_u8).prop_map(|(year, month)| Date::new(year, month, 1).unwrap())
}

pub(super) fn sets() -> impl Strategy<Value = Vec<LicenseSet>> {
    let entitled = || prop_oneof![4 => 1..40_u64, 1 => Just(UNITS_PER_POOL_MAX)];
    (entitled(), entitled(), entitled(), any::<bool>()).prop_map(|(one, two, three, is_homed)| {
        let other = fixture::set("other", &[(FEATURES[0], three)]);
        let other = if is_homed { fixture::homed("west", other) } else { other };
        vec![fixture::set("all", &[(FEATURES[0], one), (FEATURES[1], two)]), other]
    })
}

pub(super) fn timings() -> impl Strategy<Value = Timings> {
    let any = (number(), number(), number(), number(), number(), number()).prop_map(
        |(lease_ms, heartbeat_ms, checkout_ttl_ms, clock_drift_ppm, margin_ms, election_max_ms)| {
            Timings {
                lease_ms,
                heartbeat_ms,
                checkout_ttl_ms,
                clock_drift_ppm,
                margin_ms,
                election_max_ms,
            }
        },
    );
    prop_oneof![3 => Just(Timings::default()), 1 => any]
}

fn lines() -> impl Strategy<Value = Vec<LoanLine>> {
    let line = (allotment(), units()).prop_map(|(allotment, units)| LoanLine { allotment, units });
    vec(line, 0..12)
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (pool(), units()).prop_map(|(pool, units)| Action::Draw { pool, units }),
        3 => (allotment(), units())
            .prop_map(|(allotment, units)| Action::Return { allotment, units }),
        3 => (checkout(), lines())
            .prop_map(|(checkout, lines)| Action::Reclaim { checkout, lines }),
        3 => (checkout(), node(), lines())
            .prop_map(|(checkout, to, lines)| Action::HandOver { checkout, to, lines }),
        1 => vec(checkout(), 0..4).prop_map(|checkouts| Action::Forget { checkouts }),
    ]
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    let allotments = || vec(allotment(), 0..6);
    let applied = (number(), any::<u8>())
        .prop_map(|(version, byte)| Checkpoint { version, digest: Digest([byte; 16]) });
    let beat = (node(), epoch(), number(), option::of(applied))
        .prop_map(|(node, epoch, seq, applied)| Beat { node, epoch, seq, applied });
    prop_oneof![
        1 => timings().prop_map(|timings| Command::Found(Founding {
            timings,
            cluster: ClusterId([9; 16]),
            ..fixture::founding()
        })),
        2 => (node(), any::<bool>()).prop_map(|(node, is_east)| {
            fixture::admit(node.0, if is_east { "east" } else { "west" })
        }),
        2 => (number(), sets()).prop_map(|(serial, sets)| fixture::install(serial, sets)),
        1 => vec(any::<u8>(), 0..40)
            .prop_map(|envelope| Command::InstallEntitlement { envelope }),
        5 => (node(), process(), epoch(), option::of(process()))
            .prop_map(|(node, process, after, gone)| Command::Open { node, process, after, gone }),
        3 => (vec(beat, 0..4), any::<i64>())
            .prop_map(|(beats, wall_ms)| Command::Beat { beats, wall_ms }),
        12 => (node(), epoch(), number(), vec(action(), 0..6)).prop_map(
            |(node, epoch, operation, actions)| Command::Operate { node, epoch, operation, actions }
        ),
        3 => (node(), epoch(), number())
            .prop_map(|(node, epoch, seq)| Command::Freeze { node, epoch, seq }),
        1 => (node(), epoch(), any::<bool>())
            .prop_map(|(node, epoch, powered_off)| Command::Fence { node, epoch, powered_off }),
        2 => node().prop_map(|node| Command::Unfence { node }),
        2 => allotments().prop_map(|allotments| Command::Lapse { allotments }),
        3 => allotments().prop_map(|allotments| Command::Thaw { allotments }),
        1 => node().prop_map(|node| Command::Remove { node }),
        1 => day().prop_map(|day| Command::Day { day }),
        2 => (node(), epoch(), lines())
            .prop_map(|(node, epoch, used)| Command::Close { node, epoch, used }),
    ]
}

pub(super) fn view() -> impl Strategy<Value = NodeView> {
    let held = (allotment(), pool(), units(), option::of(checkout()))
        .prop_map(|(allotment, pool, units, bound)| Held { allotment, pool, units, bound });
    let counts = (number(), epoch(), number(), number());
    let live = btree_map(node(), epoch(), 0..4);
    // All that is held may have come with one checkout.
    let held = (vec(held, 0..24), prop::bool::weighted(0.1)).prop_map(|(mut held, is_of_one)| {
        for (number, one) in (100..).zip(&mut held).filter(|_| is_of_one) {
            one.bound = Some(fixture::checkout(1));
            one.allotment = AllotmentId(number);
        }
        held
    });
    (counts, any::<bool>(), held, vec(pool(), 0..3), prop::bool::weighted(0.1), live).prop_map(
        |(counts, live, held, overdrawn, fenced, live_epochs)| {
            let (version, newest_epoch, operation, catalog_version) = counts;
            NodeView {
                version,
                newest_epoch,
                live,
                operation,
                held,
                overdrawn,
                catalog_version,
                fenced,
                live_epochs,
            }
        },
    )
}

pub(super) fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Done),
        epoch().prop_map(|epoch| Outcome::Opened { epoch }),
        vec(any::<bool>(), 0..4).prop_map(Outcome::Beaten),
        vec(action_outcome(), 0..6).prop_map(Outcome::Operated),
        number().prop_map(|serial| Outcome::Installed { serial }),
        epoch().prop_map(|epoch| Outcome::Refused(Refusal::LeaseEnded { epoch })),
    ]
}

pub(super) fn action_outcome() -> impl Strategy<Value = ActionOutcome> {
    let refusals = vec![
        ActionRefusal::UnknownPool,
        ActionRefusal::TooFewUnits,
        ActionRefusal::LeaseMayRun,
        ActionRefusal::CheckoutEnded,
        ActionRefusal::TooManyLines,
    ];
    prop_oneof![
        3 => Just(ActionOutcome::Done),
        1 => units().prop_map(|units| ActionOutcome::Drawn { units }),
        2 => node().prop_map(|node| ActionOutcome::LiveAt { node }),
        2 => prop::sample::select(refusals).prop_map(ActionOutcome::Refused),
    ]
}

pub(super) fn supply() -> impl Strategy<Value = Supply> {
    prop_oneof![
        Just(Supply::Met),
        Just(Supply::NotServed),
        (number(), number()).prop_map(|(in_use, entitled)| Supply::Recalling { in_use, entitled }),
        (number(), number()).prop_map(|(in_use, entitled)| Supply::Exhausted { in_use, entitled }),
    ]
}

pub(super) fn operated() -> impl Strategy<Value = Operated> {
    prop_oneof![
        6 => (vec(action_outcome(), 0..8), vec(supply(), 0..4), view()).prop_map(
            |(outcomes, supplies, view)| Operated::Applied { outcomes, supplies, view }
        ),
        1 => view().prop_map(|view| Operated::Refused { view }),
    ]
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let want = (vec(pool(), 0..4), number(), number()).prop_map(|(pools, need, spare)| Want {
        pools,
        need,
        spare,
    });
    (epoch(), number(), vec(action(), 0..4), vec(want, 0..4))
        .prop_map(|(epoch, number, actions, wants)| Operation { epoch, number, actions, wants })
}

pub(super) fn report() -> impl Strategy<Value = Report> {
    let pool_use = (number(), number()).prop_map(|(in_use, free)| PoolUse { in_use, free });
    (
        btree_map((0..4_u32).prop_map(PoolId), pool_use, 0..6),
        btree_map(feature(), number(), 0..3),
        number(),
    )
        .prop_map(|(pools, waiting, running)| Report {
            pools,
            denied: waiting.clone(),
            waiting,
            running,
            ..Report::default()
        })
}

pub(super) fn hand_over() -> impl Strategy<Value = HandOver> {
    prop_oneof![Just(HandOver::Coming), Just(HandOver::Ended), Just(HandOver::NotNow)]
}

//! When a process is woken, and whether it answered in time.

use leasehold_core::time::Moment;

use crate::clock::MS;
use crate::event::{Event, ProcessIndex};
use crate::world::{Unseen, World};

/// Wakes that are due at once and change nothing are a busy loop when there are as many.
const IDLE_WAKES_MAX: u32 = 50;

impl World {
    pub(crate) fn set_wake(&mut self, process: ProcessIndex) {
        let now = self.now;
        let machine = self.processes[process].machine;
        let asked = &mut self.processes[process];
        let mut moment = asked.desk.next_wake();
        if let Some(lead) = &asked.lead {
            moment = moment.min(lead.steward.next_wake());
        }
        if moment == Moment(u64::MAX) {
            // A retired desk has nothing more to do.
            return;
        }
        // Timers have a resolution of a millisecond.
        let at = self.machines[machine].clock.when(moment, now).max(now + MS);
        if asked.wake_at.is_none_or(|set| set <= now || set > at) {
            asked.wake_at = Some(at);
            self.queue.push(at, Event::ProcessWake { process });
        }
    }

    pub(crate) fn on_process_wake(&mut self, process: ProcessIndex) {
        let now = self.clock_of(process);
        let woken = &mut self.processes[process];
        if woken.wake_at.is_some_and(|at| at > self.now) {
            // A later event set an earlier wake, and this is the one that it replaced.
            return;
        }
        woken.wake_at = None;
        let mut is_ticked = false;
        if woken.desk.next_wake() <= now.steady {
            woken.desk.on_tick(now);
            self.machines[woken.machine].unseen = Unseen::default();
            let is_idle = woken.desk.next_wake() <= now.steady;
            woken.idle_wakes = if is_idle { woken.idle_wakes + 1 } else { 0 };
            if woken.idle_wakes > IDLE_WAKES_MAX {
                self.violate(format!("the desk of process {process} asks to be woken at once"));
                return;
            }
            is_ticked = true;
        }
        self.tick_steward(process);
        self.settle(process);
        if is_ticked {
            self.check_book(process);
            self.check_tickets(process);
        }
    }

    /// Every question is answered within its wait.
    fn check_tickets(&mut self, process: ProcessIndex) {
        if self.is_paused(process) {
            // In the middle of this very step, before it could answer.
            return;
        }
        let now = self.clock_of(process).steady;
        let late = self.processes[process].tickets.iter().find(|(_, asker)| asker.due < now);
        if let Some((ticket, asker)) = late {
            let late_ms = now.since(asker.due);
            self.violate(format!("process {process}: ticket {ticket} is {late_ms} ms overdue"));
        }
    }
}

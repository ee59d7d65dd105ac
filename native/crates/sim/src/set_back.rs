//! A manager's state that is put back from an older copy (P3). Which clients there are is not: those that a copy does
//! not know register anew, and the product's manager takes a version of the routing that is above what it hears of.

use crate::event::{Event, Fault};
use crate::manager_trace::set_back_step;
use crate::world::World;
use chain::manager::Published;
use std::rc::Rc;

/// Copies that are kept: each is of one version of the chain before.
const COPIES_MAX: usize = 12;

/// What was on its way when it was decided: all members that crash within a moment.
const SETTLES_MS: u64 = 50;

impl World {
    pub fn keep_copy(&mut self, before: &Rc<Published>) {
        if self.knobs.set_back > 0 && before.chains[0] != self.manager.stored.chains[0] {
            self.manager.past.push_back(before.clone());
            if self.manager.past.len() > COPIES_MAX {
                self.manager.past.pop_front();
            }
        }
    }

    /// All servers run and can be reached until the manager has heard them: what nobody says it cannot know, and
    /// who is silent for a lease counts as gone. What they know is as old as it is: some were away, or cut off.
    pub fn set_back(&mut self) {
        if self.healed || self.manager.past.is_empty() {
            return;
        }
        let paused_until = self.nodes.iter().map(|node| node.paused_until).max().unwrap_or(0);
        let settled = paused_until.max(self.now + if self.is_quiet() { 0 } else { SETTLES_MS * 1000 });
        if settled > self.now {
            self.quiet_until = u64::MAX;
            return self.schedule(settled - self.now, Event::Fault(Fault::SetBack));
        }
        if self.manager.running.is_none() {
            self.quiet_until = self.now;
            return;
        }
        let place = self.random.below(self.manager.past.len());
        let older = self.manager.past[place].clone();
        self.manager.past.clear();
        self.trace_step(|| set_back_step(&older));
        let Published { chains, incarnations, .. } = Published::clone(&older);
        let stored = Published::clone(&self.manager.stored);
        let version = stored.version + 1;
        self.manager.stored = Rc::new(Published { version, chains, incarnations, ..stored });
        self.manager.late = None;
        self.note(|| format!("the state is put back to {}", crate::manager::describe(&older.chains[0])));
        let ms = self.random.pick(&[1, 50, self.knobs.lease_ms]);
        self.fault(Fault::ManagerStop { ms });
        self.network.mend_all();
        let first = self.random.below(self.nodes.len());
        let late = self.random.chance(50.0);
        for node in 0..self.nodes.len() {
            if late && node != first {
                // That one is heard before the others, and all are in time.
                let pause_ms = ms + self.random.between(1, self.knobs.lease_ms / 2);
                self.fault(Fault::Pause { node, ms: pause_ms });
            }
            // One after another, within the time of a heartbeat.
            let delay = ms * 1000 + self.random.between(1, self.knobs.heartbeat_ms * 1000);
            self.schedule(delay, Event::Fault(Fault::Restart { node }));
        }
        self.quiet_until = self.now + (ms + 3 * self.knobs.lease_ms) * 1000;
    }

    pub fn is_quiet(&self) -> bool {
        self.now < self.quiet_until
    }
}

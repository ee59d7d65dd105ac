//! The routing that a file's layout is found with. A file may have been made with a version of its chain table that
//! did not reach this client yet: whoever made it heard of a growth first. Then newer routing is asked for, and the
//! operation goes on when it is there.

use super::Chunks;
use crate::chain_call::{Limits, now};
use crate::core::Core;
use crate::done::Done;
use crate::waiter::wait;
use crate::{Cancel, RoutingTable};
use chain::client::{Attempts, Decision};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::message as m;
use wire::{Code, Error, Result};

/// The manager has a version on its medium before anybody hears of it. What it does not tell for so long, also to a
/// client that waits for ever, is none.
const UNKNOWN_MS_MAX: u64 = 60_000;

impl Chunks {
    /// Told the routing that knows the layout: at once, as a rule.
    pub(super) fn routed(
        &self,
        limits: &Limits,
        layout: &m::Layout,
        then: impl FnOnce(Result<Arc<RoutingTable>>) + Send + 'static,
    ) {
        let table = self.core.routing.current();
        if table.knows(layout) {
            return then(Ok(table));
        }
        let left = |end: Instant| end.saturating_duration_since(Instant::now()).as_millis() as u64;
        let within_ms = limits.deadline.map_or(UNKNOWN_MS_MAX, left).min(UNKNOWN_MS_MAX);
        let search = Search {
            core: self.core.clone(),
            layout: *layout,
            cancel: limits.cancel.clone(),
            attempts: Attempts::new(now(), Some(within_ms)),
        };
        search.look(Done::new(then));
    }

    /// Waits on the caller's thread.
    pub(super) fn routed_wait(&self, limits: &Limits, layout: &m::Layout) -> Result<Arc<RoutingTable>> {
        let table = self.core.routing.current();
        if table.knows(layout) {
            return Ok(table);
        }
        wait(limits.cancel.as_ref(), |done| self.routed(limits, layout, done))
    }
}

struct Search {
    core: Arc<Core>,
    layout: m::Layout,
    cancel: Option<Cancel>,
    attempts: Attempts,
}

impl Search {
    fn look(mut self, done: Done<Arc<RoutingTable>>) {
        let table = self.core.routing.current();
        let Err(unknown) = table.chain_of(&self.layout, 0) else { return done.tell(Ok(table)) };
        if self.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
            return done.tell(Err(Error::new(Code::Interrupted, "by the caller")));
        }
        match self.attempts.decide(now(), unknown.code, self.core.salt) {
            Decision::Fail(_) => done.tell(Err(unknown)),
            Decision::Again { after_ms, .. } => {
                self.core.manager.refresh();
                let timer = self.core.timer.clone();
                timer.park(Duration::from_millis(after_ms), move || self.look(done));
            }
        }
    }
}

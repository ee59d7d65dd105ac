//! Which node serves which target of which chain: an immutable table, replaced as a whole, and who hears of
//! the change.

mod manager;
mod table;

pub(crate) use manager::{ManagerLink, ManagerSettings};
pub use table::RoutingTable;
pub(crate) use table::serving;

use parking_lot::{Condvar, Mutex, RwLock};
use std::sync::Arc;
use std::time::Instant;
use wire::message as m;

type Listener = Box<dyn Fn(&Arc<RoutingTable>) + Send + Sync>;

/// The current table, and what to do when there is a new one.
#[derive(Default)]
pub(crate) struct Routing {
    current: RwLock<Arc<RoutingTable>>,
    listeners: RwLock<Vec<Listener>>,
    /// Serializes changes; the condition tells threads that wait for one.
    changing: Mutex<()>,
    changed: Condvar,
}

impl Routing {
    pub fn current(&self) -> Arc<RoutingTable> {
        self.current.read().clone()
    }

    pub fn listen(&self, listener: impl Fn(&Arc<RoutingTable>) + Send + Sync + 'static) {
        self.listeners.write().push(Box::new(listener));
    }

    /// False if the change is on top of a table that we do not have: ask for the whole.
    pub fn apply(&self, change: &m::Routing) -> bool {
        let changing = self.changing.lock();
        let current = self.current();
        if change.version <= current.version && current.version != 0 {
            return true;
        }
        let Some(next) = current.with(change) else { return false };
        let next = Arc::new(next);
        *self.current.write() = next.clone();
        drop(changing);
        self.changed.notify_all();
        for listener in self.listeners.read().iter() {
            listener(&next);
        }
        true
    }

    /// The first table for which `ready` holds; `None` at the deadline.
    pub fn wait_until(
        &self,
        deadline: Instant,
        ready: impl Fn(&RoutingTable) -> bool,
    ) -> Option<Arc<RoutingTable>> {
        let mut changing = self.changing.lock();
        loop {
            let current = self.current();
            if ready(&current) {
                return Some(current);
            }
            if self.changed.wait_until(&mut changing, deadline).timed_out() {
                return None;
            }
        }
    }
}

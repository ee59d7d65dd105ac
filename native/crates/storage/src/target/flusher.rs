//! Grouped flushes of one target: those who come while one runs share the next. Each covers everything that
//! was stored or committed before it began (P11).

use super::Target;
use crate::metrics::add;
use chain::{Applied, Input};
use parking_lot::Mutex;
use std::sync::Arc;
use wire::{ChunkId, Version};

enum Waits {
    Ticket(u64),
    /// An update of a layout that flushes each write: stored only when it is on the medium.
    Store(ChunkId, Version, Applied),
}

/// Bounded by the replica's limits of flushes and updates in the air.
#[derive(Default)]
pub(super) struct Flusher(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<Waits>,
    running: bool,
}

impl Target {
    pub(super) fn queue_flush(self: &Arc<Self>, ticket: u64) {
        self.wait_for_flush(Waits::Ticket(ticket));
    }

    pub(super) fn queue_flushed_store(self: &Arc<Self>, chunk: ChunkId, version: Version, applied: Applied) {
        self.wait_for_flush(Waits::Store(chunk, version, applied));
    }

    fn wait_for_flush(self: &Arc<Self>, waits: Waits) {
        let mut state = self.flusher.0.lock();
        state.waiting.push(waits);
        if !state.running {
            state.running = true;
            let target = self.clone();
            self.shared.flushers.push(self.id, move || target.flush_rounds());
        }
    }

    fn flush_rounds(self: &Arc<Self>) {
        loop {
            let waiting = {
                let mut state = self.flusher.0.lock();
                if state.waiting.is_empty() {
                    state.running = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let result = self.store.flush();
            add(&self.shared.metrics.flushes, 1);
            for waits in waiting {
                let result = result.clone();
                self.feed(match waits {
                    Waits::Ticket(ticket) => Input::Flushed { ticket, result },
                    Waits::Store(chunk, version, applied) => {
                        Input::Stored { chunk, version, result: result.map(|()| applied) }
                    }
                });
            }
        }
    }

    /// The flush that happens by itself; costs nothing when there is nothing to flush. Its error takes the
    /// target offline (P11).
    pub fn flush_by_itself(self: &Arc<Self>) {
        self.queue_flush(0);
    }
}

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
    /// An update of a layout that flushes each write: stored only when it is on the medium. With its
    /// generation.
    Store(u64, ChunkId, Version, Applied),
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

    pub(super) fn queue_flushed_store(
        self: &Arc<Self>,
        generation: u64,
        chunk: ChunkId,
        version: Version,
        applied: Applied,
    ) {
        self.wait_for_flush(Waits::Store(generation, chunk, version, applied));
    }

    fn wait_for_flush(self: &Arc<Self>, waits: Waits) {
        let mut state = self.flusher.0.lock();
        state.waiting.push(waits);
        if !state.running {
            state.running = true;
            self.queue_round();
        }
    }

    /// At the end of the queue: targets of one disk take turns.
    fn queue_round(self: &Arc<Self>) {
        let target = self.clone();
        self.disk.flushers.push(move || target.flush_round());
    }

    fn flush_round(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut self.flusher.0.lock().waiting);
        // Behind these: none of them is of a store that was opened later.
        let reopenings = self.store.reopenings();
        let result = self.store.flush();
        add(&self.shared.metrics.flushes, 1);
        for waits in waiting {
            let result = result.clone();
            match waits {
                Waits::Ticket(ticket) => self.feed_flushed(reopenings, ticket, result),
                Waits::Store(generation, chunk, version, applied) => match result {
                    Ok(()) => {
                        self.feed_stored(generation, Input::Stored { chunk, version, result: Ok(applied) })
                    }
                    // Not of the update, which is stored: a member that is synced would take it for a refusal.
                    failed => self.feed_flushed(reopenings, 0, failed),
                },
            }
        }
        let mut state = self.flusher.0.lock();
        state.running = !state.waiting.is_empty();
        if state.running {
            self.queue_round();
        }
    }

    /// The flush that happens by itself; costs nothing when there is nothing to flush. Its error takes the
    /// target offline (P11).
    pub fn flush_by_itself(self: &Arc<Self>) {
        self.queue_flush(0);
    }
}

//! Memory for payloads, budgeted by role (P24): a later position of a chain never waits for an earlier one's
//! pool, so that every chain of waits ends at a tail. Acknowledgements and control messages need none of it.

use crate::Config;
use wire::BufferPool;

/// Members of a chain that get a pool of their own; more copies than this make no sense.
const POSITIONS: usize = 8;

/// Unused bytes that a pool keeps: what one busy stream needs again at once.
const IDLE_BYTES: usize = 8 << 20;

pub struct Buffers {
    pub client: BufferPool,
    /// What a resync brings in. Its own pool: it waits for this node's store alone, so two nodes that resync
    /// each other never wait in a circle.
    pub resync_in: BufferPool,
    pub resync_out: BufferPool,
    pub read: BufferPool,
    forwarded: [BufferPool; POSITIONS],
}

impl Buffers {
    pub fn new(config: &Config) -> Self {
        let pool = |budget_bytes: usize| BufferPool::with_budget(IDLE_BYTES.min(budget_bytes), budget_bytes);
        Buffers {
            client: pool(config.update_bytes),
            resync_in: pool(config.resync_bytes),
            resync_out: pool(config.resync_bytes),
            read: pool(config.read_bytes),
            forwarded: std::array::from_fn(|_| pool(config.update_bytes)),
        }
    }

    /// For updates that arrive at this position (the head is 0 and gets none).
    pub fn forwarded(&self, position: usize) -> &BufferPool {
        &self.forwarded[position.min(POSITIONS - 1)]
    }

    /// What others hold may never come back: at the end of the server, and while the disk hangs, when whoever would
    /// wait here is refused next.
    pub fn lift_budgets(&self, lifted: bool) {
        let own = [&self.client, &self.resync_in, &self.resync_out, &self.read];
        own.into_iter().chain(&self.forwarded).for_each(|pool| pool.lift_budget(lifted));
    }
}

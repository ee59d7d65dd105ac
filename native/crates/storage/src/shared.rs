//! What the targets of one server share: threads, memory, connections to other nodes, counters.

use crate::buffers::Buffers;
use crate::config::DiskOpener;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::routing::RoutingState;
use crate::workers::Workers;
use parking_lot::Mutex;
use std::sync::Arc;

pub struct Shared {
    pub incarnation: u64,
    pub boot_id: String,
    pub engine_options: chunk_engine::Options,
    pub open_disk: DiskOpener,
    pub metrics: Arc<Metrics>,
    pub buffers: Buffers,
    pub peers: Arc<Peers>,
    pub routing: Mutex<RoutingState>,
    /// Stores, in order per chunk.
    pub lanes: Workers,
    pub readers: Workers,
    /// Reads for a resync wait for its buffers: clients' reads must not wait behind them.
    pub resyncs: Workers,
    pub flushers: Workers,
}

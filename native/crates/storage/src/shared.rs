//! What the targets of one server share: connections to other nodes, routing, counters. Nothing here waits for
//! a disk.

use crate::config::DiskOpener;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::routing::RoutingState;
use pages::PagePool;
use parking_lot::Mutex;
use std::sync::Arc;

pub struct Shared {
    pub incarnation: u64,
    pub boot_id: String,
    pub engine_options: chunk_engine::Options,
    pub open_disk: DiskOpener,
    pub metrics: Arc<Metrics>,
    /// For reads whose bytes are not copied.
    pub pages: PagePool,
    pub peers: Arc<Peers>,
    pub routing: Mutex<RoutingState>,
}

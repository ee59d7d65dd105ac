//! What all parts of one client share. It owns no thread; `Client` starts and stops those.

use crate::budget::Budget;
use crate::chain_call::Limits;
use crate::chunks::Lanes;
use crate::identity::Identity;
use crate::metadata::Session;
use crate::nodes::Nodes;
use crate::open::Inodes;
use crate::routing::{ManagerLink, Routing};
use crate::timer::Timer;
use crate::{Cancel, Config};
use chain::client::Suspects;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use wire::message as m;
use wire::{ClientId, Error, TargetId};

pub(crate) struct Core {
    pub config: Config,
    pub identity: Arc<Identity>,
    pub routing: Arc<Routing>,
    pub manager: ManagerLink,
    pub nodes: Arc<Nodes>,
    pub timer: Timer,
    pub lanes: Lanes,
    pub write_budget: Arc<Budget>,
    pub session: Arc<Session>,
    pub inodes: Inodes,
    /// Differs between clients, so that they spread over replicas.
    pub salt: u64,
    pub corrupt_answers: AtomicU64,
    pub suspects: Mutex<Suspects>,
    pub on_fenced: OnceLock<FenceListener>,
}

/// Told the inodes that were open when this client's id was fenced.
pub(crate) type FenceListener = Box<dyn Fn(Vec<u64>) + Send + Sync>;

impl Core {
    pub fn limits(&self, cancel: Option<Cancel>) -> Limits {
        let deadline = (!self.config.hard).then(|| Instant::now() + self.config.io_timeout);
        Limits { deadline, cancel, epoch: None }
    }

    /// Bytes that do not match their checksum: another replica answers; the manager looks at the node.
    pub fn report_corrupt(&self, node: &m::Node, target: TargetId, error: &Error) {
        self.corrupt_answers.fetch_add(1, Ordering::Relaxed);
        log::warn!(target: "client", node = node.id, storage_target = target.0, error:%; "read.corrupt");
        self.manager.suspect(node.id, node.incarnation);
    }

    /// This id of ours was fenced (P4): go on under a new one. What was open is void, what is known of it is
    /// forgotten, and what is in the air under the old id is given up.
    pub fn fenced(&self, client: ClientId) {
        let Some(me) = self.identity.renew(client) else { return };
        log::warn!(target: "client", epoch = me.epoch; "client.fenced");
        self.lanes.forget_before(me.epoch);
        let inodes = self.inodes.forget_all();
        self.session.renew();
        self.manager.register_again();
        self.timer.wake_parked();
        if let Some(listener) = self.on_fenced.get() {
            listener(inodes);
        }
    }
}

//! The conversation with the manager, on a thread of its own: register, heartbeats, leases, pushed routing,
//! suspicions, the lease given back. A stalled event loop elsewhere in the process cannot hold it up.

use crate::clock;
use crate::metrics::add;
use crate::service::Service;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use transport::{Connection, Handler, Incoming, Transport, call, call_wait};
use wire::message::{
    GiveBackRequest, HeartbeatRequest, MessageKind, NodeKind, RegisterRequest, RoutingPush, SuspectRequest,
};
use wire::{NodeId, Result, feature_level};

/// A manager that needs longer is as good as none: another one is tried before the lease ends.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Of one node, at most so often: the manager checks at once, and again soon enough.
const SUSPECT_PAUSE: Duration = Duration::from_millis(500);

#[derive(Default)]
struct State {
    stopped: bool,
    /// Something changed that the manager should hear before the next heartbeat is due.
    kicked: bool,
    suspects: BTreeSet<u32>,
}

pub struct Session {
    service: Arc<Service>,
    transport: Arc<dyn Transport>,
    managers: Vec<String>,
    address: String,
    cluster: String,
    disks: Vec<String>,
    domain: String,
    bell: Arc<Bell>,
    thread: Mutex<Option<JoinHandle<()>>>,
    connection: Mutex<Option<Arc<dyn Connection>>>,
}

/// How other threads reach the session's; made before it.
#[derive(Default)]
pub struct Bell {
    state: Mutex<State>,
    wake: Condvar,
}

impl Bell {
    pub fn kick(&self) {
        self.state.lock().kicked = true;
        self.wake.notify_one();
    }

    /// A connection to this node was refused or lost (P1).
    pub fn suspect(&self, node: NodeId) {
        self.state.lock().suspects.insert(node.0);
        self.wake.notify_one();
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.wake.notify_one();
    }

    /// Until the time is over, or something is to be said. False: stopped.
    fn wait(&self, until: Instant) -> bool {
        let mut state = self.state.lock();
        while !state.stopped && !state.kicked && state.suspects.is_empty() {
            if self.wake.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.kicked = false;
        !state.stopped
    }

    fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }
}

pub struct SessionConfig {
    pub managers: Vec<String>,
    pub address: String,
    pub cluster: String,
    pub disks: Vec<String>,
    pub domain: String,
}

impl Session {
    pub fn start(
        service: Arc<Service>,
        transport: Arc<dyn Transport>,
        bell: Arc<Bell>,
        config: SessionConfig,
    ) -> Arc<Session> {
        let session = Arc::new(Session {
            service,
            transport,
            managers: config.managers,
            address: config.address,
            cluster: config.cluster,
            disks: config.disks,
            domain: config.domain,
            bell,
            thread: Mutex::new(None),
            connection: Mutex::new(None),
        });
        let running = session.clone();
        let builder = std::thread::Builder::new().name("manager-session".into());
        let thread = builder.spawn(move || running.run()).expect("a thread can be started");
        *session.thread.lock() = Some(thread);
        session
    }

    /// Ends the conversation. With `give_back` the manager is told first that the lease ends now (P1):
    /// nothing may be served any more by then.
    pub fn stop(&self, give_back: bool) {
        let connection = self.connection.lock().take();
        self.bell.stop();
        if let Some(connection) = connection {
            if give_back {
                let request = GiveBackRequest {
                    header: None,
                    kind: NodeKind::NodeStorage as i32,
                    node: self.service.node,
                    incarnation: self.service.shared.incarnation,
                    targets: self.service.reports(),
                };
                // Without an answer the lease runs out by itself.
                let _ = call_wait(&*connection, request, Vec::new(), ANSWER_TIMEOUT);
            }
            connection.close();
        }
        if let Some(thread) = self.thread.lock().take() {
            // A panic there is a bug of ours that was reported already.
            let _ = thread.join();
        }
    }

    fn run(self: &Arc<Self>) {
        let mut turn = 0;
        let mut sequence = 0;
        let mut told = String::new();
        let mut primary: Option<String> = None;
        while !self.bell.is_stopped() {
            let next = || self.managers[turn % self.managers.len()].clone();
            let manager = primary.take().unwrap_or_else(next);
            turn += 1;
            let before = sequence;
            if let Err(error) = self.talk_to(&manager, &mut sequence) {
                primary = error.primary().filter(|other| *other != manager).map(str::to_owned);
                add(&self.service.shared.metrics.heartbeats_failed, 1);
                // One line for one reason, however often it is met, until a manager was spoken to again.
                if told != error.to_string() || sequence > before + 1 {
                    told = error.to_string();
                    log::warn!(target: "storage", manager = &*manager, error:% = error; "manager.lost");
                }
            }
            *self.connection.lock() = None;
            // Kicks do not shorten the pause: they would make it a busy loop.
            std::thread::sleep(RETRY_PAUSE.min(Duration::from_millis(50 * turn as u64)));
        }
    }

    fn talk_to(self: &Arc<Self>, manager: &str, sequence: &mut u64) -> Result<()> {
        let (service, bell) = (self.service.clone(), self.bell.clone());
        let pushes = Arc::new(Pushes { service, bell, ended: Mutex::new(false) });
        let connection = self.transport.connect(manager, ANSWER_TIMEOUT, pushes.clone())?;
        let told = self.talk_over(&connection, manager, sequence);
        pushes.end();
        told
    }

    fn talk_over(
        self: &Arc<Self>,
        connection: &Arc<dyn Connection>,
        manager: &str,
        sequence: &mut u64,
    ) -> Result<()> {
        if self.bell.is_stopped() {
            return Ok(());
        }
        *self.connection.lock() = Some(connection.clone());
        let (registered, _) = call_wait(&**connection, self.registration(), Vec::new(), ANSWER_TIMEOUT)?;
        feature_level::require(registered.feature_level)?;
        log::info!(target: "storage", manager = manager; "manager.registered");
        self.service.apply(registered.routing, None, &[]);
        let period = Duration::from_millis(u64::from(registered.heartbeat_ms.clamp(50, 10_000)));
        let mut suspected_at = Instant::now() - SUSPECT_PAUSE;
        loop {
            let due = Instant::now() + period;
            *sequence += 1;
            let all_granted = self.heartbeat(&**connection, *sequence)?;
            let due = if all_granted { due } else { due.min(Instant::now() + RETRY_PAUSE) };
            if suspected_at.elapsed() >= SUSPECT_PAUSE && self.report_suspects(&**connection) {
                suspected_at = Instant::now();
            }
            if !self.bell.wait(due) {
                return Ok(());
            }
        }
    }

    fn registration(&self) -> RegisterRequest {
        let routing_version = self.service.shared.routing.lock().held_version();
        RegisterRequest {
            routing_version,
            chains: self.service.known_chains(),
            header: None,
            kind: NodeKind::NodeStorage as i32,
            node: self.service.node,
            incarnation: self.service.shared.incarnation,
            address: self.address.clone(),
            cluster: self.cluster.clone(),
            feature_level: feature_level::FEATURE_LEVEL,
            pid: std::process::id(),
            targets: self.service.reports(),
            disks: self.disks.clone(),
            domain: self.domain.clone(),
            again: false,
        }
    }

    /// The lease counts from before the heartbeat is sent (P2), and only together with the routing of its
    /// answer (R4). False: not for all chains.
    fn heartbeat(&self, connection: &dyn Connection, sequence: u64) -> Result<bool> {
        let routing_version = self.service.shared.routing.lock().held_version();
        let request = HeartbeatRequest {
            header: None,
            kind: NodeKind::NodeStorage as i32,
            node: self.service.node,
            incarnation: self.service.shared.incarnation,
            sequence,
            routing_version,
            targets: self.service.reports(),
        };
        let sent = clock::now();
        let (reply, _) = call_wait(connection, request, Vec::new(), ANSWER_TIMEOUT)?;
        add(&self.service.shared.metrics.heartbeats, 1);
        let lease_until = (reply.lease_ms > 0).then(|| sent.plus_ms(u64::from(reply.lease_ms)));
        self.service.apply(reply.routing, lease_until, &reply.held_chains);
        Ok(reply.held_chains.is_empty())
    }

    fn report_suspects(&self, connection: &dyn Connection) -> bool {
        let suspects = std::mem::take(&mut self.bell.state.lock().suspects);
        for node in &suspects {
            let incarnation = self.service.shared.routing.lock().incarnation(NodeId(*node));
            let request = SuspectRequest { header: None, node: *node, incarnation };
            call(connection, request, Vec::new(), ANSWER_TIMEOUT, |_| ());
        }
        !suspects.is_empty()
    }
}

/// What the manager sends by itself.
struct Pushes {
    service: Arc<Service>,
    bell: Arc<Bell>,
    ended: Mutex<bool>,
}

impl Pushes {
    /// What is still on its way counts no more: another manager may have heard already what is known here (P3).
    fn end(&self) {
        *self.ended.lock() = true;
    }
}

impl Handler for Pushes {
    fn handle(&self, mut incoming: Incoming<'_>) {
        if incoming.kind != MessageKind::KindRoutingPush as u8 {
            return incoming.refuse_unknown();
        }
        match incoming.decode::<RoutingPush>() {
            Ok(push) => {
                let ended = self.ended.lock();
                if *ended {
                    return;
                }
                self.service.apply(push.routing, None, &[]);
                // The manager moves on when it hears that the new version was seen (R3).
                self.bell.kick();
            }
            Err(error) => log::warn!(target: "storage", error:% = error; "manager.push"),
        }
    }
}

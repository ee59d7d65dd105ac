//! The link to the manager: one thread registers this client, sends heartbeats, and applies the routing that
//! comes back or is pushed. While no manager answers, the last table stays in use and the thread tries each
//! address in turn.

use super::Routing;
use crate::identity::{Identity, Me, process_start};
use crate::retry::pause;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use transport::{Connection, Handler, Incoming, Transport, call_wait};
use wire::message::{self as m, NodeKind};
use wire::{ClientId, Code, Error, MessageKind, Result, feature_level};

/// P4: a client's lease is 10 s, so that four heartbeats may be lost.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// A manager that takes longer is as good as away.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) struct ManagerSettings {
    pub managers: Vec<String>,
    pub cluster: String,
    pub identity: Arc<Identity>,
    /// What other clients of the cluster see of this process.
    pub host: String,
}

#[derive(Default)]
struct Wishes {
    stopped: bool,
    refresh: bool,
    register: bool,
    suspects: Vec<(u32, u64)>,
}

struct Shared {
    settings: ManagerSettings,
    transport: Arc<dyn Transport>,
    routing: Arc<Routing>,
    wishes: Mutex<Wishes>,
    wake: Condvar,
    /// Why the last attempt failed, for the sentence of a failed `connect`.
    trouble: Mutex<Option<Error>>,
    on_fenced: Box<dyn Fn(ClientId) + Send + Sync>,
    /// The id that a manager has registered.
    registered: Mutex<Option<ClientId>>,
}

/// Handle of the thread.
#[derive(Clone)]
pub(crate) struct ManagerLink(Arc<Shared>);

/// At most this many suspicions wait for the thread: one per node is enough for any cluster this release runs
/// on.
const SUSPECTS_MAX: usize = 256;

impl ManagerLink {
    pub fn new(
        settings: ManagerSettings,
        transport: Arc<dyn Transport>,
        routing: Arc<Routing>,
        on_fenced: impl Fn(ClientId) + Send + Sync + 'static,
    ) -> Self {
        let wishes = Mutex::new(Wishes::default());
        let on_fenced = Box::new(on_fenced);
        let trouble = Mutex::new(None);
        ManagerLink(Arc::new(Shared {
            settings,
            transport,
            routing,
            wishes,
            wake: Condvar::new(),
            trouble,
            on_fenced,
            registered: Mutex::default(),
        }))
    }

    pub fn start(&self) -> JoinHandle<()> {
        let shared = self.0.clone();
        std::thread::Builder::new()
            .name("client-manager".into())
            .spawn(move || shared.run())
            .expect("a thread can be started")
    }

    /// The table seems to be old: ask for a newer one soon.
    pub fn refresh(&self) {
        self.0.wishes.lock().refresh = true;
        self.0.wake.notify_one();
    }

    /// This process has a new id.
    pub fn register_again(&self) {
        self.0.wishes.lock().register = true;
        self.0.wake.notify_one();
    }

    /// A connection to this node was refused or reset (P1).
    pub fn suspect(&self, node: u32, incarnation: u64) {
        let mut wishes = self.0.wishes.lock();
        if wishes.suspects.len() < SUSPECTS_MAX && !wishes.suspects.contains(&(node, incarnation)) {
            wishes.suspects.push((node, incarnation));
            self.0.wake.notify_one();
        }
    }

    pub fn trouble(&self) -> Option<Error> {
        self.0.trouble.lock().clone()
    }

    /// Ends the thread; it asks for our fence first (an unmount is a fence that the client asks for, P4).
    pub fn stop(&self) {
        self.0.wishes.lock().stopped = true;
        self.0.wake.notify_one();
    }
}

/// Applies pushes, as soon as the manager is one that this release understands (P27). A push that came before, or
/// that does not fit, wakes the thread to ask for the whole table.
struct Pushes {
    link: ManagerLink,
    before: Mutex<Before>,
}

/// The answer to the registration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Pushes,
    /// It came.
    Over,
}

impl Pushes {
    fn accept(&self) {
        if std::mem::replace(&mut *self.before.lock(), Before::Over) == Before::Pushes {
            self.link.refresh();
        }
    }

    fn is_accepted(&self) -> bool {
        let mut before = self.before.lock();
        if *before == Before::Nothing {
            *before = Before::Pushes;
        }
        *before == Before::Over
    }
}

impl Handler for Pushes {
    fn handle(&self, mut incoming: Incoming<'_>) {
        if incoming.kind != MessageKind::KindRoutingPush as u8 {
            return incoming.refuse_unknown();
        }
        if let Ok(m::RoutingPush { routing: Some(routing) }) = incoming.decode()
            && self.is_accepted()
            && !self.link.0.routing.apply(&routing)
        {
            self.link.refresh();
        }
    }

    fn closed(&self, _peer: &str) {
        // Under the lock, or the thread could look at the connection before and sleep after.
        let _wishes = self.link.0.wishes.lock();
        self.link.0.wake.notify_one();
    }
}

impl Shared {
    fn run(self: &Arc<Self>) {
        let mut failures = 0u32;
        while !self.wishes.lock().stopped {
            for address in &self.settings.managers {
                let primary = self.visit(address, &mut failures);
                // One hop: what it says may be old.
                if let Some(primary) = primary.filter(|primary| primary != address) {
                    self.visit(&primary, &mut failures);
                }
                if self.wishes.lock().stopped {
                    return;
                }
            }
            failures += 1;
            let mut wishes = self.wishes.lock();
            if !wishes.stopped {
                self.wake.wait_for(&mut wishes, pause(failures));
            }
        }
    }

    /// Stays with this manager as long as it serves us. Returns where to go if it is not the one who decides.
    fn visit(self: &Arc<Self>, address: &str, failures: &mut u32) -> Option<String> {
        if self.wishes.lock().stopped {
            return None;
        }
        match self.serve(address) {
            Ok(()) => {
                *failures = 0;
                None
            }
            Err(error) => {
                log::debug!(target: "client", manager = address, error:%; "manager.unavailable");
                let primary = error.primary().map(str::to_owned);
                *self.trouble.lock() = Some(error);
                primary
            }
        }
    }

    /// Registers and stays until the connection is lost (`Ok`: it worked for a while).
    fn serve(self: &Arc<Self>, address: &str) -> Result<()> {
        let pushes =
            Arc::new(Pushes { link: ManagerLink(self.clone()), before: Mutex::new(Before::Nothing) });
        let connection = self.transport.connect(address, CALL_TIMEOUT, pushes.clone())?;
        let heartbeat = self.register(&*connection)?;
        pushes.accept();
        log::info!(target: "client", manager = address; "manager.connected");
        let mut due = Instant::now() + heartbeat;
        let mut sequence = 0;
        loop {
            let wishes = self.next_wishes(due, &*connection);
            if wishes.stopped {
                self.give_back(&*connection);
                return Ok(());
            }
            if wishes.register || !connection.is_open() {
                return Ok(());
            }
            for (node, incarnation) in wishes.suspects {
                let request = m::SuspectRequest { header: self.header(), node, incarnation };
                self.survive(call_wait(&*connection, request, Vec::new(), CALL_TIMEOUT).map(drop))?;
            }
            if wishes.refresh {
                self.survive(self.ask_routing(&*connection))?;
            }
            if Instant::now() >= due {
                due = Instant::now() + heartbeat;
                sequence += 1;
                self.survive(self.heartbeat(&*connection, sequence))?;
            }
        }
    }

    fn next_wishes(&self, due: Instant, connection: &dyn Connection) -> Wishes {
        let mut wishes = self.wishes.lock();
        let idle = |wishes: &Wishes| {
            !wishes.stopped && !wishes.refresh && !wishes.register && wishes.suspects.is_empty()
        };
        while idle(&wishes) && connection.is_open() {
            if self.wake.wait_until(&mut wishes, due).timed_out() {
                break;
            }
        }
        let stopped = wishes.stopped;
        Wishes { stopped, ..std::mem::replace(&mut *wishes, Wishes { stopped, ..Wishes::default() }) }
    }

    fn header(&self) -> Option<m::RequestHeader> {
        header(self.settings.identity.current())
    }

    fn register(&self, connection: &dyn Connection) -> Result<Duration> {
        let me = self.settings.identity.current();
        let again = *self.registered.lock() == Some(me.client);
        let request = m::RegisterRequest {
            header: header(me),
            kind: NodeKind::NodeClient as i32,
            address: self.settings.host.clone(),
            cluster: self.settings.cluster.clone(),
            feature_level: feature_level::FEATURE_LEVEL,
            pid: std::process::id(),
            incarnation: process_start(),
            again,
            routing_version: self.routing.current().version,
            ..Default::default()
        };
        let (reply, _) = self.fenced(me, call_wait(connection, request, Vec::new(), CALL_TIMEOUT))?;
        feature_level::require(reply.feature_level)?;
        *self.registered.lock() = Some(me.client);
        if let Some(routing) = &reply.routing
            && !self.routing.apply(routing)
        {
            self.ask_routing(connection)?;
        }
        Ok(if reply.heartbeat_ms == 0 { HEARTBEAT } else { Duration::from_millis(reply.heartbeat_ms.into()) })
    }

    fn heartbeat(&self, connection: &dyn Connection, sequence: u64) -> Result<()> {
        let me = self.settings.identity.current();
        let request = m::HeartbeatRequest {
            header: header(me),
            kind: NodeKind::NodeClient as i32,
            incarnation: process_start(),
            sequence,
            routing_version: self.routing.current().version,
            ..Default::default()
        };
        let (reply, _) = self.fenced(me, call_wait(connection, request, Vec::new(), CALL_TIMEOUT))?;
        match &reply.routing {
            Some(routing) if !self.routing.apply(routing) => self.ask_routing(connection),
            _ => Ok(()),
        }
    }

    fn ask_routing(&self, connection: &dyn Connection) -> Result<()> {
        // Version 0: the whole table, which applies on top of anything.
        let request = m::RoutingRequest { header: self.header(), routing_version: 0 };
        let (reply, _) = call_wait(connection, request, Vec::new(), CALL_TIMEOUT)?;
        if let Some(routing) = &reply.routing {
            self.routing.apply(routing);
        }
        Ok(())
    }

    /// A request that the manager refused does not end the connection; one without an answer does.
    fn survive(&self, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if matches!(error.code, Code::ConnectionLost | Code::TimedOut | Code::NotPrimary) => {
                Err(error)
            }
            Err(error) => {
                log::warn!(target: "client", error:%; "manager.refused");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn fenced<T>(&self, me: Me, result: Result<T>) -> Result<T> {
        if matches!(&result, Err(error) if error.code == Code::Fenced) {
            (self.on_fenced)(me.client);
        }
        result
    }

    fn give_back(&self, connection: &dyn Connection) {
        let request = m::GiveBackRequest {
            header: self.header(),
            kind: NodeKind::NodeClient as i32,
            incarnation: process_start(),
            ..Default::default()
        };
        if let Err(error) = call_wait(connection, request, Vec::new(), CALL_TIMEOUT) {
            // The lease runs out by itself then.
            log::info!(target: "client", error:%; "manager.give_back_failed");
        }
    }
}

fn header(me: Me) -> Option<m::RequestHeader> {
    Some(m::RequestHeader { client: me.bytes(), ..Default::default() })
}

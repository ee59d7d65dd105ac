//! A cluster manager for tests: leases, routing and transitions are real (`chain::manager`,
//! `chain::next_chain`), its state is in memory, and clients are fenced when a test says so.

use chain::Time;
use chain::manager::{Manager, ManagerConfig};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use transport::{Connection, Handler, Incoming, Listener, Transport};
use wire::message as m;
use wire::message::{MessageKind, NodeKind, PublicState};
use wire::{Code, Error};

pub const LEASE_MS: u64 = 1000;
const HEARTBEAT_MS: u64 = 100;
const META: u32 = 1001;

fn now() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Time(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000)
}

struct State {
    manager: Manager,
    nodes: BTreeMap<u32, m::Node>,
    version: u64,
    connections: Vec<Arc<dyn Connection>>,
    suspected: Vec<u32>,
    clients: Vec<bytes::Bytes>,
    fenced: Vec<bytes::Bytes>,
    table: m::ChainTable,
    /// What the table becomes as soon as somebody asks for the routing.
    unseen: Option<m::ChainTable>,
    asked: usize,
    /// What it says that its cluster writes.
    feature_level: u32,
}

impl State {
    fn routing(&self) -> m::Routing {
        let chains = self.manager.chains().to_vec();
        m::Routing {
            version: self.version,
            cluster: "test".into(),
            nodes: self.nodes.values().cloned().collect(),
            chains,
            tables: vec![self.table.clone()],
            clients_added: self.clients.clone(),
            ..Default::default()
        }
    }

    fn push(&mut self) {
        self.connections.retain(|connection| connection.is_open());
        for connection in &self.connections {
            // A connection that broke is noticed above, next time.
            let _ = transport::push(&**connection, &m::RoutingPush { routing: Some(self.routing()) });
        }
    }

    fn advance(&mut self) {
        if !self.manager.advance(now()).is_empty() {
            self.version += 1;
            self.push();
        }
    }

    fn register(&mut self, request: m::RegisterRequest, connection: Arc<dyn Connection>) -> m::RegisterReply {
        self.connections.push(connection);
        let is_storage = request.kind == NodeKind::NodeStorage as i32;
        if is_storage {
            let node = m::Node {
                id: request.node,
                kind: request.kind,
                address: request.address,
                incarnation: request.incarnation,
                alive: true,
                pid: request.pid,
                ..Default::default()
            };
            self.nodes.insert(node.id, node);
            self.version += 1;
        } else if request.kind == NodeKind::NodeClient as i32 {
            self.clients.extend(request.header.map(|header| header.client));
            self.version += 1;
        }
        m::RegisterReply {
            feature_level: self.feature_level,
            heartbeat_ms: HEARTBEAT_MS as u32,
            lease_ms: LEASE_MS as u32,
            routing: Some(self.routing()),
            ..Default::default()
        }
    }

    fn heartbeat(&mut self, request: m::HeartbeatRequest) -> m::HeartbeatReply {
        let order = (request.incarnation, request.sequence);
        let grant = (request.kind == NodeKind::NodeStorage as i32)
            .then(|| self.manager.heartbeat(now(), request.node, order, request.targets))
            .flatten();
        self.advance();
        let lease_ms = grant.map_or(0, |grant| grant.lease_ms as u32);
        let routing = (request.routing_version != self.version).then(|| self.routing());
        m::HeartbeatReply { lease_ms, routing, sequence: request.sequence, ..Default::default() }
    }
}

pub struct TestManager {
    state: Arc<Mutex<State>>,
    pub address: String,
    listener: Box<dyn Listener>,
    stop: Arc<AtomicBool>,
}

struct Answers(Arc<Mutex<State>>);

impl TestManager {
    pub fn start(transport: &dyn Transport, chains: u32) -> TestManager {
        let config = ManagerConfig {
            lease_ms: LEASE_MS,
            heartbeat_ms: HEARTBEAT_MS,
            outage_grace_ms: 300,
            reordering_max_ms: 3000,
            reordering_pause_ms: 3000,
        };
        let state = Arc::new(Mutex::new(State {
            manager: Manager::new(now(), config, new_chains(chains), 1),
            nodes: BTreeMap::new(),
            version: 1,
            connections: Vec::new(),
            suspected: Vec::new(),
            clients: Vec::new(),
            fenced: Vec::new(),
            table: m::ChainTable { id: 1, version: 1, chains: (1..=chains).collect(), ..Default::default() },
            unseen: None,
            asked: 0,
            feature_level: wire::feature_level::FEATURE_LEVEL,
        }));
        let listener = transport.listen("127.0.0.1:0", Arc::new(Answers(state.clone()))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (running, ticking) = (stop.clone(), state.clone());
        std::thread::spawn(move || {
            while !running.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
                ticking.lock().advance();
            }
        });
        TestManager { state, address: listener.address(), listener, stop }
    }

    pub fn speak(&self, feature_level: u32) {
        self.state.lock().feature_level = feature_level;
    }

    pub fn add_meta(&self, address: &str) {
        let mut state = self.state.lock();
        let meta = m::Node {
            id: META,
            kind: NodeKind::NodeMeta as i32,
            address: address.into(),
            incarnation: 1,
            alive: true,
            ..Default::default()
        };
        state.nodes.insert(META, meta);
        state.version += 1;
        state.push();
    }

    /// The table from now on; whoever is there hears of it.
    pub fn list(&self, table: m::ChainTable) {
        let mut state = self.state.lock();
        state.table = table;
        state.version += 1;
        state.push();
    }

    /// The table from the moment on in which somebody asks.
    pub fn list_when_asked(&self, table: m::ChainTable) {
        self.state.lock().unseen = Some(table);
    }

    /// How often somebody asked for the routing.
    pub fn asked(&self) -> usize {
        self.state.lock().asked
    }

    /// As a client that was silent for too long.
    pub fn fence(&self, client: wire::ClientId) {
        let mut state = self.state.lock();
        let id = bytes::Bytes::copy_from_slice(&client.0);
        state.clients.retain(|other| *other != id);
        state.fenced.push(id);
        state.version += 1;
        state.push();
    }

    /// The supervisor saw the process end.
    pub fn exited(&self, node: u32, incarnation: u64) {
        let mut state = self.state.lock();
        state.manager.exited(node, incarnation);
        if let Some(node) = state.nodes.get_mut(&node) {
            node.alive = false;
        }
        state.version += 1;
        state.push();
        state.advance();
    }

    pub fn suspected(&self) -> Vec<u32> {
        self.state.lock().suspected.clone()
    }

    pub fn head(&self, chain: u32) -> u32 {
        let state = self.state.lock();
        let chain = state.manager.chains().iter().find(|known| known.id == chain).unwrap();
        let mut serving = chain.members.iter().filter(|member| member.state() == PublicState::PublicServing);
        serving.next().unwrap().node
    }

    pub fn serving(&self) -> usize {
        let state = self.state.lock();
        let members = state.manager.chains().iter().flat_map(|chain| &chain.members);
        members.filter(|member| member.state() == PublicState::PublicServing).count()
    }
}

impl Drop for TestManager {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.listener.close();
    }
}

impl Handler for Answers {
    fn handle(&self, mut incoming: Incoming<'_>) {
        let kind = MessageKind::try_from(i32::from(incoming.kind)).unwrap();
        let mut state = self.0.lock();
        match kind {
            MessageKind::KindRegister => {
                let request: m::RegisterRequest = incoming.decode().unwrap();
                if !matches!(request.cluster.as_str(), "" | "test") {
                    let error = Error::new(Code::WrongCluster, format!("not {}", request.cluster));
                    return incoming.replier().fail(&error);
                }
                let reply = state.register(request, incoming.connection());
                incoming.replier().send(reply, Vec::new());
                state.push();
            }
            MessageKind::KindHeartbeat => {
                let request: m::HeartbeatRequest = incoming.decode().unwrap();
                let client = &request.header.as_ref().unwrap().client;
                if state.fenced.contains(client) {
                    return incoming.replier().fail(&Error::new(Code::Fenced, "you"));
                }
                let reply = state.heartbeat(request);
                incoming.replier().send(reply, Vec::new());
            }
            MessageKind::KindRouting => {
                state.asked += 1;
                if let Some(table) = state.unseen.take() {
                    state.table = table;
                    state.version += 1;
                }
                let routing = Some(state.routing());
                incoming.replier().send(m::RoutingReply { routing, ..Default::default() }, Vec::new());
            }
            MessageKind::KindGiveBack => {
                let request: m::GiveBackRequest = incoming.decode().unwrap();
                if request.kind == NodeKind::NodeStorage as i32 {
                    state.manager.exited(request.node, request.incarnation);
                    state.advance();
                }
                incoming.replier().send(m::GiveBackReply::default(), Vec::new());
            }
            MessageKind::KindSuspect => {
                let request: m::SuspectRequest = incoming.decode().unwrap();
                state.suspected.push(request.node);
                incoming.replier().send(m::SuspectReply::default(), Vec::new());
            }
            _ => incoming.refuse_unknown(),
        }
    }
}

/// `count` chains of three members on nodes 1, 2, 3, each chain beginning at another node.
fn new_chains(count: u32) -> Vec<m::Chain> {
    (1..=count)
        .map(|id| {
            let member = |place: u32| {
                let node = (id + place) % 3 + 1;
                m::Member { target: u64::from(id * 10 + node), node, ..Default::default() }
            };
            let members: Vec<m::Member> = (0..3).map(member).collect();
            let preferred = members.iter().map(|member| member.target).collect();
            m::Chain { id, version: 1, members, preferred, ..Default::default() }
        })
        .collect()
}

//! A cluster manager for tests: leases, routing and transitions are real (`chain::manager`,
//! `chain::next_chain`), its state is in memory.

use chain::Time;
use chain::manager::{Manager, ManagerConfig};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use transport::{Connection, Handler, Incoming, Listener, ReplySender, Transport};
use wire::message::{
    Chain, ChainHold, ChainOrder, GiveBackReply, GiveBackRequest, HeartbeatReply, HeartbeatRequest, Member,
    MessageKind, Node, NodeKind, PublicState, RegisterReply, RegisterRequest, Routing, RoutingPush,
    SuspectReply,
};
use wire::{Code, Error};

pub const LEASE_MS: u64 = 1000;
const HEARTBEAT_MS: u64 = 100;

pub fn now() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Time(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000)
}

#[derive(Clone, Copy)]
enum Spoiled {
    /// Once more, and so long after the heartbeat that earned it, which was heard at this time.
    Late(Duration, Option<Time>),
    /// With routing that stands on versions which the node never got.
    Unfit,
}

/// `term`: of its process.
fn manager_of(chains: Vec<Chain>, outage_grace_ms: u64, term: u64) -> Manager {
    let config = ManagerConfig {
        lease_ms: LEASE_MS,
        heartbeat_ms: HEARTBEAT_MS,
        outage_grace_ms,
        reordering_max_ms: 3000,
        reordering_pause_ms: 3000,
    };
    Manager::new(now(), config, chains, term)
}

struct State {
    manager: Manager,
    outage_grace_ms: u64,
    term: u64,
    nodes: BTreeMap<u32, Node>,
    version: u64,
    connections: Vec<Arc<dyn Connection>>,
    /// Nodes whose heartbeats are not heard: cut off from this manager alone.
    deaf_to: Vec<u32>,
    /// A node whose leases come otherwise than they should.
    spoiled: Option<(u32, Spoiled)>,
    suspected: usize,
    fenced: BTreeSet<u8>,
    /// By target: chain version and fences held, as last reported, and how often.
    fences: BTreeMap<u64, (u64, u64, u64)>,
    /// No chain changes, whoever is gone.
    frozen: bool,
    heard: u64,
    /// By node, what its last registration said of chains.
    told: BTreeMap<u32, Vec<Chain>>,
    /// What it says that its cluster writes.
    feature_level: u32,
}

impl State {
    fn routing(&self) -> Routing {
        Routing {
            version: self.version,
            nodes: self.nodes.values().cloned().collect(),
            chains: self.manager.chains().to_vec(),
            clients_added: (0..=u8::MAX)
                .filter(|number| !self.fenced.contains(number))
                .map(|number| vec![number; 16].into())
                .collect(),
            ..Default::default()
        }
    }

    fn push(&mut self) {
        self.connections.retain(|connection| connection.is_open());
        for connection in &self.connections {
            // A connection that broke is noticed above, next time.
            let _ = transport::push(&**connection, &RoutingPush { routing: Some(self.routing()) });
        }
    }

    fn held_chains(&self) -> Vec<u32> {
        let all = self.manager.chains().iter().map(|chain| chain.id);
        all.filter(|id| self.manager.hold(*id) != ChainHold::HoldNone).collect()
    }

    /// Changes what this node is answered, and says how late that is.
    fn spoil(&mut self, to: u32, reply: &mut HeartbeatReply) -> Duration {
        match &mut self.spoiled {
            Some((node, Spoiled::Late(late, heard))) if *node == to => {
                *heard = Some(now());
                self.deaf_to = vec![to];
                *late
            }
            Some((node, Spoiled::Unfit)) if *node == to => {
                let from_version = self.version + 1;
                reply.routing =
                    Some(Routing { version: from_version + 1, from_version, ..Default::default() });
                Duration::ZERO
            }
            _ => Duration::ZERO,
        }
    }

    fn advance(&mut self) {
        if !self.frozen && !self.manager.advance(now()).is_empty() {
            self.version += 1;
            self.push();
        }
    }
}

pub struct TestManager {
    state: Arc<Mutex<State>>,
    pub address: String,
    _listener: Box<dyn Listener>,
    stop: Arc<AtomicBool>,
}

struct Answers(Arc<Mutex<State>>);

impl TestManager {
    pub fn start(transport: &dyn Transport, chains: Vec<Chain>, outage_grace_ms: u64) -> TestManager {
        let state = Arc::new(Mutex::new(State {
            manager: manager_of(chains, outage_grace_ms, 1),
            outage_grace_ms,
            term: 1,
            nodes: BTreeMap::new(),
            version: 1,
            connections: Vec::new(),
            deaf_to: Vec::new(),
            spoiled: None,
            suspected: 0,
            fenced: BTreeSet::new(),
            fences: BTreeMap::new(),
            frozen: false,
            heard: 0,
            told: BTreeMap::new(),
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
        TestManager { state, address: listener.address(), _listener: listener, stop }
    }

    pub fn chains(&self) -> Vec<Chain> {
        self.state.lock().manager.chains().to_vec()
    }

    pub fn chain(&self, id: u32) -> Chain {
        self.chains().into_iter().find(|chain| chain.id == id).unwrap()
    }

    pub fn address_of(&self, node: u32) -> Option<String> {
        self.state.lock().nodes.get(&node).map(|node| node.address.clone())
    }

    /// The supervisor saw the process end.
    pub fn exited(&self, node: u32, incarnation: u64) {
        let mut state = self.state.lock();
        state.manager.exited(node, incarnation);
        state.advance();
    }

    /// One joins, one leaves.
    pub fn order(&self, chain: u32, order: ChainOrder) {
        let mut state = self.state.lock();
        state.manager.order(chain, order);
        state.advance();
    }

    /// Returns the routing version from which on the client of this number lives no more.
    pub fn fence(&self, number: u8) -> u64 {
        let mut state = self.state.lock();
        state.fenced.insert(number);
        state.version += 1;
        state.push();
        state.version
    }

    /// Whether the head of the chain's current version says that the fences of this version hold.
    pub fn fence_holds(&self, chain: u32, version: u64) -> bool {
        let chain = self.chain(chain);
        let head = chain.members.iter().find(|member| member.state() == PublicState::PublicServing);
        let state = self.state.lock();
        let report = head.and_then(|head| state.fences.get(&head.target));
        report.is_some_and(|(seen, held, _)| *seen == chain.version && *held >= version)
    }

    pub fn reports(&self, target: u64) -> u64 {
        self.state.lock().fences.get(&target).map_or(0, |(_, _, count)| *count)
    }

    pub fn speak(&self, feature_level: u32) {
        self.state.lock().feature_level = feature_level;
    }

    /// As this node knew its chains when it registered.
    pub fn told(&self, node: u32) -> Vec<Chain> {
        self.state.lock().told[&node].clone()
    }

    /// Heartbeats that came.
    pub fn heard(&self) -> u64 {
        self.state.lock().heard
    }

    /// A new process with this state; whoever spoke to the one before registers anew.
    pub fn restore(&self, chains: Vec<Chain>) {
        let mut state = self.state.lock();
        state.term += 1;
        state.manager = manager_of(chains, state.outage_grace_ms, state.term);
        state.version = 1;
        state.nodes.clear();
        state.connections.drain(..).for_each(|connection| connection.close());
    }

    pub fn holds(&self) -> Vec<ChainHold> {
        let state = self.state.lock();
        state.manager.chains().iter().map(|chain| state.manager.hold(chain.id)).collect()
    }

    pub fn freeze(&self, frozen: bool) {
        self.state.lock().frozen = frozen;
    }

    pub fn be_deaf_to(&self, nodes: &[u32]) {
        self.state.lock().deaf_to = nodes.to_vec();
    }

    /// Answers one more heartbeat of this node, and that so late; when it was heard. No chain changes any more.
    pub fn grant_once_more(&self, node: u32, late: Duration) -> Time {
        self.freeze(true);
        self.state.lock().spoiled = Some((node, Spoiled::Late(late, None)));
        loop {
            if let Some((_, Spoiled::Late(_, Some(heard)))) = self.state.lock().spoiled {
                return heard;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Grants leases to this node only with routing that it cannot apply, from the time that is returned on. No chain
    /// changes any more.
    pub fn grant_unfit(&self, node: u32) -> Time {
        self.freeze(true);
        let mut state = self.state.lock();
        state.spoiled = Some((node, Spoiled::Unfit));
        now()
    }

    pub fn suspected(&self) -> usize {
        self.state.lock().suspected
    }

    pub fn serving(&self) -> usize {
        let serving = |member: &&Member| member.state() == PublicState::PublicServing;
        self.chains().iter().map(|chain| chain.members.iter().filter(serving).count()).sum()
    }
}

impl Drop for TestManager {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Handler for Answers {
    fn handle(&self, mut incoming: Incoming<'_>) {
        let kind = MessageKind::try_from(i32::from(incoming.kind)).unwrap();
        let mut state = self.0.lock();
        match kind {
            MessageKind::KindRegister => {
                let request: RegisterRequest = incoming.decode().unwrap();
                let node = Node {
                    id: request.node,
                    kind: NodeKind::NodeStorage as i32,
                    address: request.address,
                    incarnation: request.incarnation,
                    alive: true,
                    pid: request.pid,
                    ..Default::default()
                };
                let (number, incarnation) = (node.id, node.incarnation);
                state.nodes.insert(node.id, node);
                state.told.insert(number, request.chains.clone());
                let said = (request.targets, request.chains);
                state.manager.register(now(), number, incarnation, said);
                // Above what anybody was told by a manager before.
                state.version = state.version.max(request.routing_version) + 1;
                state.connections.push(incoming.connection());
                let reply = RegisterReply {
                    feature_level: state.feature_level,
                    heartbeat_ms: HEARTBEAT_MS as u32,
                    lease_ms: LEASE_MS as u32,
                    routing: Some(state.routing()),
                    ..Default::default()
                };
                incoming.replier().send(reply, Vec::new());
                state.push();
            }
            MessageKind::KindHeartbeat => {
                let request: HeartbeatRequest = incoming.decode().unwrap();
                state.heard += 1;
                let replier = incoming.replier();
                if state.deaf_to.contains(&request.node) {
                    // As if the heartbeat never came.
                    return std::mem::forget(replier);
                }
                for report in &request.targets {
                    let known = state.fences.entry(report.target).or_default();
                    *known = (report.chain_version, report.fences_held, known.2 + 1);
                }
                if !state.manager.is_registered(request.node, request.incarnation) {
                    return replier.fail(&Error::new(Code::SessionUnknown, "register first"));
                }
                let order = (request.incarnation, request.sequence);
                let grant = state.manager.heartbeat(now(), request.node, order, request.targets);
                state.advance();
                let lease_ms = grant.map_or(0, |grant| grant.lease_ms as u32);
                let routing = (request.routing_version != state.version).then(|| state.routing());
                let held_chains = state.held_chains();
                let mut reply = HeartbeatReply { lease_ms, routing, held_chains, ..Default::default() };
                let late = state.spoil(request.node, &mut reply);
                answer(replier, reply, late);
            }
            MessageKind::KindGiveBack => {
                let request: GiveBackRequest = incoming.decode().unwrap();
                state.manager.exited(request.node, request.incarnation);
                state.advance();
                incoming.replier().send(GiveBackReply::default(), Vec::new());
            }
            MessageKind::KindSuspect => {
                state.suspected += 1;
                incoming.replier().send(SuspectReply::default(), Vec::new());
            }
            _ => incoming.refuse_unknown(),
        }
    }
}

fn answer(replier: ReplySender, reply: HeartbeatReply, late: Duration) {
    if late.is_zero() {
        return replier.send(reply, Vec::new());
    }
    std::thread::spawn(move || {
        std::thread::sleep(late);
        replier.send(reply, Vec::new());
    });
}

/// `count` chains of three members on nodes 1, 2, 3, each chain beginning at another node, and on the disks of
/// the nodes in turn.
pub fn new_chains(count: u32, disks: u32) -> Vec<Chain> {
    (1..=count)
        .map(|id| {
            let member = |place: u32| {
                let node = (id + place) % 3 + 1;
                Member { target: u64::from(id * 10 + node), node, disk: id % disks, ..Default::default() }
            };
            let members: Vec<Member> = (0..3).map(member).collect();
            let preferred = members.iter().map(|member| member.target).collect();
            Chain { id, version: 1, members, preferred, ..Default::default() }
        })
        .collect()
}

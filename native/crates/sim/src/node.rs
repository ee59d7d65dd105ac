//! A storage node: one target, its disk, its process with a replica in it. The executor of the replica, as
//! the storage server is in the product.

use crate::engine::{Body, Engine, UPDATE_BYTES};
use crate::event::{Address, Answer, Event, Message, Request};
use crate::knobs::Knobs;
use crate::random::Random;
use crate::world::{CHAIN, World};
use chain::manager::Published;
use chain::museum::{Planted, planted};
use chain::{
    ChunkRange, Identity, Input, Recovered, RecoveredUpdate, Replica, ReplyTo, Role, Time, covers, limits,
};
use std::collections::BTreeMap;
use std::rc::Rc;
use wire::message::{LocalState, TargetReport};
use wire::{ChunkId, Code, Error, TargetId, Version};

/// A boot clock that runs a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset_us: u64,
    rate_ppm: u64,
}

impl Clock {
    pub fn new(random: &mut Random) -> Clock {
        // Half a percent each way: two clocks differ by at most the 1 % that leases allow for.
        Clock { offset_us: random.between(0, 1 << 40), rate_ppm: random.between(995_000, 1_005_000) }
    }

    pub fn at(&self, now: u64) -> Time {
        Time(self.offset_us + now * self.rate_ppm / 1_000_000)
    }
}

/// A request of this node that waits for an answer.
#[derive(Clone, Debug)]
pub enum Call {
    Forward { to: TargetId, chain_version: u64, chunk: ChunkId, version: Version },
    Committed { chain_version: u64, chunk: ChunkId },
    Flush { ticket: u64 },
    SyncStart { chain_version: u64 },
    Digest { chain_version: u64, from: ChunkId },
    List { chain_version: u64, from: ChunkId },
    Replace { chain_version: u64, chunk: ChunkId },
    Channels { chain_version: u64, page: usize },
    Finish { chain_version: u64 },
    Heartbeat { sent: Time },
    Space { of: TargetId },
}

pub struct Node {
    pub target: TargetId,
    pub clock: Clock,
    pub engine: Engine,
    pub boot: u64,
    pub incarnation: u64,
    pub started: u64,
    /// The running process.
    pub replica: Option<Replica<Body>>,
    pub disk_broken: bool,
    pub paused_until: u64,
    pub calls: BTreeMap<u64, Call>,
    pub replies: BTreeMap<ReplyTo, (Address, u64)>,
    pub next_reply: u64,
    pub sequence: u64,
    /// When the disk is done with the last work of a chunk; `None`: of everything.
    pub disk_busy: BTreeMap<Option<ChunkId>, u64>,
}

impl Node {
    pub fn new(index: usize, knobs: &Knobs, random: &mut Random) -> Node {
        let reserve = knobs.reserve_updates * UPDATE_BYTES;
        Node {
            target: TargetId(index as u64 + 1),
            clock: Clock::new(random),
            engine: Engine::empty(reserve, 1),
            boot: 1,
            incarnation: 0,
            started: 0,
            replica: None,
            disk_broken: false,
            paused_until: 0,
            calls: BTreeMap::new(),
            replies: BTreeMap::new(),
            next_reply: 0,
            sequence: 0,
            disk_busy: BTreeMap::new(),
        }
    }

    fn recovered(&self) -> Recovered {
        let staged = self.engine.state.staged.iter();
        let pending = staged
            .flat_map(|(chunk, versions)| {
                versions.iter().map(|staged| RecoveredUpdate {
                    chunk: *chunk,
                    version: staged.version,
                    channel: Some(staged.channel),
                })
            })
            .collect();
        Recovered { pending, channels: self.engine.state.channels.values().copied().collect() }
    }

    pub fn report(&self) -> TargetReport {
        let replica = self.replica.as_ref().expect("a running process reports");
        let (state, chain_version) = replica.report();
        TargetReport {
            target: self.target.0,
            chain: CHAIN,
            chain_version,
            state: state as i32,
            complete: self.engine.served_boot == self.boot || self.engine.clean,
            fresh: !self.engine.used,
            // Only a target that answers nothing any more may say so: the manager takes it out at once.
            disk_error: state == LocalState::LocalOffline && self.disk_broken,
            fences_held: replica.fences_held(),
            stopped: replica.view().stops,
            at_rest: replica.is_at_rest(),
            begun_by: self.engine.begun_by,
            known_version: self.engine.known.version,
            known_term: self.engine.known.term,
            ..TargetReport::default()
        }
    }
}

impl World {
    pub fn start_node(&mut self, index: usize) {
        if self.nodes[index].replica.is_some() {
            return;
        }
        self.open_engine(index);
        let node = &mut self.nodes[index];
        node.incarnation += 1;
        node.started = self.now;
        node.sequence = 0;
        node.disk_broken = false;
        let identity = Identity { target: node.target, incarnation: node.incarnation };
        node.replica = Some(Replica::new(identity, node.recovered()));
        let incarnation = node.incarnation;
        self.note(|| format!("node {index} starts as {incarnation}"));
        self.schedule(10, Event::Heartbeat { node: index, incarnation });
        self.schedule(20, Event::Tick { node: index, incarnation });
        if self.knobs.flush_every_ms > 0 {
            let delay = self.knobs.flush_every_ms * 1000;
            self.schedule(delay, Event::WriteBack { node: index, incarnation });
        }
    }

    /// The process is gone, and all that was only in its memory.
    pub fn end_node(&mut self, index: usize) {
        if self.nodes[index].replica.is_some() {
            self.connections_end(index);
        }
        let node = &mut self.nodes[index];
        node.replica = None;
        node.calls.clear();
        node.replies.clear();
        node.disk_busy.clear();
        node.paused_until = 0;
    }

    pub fn node_event(&mut self, event: Event) {
        let (index, incarnation) = match &event {
            Event::Tick { node, incarnation }
            | Event::Heartbeat { node, incarnation }
            | Event::WriteBack { node, incarnation }
            | Event::Disk { node, incarnation, .. }
            | Event::Read { node, incarnation, .. }
            | Event::CallTimeout { node, incarnation, .. }
            | Event::Reopen { node, incarnation } => (*node, *incarnation),
            _ => unreachable!("only a node's own events come here"),
        };
        let node = &self.nodes[index];
        if node.incarnation != incarnation || node.replica.is_none() {
            return;
        }
        match event {
            Event::Tick { .. } => {
                self.feed(index, Input::Tick);
                if self.nodes[index].replica.as_ref().is_some_and(|replica| replica.room_is_unknown()) {
                    self.ask_space(index);
                }
                self.schedule(limits::TICK_MS * 1000, event);
            }
            Event::WriteBack { .. } => {
                self.write_back(index);
                self.schedule(self.knobs.flush_every_ms * 1000, event);
            }
            Event::Heartbeat { .. } => {
                self.heartbeat(index);
                self.ask_space(index);
                self.schedule(self.knobs.heartbeat_ms * 1000, event);
            }
            Event::Disk { generation, work, .. } => self.disk_done(index, generation, work),
            Event::Read { reply, chain_version, chunk, seen, .. } => {
                let node = &self.nodes[index];
                let replica = node.replica.as_ref().expect("checked above");
                let seen = seen.or_else(|| node.engine.read(chunk));
                // The clock is read now, after the version was chosen (P2).
                let valid = replica.read_still_valid(node.clock.at(self.now), chain_version);
                let corrupt = || Error::new(Code::Corrupt, "bits flipped");
                let result = valid.and_then(|()| seen.ok_or_else(corrupt));
                self.answer(index, ReplyTo(reply), Answer::Read(result));
            }
            Event::CallTimeout { call, .. } => {
                if let Some(call) = self.nodes[index].calls.remove(&call) {
                    self.call_failed(index, call);
                }
            }
            Event::Reopen { .. } => self.reopen(index),
            _ => unreachable!("matched above"),
        }
    }

    /// Some file systems drop the pages that they could not write from the page cache, others keep them there. A
    /// process that dies while it opens a target leaves it to the next one.
    fn open_engine(&mut self, index: usize) {
        let dropped = self.nodes[index].engine.frozen && self.random.chance(50.0);
        let cut_off = dropped && self.nodes[index].engine.untold && self.dies_unrecorded();
        let engine = &mut self.nodes[index].engine;
        engine.open(dropped);
        engine.record_losses(cut_off);
    }

    /// A target has lost something, and its process dies before the record says so.
    pub fn dies_unrecorded(&mut self) -> bool {
        self.knobs.unrecorded > 0.0 && self.random.chance(self.knobs.unrecorded)
    }

    fn reopen(&mut self, index: usize) {
        let incarnation = self.nodes[index].incarnation;
        let replica = self.nodes[index].replica.as_ref().expect("it runs");
        if replica.view().role != Role::Idle {
            // The chain does not know yet.
            return self.schedule(200_000, Event::Reopen { node: index, incarnation });
        }
        // What was started before the failure counts no more.
        self.nodes[index].engine.generation += 1;
        self.open_engine(index);
        let recovered = self.nodes[index].recovered();
        self.feed(index, Input::Reopen { recovered });
        self.nodes[index].disk_broken = false;
    }

    pub fn heartbeat(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.sequence += 1;
        let request = Request::Heartbeat {
            node: index,
            incarnation: node.incarnation,
            sequence: node.sequence,
            life: self.manager.life,
            reports: vec![node.report()],
            known: node.engine.known.clone(),
        };
        let sent = node.clock.at(self.now);
        self.call(index, Address::Manager, request, Call::Heartbeat { sent });
    }

    /// The members after this one may have room again (P8).
    fn ask_space(&mut self, index: usize) {
        let replica = self.nodes[index].replica.as_ref().expect("it runs");
        if let Some(of) = replica.asks_space_of() {
            let TargetId(number) = of;
            let to = Address::Node(number as usize - 1);
            self.call(index, to, Request::Space, Call::Space { of });
        }
    }

    pub fn call(&mut self, index: usize, to: Address, request: Request, call: Call) {
        let number = self.next_call();
        self.nodes[index].calls.insert(number, call);
        self.send(Address::Node(index), to, Message::Request { call: number, request });
        let incarnation = self.nodes[index].incarnation;
        // A grant that comes late is still worth something.
        let heartbeat = to == Address::Manager;
        let timeout_ms =
            if heartbeat { 4 * self.knobs.lease_ms } else { self.knobs.call_timeout_ms.min(500) };
        self.schedule(timeout_ms * 1000, Event::CallTimeout { node: index, incarnation, call: number });
    }

    pub fn answer(&mut self, index: usize, reply: ReplyTo, answer: Answer) {
        let Some((to, call)) = self.nodes[index].replies.remove(&reply) else {
            return self.violate(format!("node {index} answered {reply:?} twice"));
        };
        self.send(Address::Node(index), to, Message::Answer { call, answer });
    }

    pub fn node_message(&mut self, index: usize, from: Address, message: Message) {
        if self.nodes[index].replica.is_none() {
            if let (Address::Client(client), Message::Request { call, .. }) = (from, message) {
                self.connection_refused(client, call);
            }
            return;
        }
        match message {
            Message::Request { call, request } => self.node_request(index, (from, call), request),
            Message::Answer { call, answer } => {
                if let Some(call) = self.nodes[index].calls.remove(&call) {
                    self.call_answered(index, call, answer);
                }
            }
            Message::Push { sent, life, published } => {
                let heard = self.manager.is_heard(life, index as u32, self.nodes[index].incarnation);
                if sent >= self.nodes[index].started && heard {
                    self.learn(index, &published, None);
                }
            }
        }
    }

    /// Who may write comes before the chain's version: whoever knows the version knows every fence before it.
    fn learn(&mut self, index: usize, published: &Published, lease_until: Option<Time>) {
        self.feed(index, Input::Clients(published.clients.clone()));
        for chain in published.chains.clone() {
            let engine = &mut self.nodes[index].engine;
            if !covers(&chain, engine.known.term, engine.known.version) && !planted(Planted::AnyViewBelieved)
            {
                continue;
            }
            if chain.version != engine.known.version {
                engine.known = Rc::new(chain.clone());
            }
            self.feed(index, Input::View { chain, lease_until });
        }
    }

    fn node_request(&mut self, index: usize, sender: (Address, u64), request: Request) {
        let node = &mut self.nodes[index];
        node.next_reply += 1;
        let reply = ReplyTo(node.next_reply);
        node.replies.insert(reply, sender);
        let input = match request {
            Request::Update { chain_version, update, body } => {
                Input::Update { reply, chain_version, update, payload: body }
            }
            Request::Forwarded { chain_version, version, base, update, body } => {
                Input::Forwarded { reply, chain_version, version, base, update, payload: body }
            }
            Request::Read { chain_version, chunk } => Input::Read { reply, chain_version, chunk },
            Request::Committed { chain_version, chunk } => Input::Committed { reply, chain_version, chunk },
            Request::Flush { chain_version, from_client } => {
                Input::Flush { reply, chain_version, from_client }
            }
            Request::SyncStart { chain_version } => Input::SyncStart { reply, chain_version },
            Request::SyncReplace { chain_version, replacement, body } => {
                Input::SyncReplace { reply, chain_version, replacement, payload: body }
            }
            Request::SyncChannels { chain_version, channels } => {
                Input::SyncChannels { reply, chain_version, channels }
            }
            Request::SyncDone { chain_version } => Input::SyncDone { reply, chain_version },
            Request::Digest { chain_version, from, chunks_per_range } => {
                return self.digest(index, reply, chain_version, (from, chunks_per_range));
            }
            Request::List { chain_version, from, limit } => {
                return self.list(index, reply, chain_version, from, limit);
            }
            Request::Listed { chain_version, chunk } => {
                let now = node.clock.at(self.now);
                let replica = node.replica.as_ref().expect("it runs");
                let listed = replica.may_list_committed(now, chain_version, Some(chunk.inode));
                let listed = listed.map(|()| node.engine.listed_length(chunk));
                return self.answer(index, reply, Answer::Listed(listed));
            }
            Request::Space => {
                let replica = node.replica.as_ref().expect("it runs");
                let bytes = replica.allocatable_bytes(&node.engine);
                let chain_version = replica.view().version.0;
                return self.answer(index, reply, Answer::Space { chain_version, bytes });
            }
            Request::Heartbeat { .. } | Request::ClientHeartbeat { .. } | Request::Routing => {
                unreachable!("requests to the manager")
            }
        };
        self.feed(index, input);
    }

    /// Two ranges at a time: the source has to ask again.
    fn digest(&mut self, index: usize, reply: ReplyTo, chain_version: u64, wanted: (ChunkId, usize)) {
        let node = &self.nodes[index];
        let replica = node.replica.as_ref().expect("it runs");
        let (mut from, chunks) = wanted;
        let ranges = replica.may_list(chain_version).map(|()| {
            let mut ranges = Vec::new();
            while ranges.len() < 2 {
                let listed = chain::Chunks::list(&node.engine, from, chunks);
                let ends = listed.len() < chunks;
                let highest = ChunkId { inode: u64::MAX, index: u64::MAX };
                let last = if ends { highest } else { listed[chunks - 1].chunk };
                let digest = chain::range_digest(&listed);
                ranges.push(ChunkRange { last, chunks: listed.len() as u32, digest });
                if ends {
                    break;
                }
                from = ChunkId { inode: last.inode, index: last.index + 1 };
            }
            ranges
        });
        self.answer(index, reply, Answer::Digest(ranges));
    }

    fn list(&mut self, index: usize, reply: ReplyTo, chain_version: u64, from: ChunkId, limit: usize) {
        let node = &self.nodes[index];
        let replica = node.replica.as_ref().expect("it runs");
        let listed = replica.may_list(chain_version).map(|()| {
            let list = chain::Chunks::list(&node.engine, from, limit);
            let more = list.len() == limit;
            (list, more)
        });
        self.answer(index, reply, Answer::List(listed));
    }

    fn call_failed(&mut self, index: usize, call: Call) {
        let lost = || Error::new(Code::TimedOut, "no answer");
        let input = match call {
            Call::Forward { to, chain_version, chunk, version } => {
                Input::ForwardAnswer { from: to, chain_version, chunk, version, result: Err(lost()) }
            }
            Call::Committed { chain_version, chunk } => {
                Input::CommittedAnswer { chain_version, chunk, result: Err(lost()) }
            }
            Call::Flush { ticket } => Input::FlushAnswer { ticket, result: Err(lost()) },
            Call::SyncStart { chain_version } => Input::SyncStarted { chain_version, result: Err(lost()) },
            Call::Digest { chain_version, from } => {
                Input::DigestAnswer { chain_version, from, result: Err(lost()) }
            }
            Call::List { chain_version, from } => {
                Input::ListAnswer { chain_version, from, result: Err(lost()) }
            }
            Call::Replace { chain_version, chunk } => {
                Input::ReplaceAnswer { chain_version, chunk, result: Err(lost()) }
            }
            Call::Channels { chain_version, page } => {
                Input::ChannelsAnswer { chain_version, page, result: Err(lost()) }
            }
            Call::Finish { chain_version } => Input::SyncFinished { chain_version, result: Err(lost()) },
            Call::Heartbeat { .. } | Call::Space { .. } => return,
        };
        self.feed(index, input);
    }

    fn call_answered(&mut self, index: usize, call: Call, answer: Answer) {
        let input = match (call, answer) {
            (Call::Forward { to, chain_version, chunk, version }, Answer::Update(result)) => {
                Input::ForwardAnswer { from: to, chain_version, chunk, version, result }
            }
            (Call::Committed { chain_version, chunk }, Answer::Committed(result)) => {
                Input::CommittedAnswer { chain_version, chunk, result }
            }
            (Call::Flush { ticket }, Answer::Flush(result)) => {
                Input::FlushAnswer { ticket, result: result.map(|_| ()) }
            }
            (Call::SyncStart { chain_version }, Answer::Sync(result)) => {
                Input::SyncStarted { chain_version, result }
            }
            (Call::Digest { chain_version, from }, Answer::Digest(result)) => {
                Input::DigestAnswer { chain_version, from, result }
            }
            (Call::List { chain_version, from }, Answer::List(result)) => {
                Input::ListAnswer { chain_version, from, result }
            }
            (Call::Replace { chain_version, chunk }, Answer::Sync(result)) => {
                Input::ReplaceAnswer { chain_version, chunk, result }
            }
            (Call::Channels { chain_version, page }, Answer::Sync(result)) => {
                Input::ChannelsAnswer { chain_version, page, result }
            }
            (Call::Finish { chain_version }, Answer::Sync(result)) => {
                Input::SyncFinished { chain_version, result }
            }
            (Call::Heartbeat { sent }, Answer::Grant(grant)) => {
                if !self.manager.is_heard(grant.life, index as u32, self.nodes[index].incarnation) {
                    return;
                }
                let late = planted(Planted::LeaseFromArrival);
                let from = if late { self.nodes[index].clock.at(self.now) } else { sent };
                let lease_until = (!grant.held).then(|| from.plus_ms(grant.lease_ms));
                return match grant.published {
                    Some(published) => self.learn(index, &published, lease_until),
                    None => {
                        let replica = self.nodes[index].replica.as_ref().expect("it runs");
                        let chain = replica.view().chain.clone();
                        self.feed(index, Input::View { chain, lease_until });
                    }
                };
            }
            (Call::Space { of }, Answer::Space { chain_version, bytes }) => {
                let replica = self.nodes[index].replica.as_mut().expect("it runs");
                return replica.learn_space(of, chain_version, bytes);
            }
            (call, answer) => unreachable!("{call:?} was answered with {answer:?}"),
        };
        self.feed(index, input);
    }
}

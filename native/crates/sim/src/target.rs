//! A target: its disk, and the replica in the process that runs. The executor of the replica, as the storage server
//! is in the product.

use crate::engine::{Body, Engine, UPDATE_BYTES};
use crate::event::{Address, Answer, Event, Message, Request};
use crate::knobs::Knobs;
use crate::placement::{Placement, target_id, target_place};
use crate::room::{Fullness, Refuses};
use crate::world::World;
use chain::{
    ChunkRange, Identity, Input, Recovered, RecoveredUpdate, Replica, ReplyTo, Role, SpaceQuestion, Time,
    limits,
};
use std::collections::BTreeMap;
use wire::message::{LocalState, TargetReport};
use wire::{ChunkId, Code, Error, TargetId, Version};

/// A request of this target that waits for an answer.
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
    Space { question: SpaceQuestion },
}

pub struct Target {
    pub id: TargetId,
    /// Their places in the world's lists.
    pub node: usize,
    pub chain: usize,
    pub engine: Engine,
    /// In the process that runs.
    pub replica: Option<Replica<Body>>,
    pub disk_broken: bool,
    pub fullness: Fullness,
    /// Chunks of which something found no room so far in this resync.
    pub refuses: BTreeMap<ChunkId, Refuses>,
    /// It left its chain for want of room, and stays out until there is some.
    pub waits_for_room: bool,
    pub calls: BTreeMap<u64, Call>,
    pub replies: BTreeMap<ReplyTo, (Address, u64)>,
    next_reply: u64,
    /// When the disk is done with the last work of a chunk; `None`: of everything.
    pub disk_busy: BTreeMap<Option<ChunkId>, u64>,
}

impl Target {
    pub fn new(index: usize, placement: Placement, knobs: &Knobs) -> Target {
        let reserve = knobs.reserve_updates * UPDATE_BYTES;
        Target {
            id: target_id(index),
            node: placement.node_of(index),
            chain: placement.chain_of(index),
            engine: Engine::empty(reserve, 1),
            replica: None,
            disk_broken: false,
            fullness: Fullness::default(),
            refuses: BTreeMap::new(),
            waits_for_room: false,
            calls: BTreeMap::new(),
            replies: BTreeMap::new(),
            next_reply: 0,
            disk_busy: BTreeMap::new(),
        }
    }

    pub fn chain_id(&self) -> u32 {
        self.chain as u32 + 1
    }

    /// What was only in the memory of the process.
    pub fn end(&mut self) {
        self.replica = None;
        self.calls.clear();
        self.replies.clear();
        self.disk_busy.clear();
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

    /// `boot`: of its target.
    pub fn report(&self, boot: u64) -> TargetReport {
        let replica = self.replica.as_ref().expect("a running process reports");
        let (state, chain_version) = replica.report();
        TargetReport {
            target: self.id.0,
            chain: self.chain_id(),
            chain_version,
            state: state as i32,
            complete: self.engine.served_boot == boot || self.engine.clean,
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
    pub fn start_target(&mut self, index: usize, incarnation: u64) {
        let target = &mut self.targets[index];
        (target.disk_broken, target.waits_for_room) = (false, false);
        let identity = Identity { target: target.id, incarnation };
        target.replica = Some(Replica::new(identity, target.recovered()));
        self.schedule(20, Event::Tick { target: index, incarnation });
        if self.knobs.flush_every_ms > 0 {
            let delay = self.knobs.flush_every_ms * 1000;
            self.schedule(delay, Event::WriteBack { target: index, incarnation });
        }
    }

    /// Of the process that the target is in, or was in last.
    pub fn incarnation_of(&self, index: usize) -> u64 {
        self.nodes[self.targets[index].node].incarnation
    }

    /// On the clock of its target.
    pub fn time_of(&self, index: usize) -> Time {
        self.nodes[self.targets[index].node].clock.at(self.now)
    }

    pub fn target_event(&mut self, event: Event) {
        let (index, incarnation) = match &event {
            Event::Tick { target, incarnation }
            | Event::WriteBack { target, incarnation }
            | Event::Disk { target, incarnation, .. }
            | Event::Read { target, incarnation, .. }
            | Event::CallTimeout { target, incarnation, .. }
            | Event::Reopen { target, incarnation } => (*target, *incarnation),
            _ => unreachable!("only a target's own events come here"),
        };
        if self.incarnation_of(index) != incarnation || self.targets[index].replica.is_none() {
            return;
        }
        match event {
            Event::Tick { .. } => {
                self.feed(index, Input::Tick);
                if self.targets[index].replica.as_ref().is_some_and(|replica| replica.room_is_unknown()) {
                    self.ask_space(index);
                }
                self.schedule(limits::TICK_MS * 1000, event);
            }
            Event::WriteBack { .. } => {
                self.write_back(index);
                self.schedule(self.knobs.flush_every_ms * 1000, event);
            }
            Event::Disk { generation, work, .. } => self.disk_done(index, generation, work),
            Event::Read { reply, chain_version, chunk, seen, .. } => {
                let target = &self.targets[index];
                let replica = target.replica.as_ref().expect("checked above");
                let seen = seen.or_else(|| target.engine.read(chunk));
                // The clock is read now, after the version was chosen (P2).
                let valid = replica.read_still_valid(self.time_of(index), chain_version);
                let corrupt = || Error::new(Code::Corrupt, "bits flipped");
                let result = valid.and_then(|()| seen.ok_or_else(corrupt));
                self.answer(index, ReplyTo(reply), Answer::Read(result));
            }
            Event::CallTimeout { call, .. } => {
                if let Some(call) = self.targets[index].calls.remove(&call) {
                    self.call_failed(index, call);
                }
            }
            Event::Reopen { .. } => self.reopen(index),
            _ => unreachable!("matched above"),
        }
    }

    /// Some file systems drop the pages that they could not write from the page cache, others keep them there. A
    /// process that dies while it opens a target leaves it to the next one.
    pub fn open_engine(&mut self, index: usize) {
        let dropped = self.targets[index].engine.frozen && self.random.chance(50.0);
        let cut_off = dropped && self.targets[index].engine.untold && self.dies_unrecorded();
        let engine = &mut self.targets[index].engine;
        engine.open(dropped);
        engine.record_losses(cut_off);
    }

    /// A target has lost something, and its process dies before the record says so.
    pub fn dies_unrecorded(&mut self) -> bool {
        self.knobs.unrecorded > 0.0 && self.random.chance(self.knobs.unrecorded)
    }

    fn reopen(&mut self, index: usize) {
        let incarnation = self.incarnation_of(index);
        let replica = self.targets[index].replica.as_ref().expect("it runs");
        // The chain does not know yet, or it would not fit. While nobody serves it may be needed.
        let needed = replica.view().last_serving.is_none();
        if replica.view().role != Role::Idle || (self.targets[index].lacks_room() && !needed) {
            return self.schedule(200_000, Event::Reopen { target: index, incarnation });
        }
        // What was started before the failure counts no more.
        self.targets[index].engine.generation += 1;
        self.open_engine(index);
        let recovered = self.targets[index].recovered();
        self.feed(index, Input::Reopen { recovered });
        let target = &mut self.targets[index];
        (target.disk_broken, target.waits_for_room) = (false, false);
    }

    /// The members after this one may have room again (P8).
    pub fn ask_space(&mut self, index: usize) {
        let replica = self.targets[index].replica.as_mut().expect("it runs");
        if let Some(question) = replica.ask_space() {
            let to = Address::Target(target_place(question.of));
            self.call(index, to, Request::Space, Call::Space { question });
        }
    }

    pub fn call(&mut self, index: usize, to: Address, request: Request, call: Call) {
        let number = self.next_call();
        self.targets[index].calls.insert(number, call);
        self.send(Address::Target(index), to, Message::Request { call: number, request });
        let incarnation = self.incarnation_of(index);
        let timeout_ms = self.knobs.call_timeout_ms.min(500);
        self.schedule(timeout_ms * 1000, Event::CallTimeout { target: index, incarnation, call: number });
    }

    pub fn answer(&mut self, index: usize, reply: ReplyTo, answer: Answer) {
        let Some((to, call)) = self.targets[index].replies.remove(&reply) else {
            return self.violate(format!("target {index} answered {reply:?} twice"));
        };
        self.send(Address::Target(index), to, Message::Answer { call, answer });
    }

    pub fn target_message(&mut self, index: usize, from: Address, message: Message) {
        if self.targets[index].replica.is_none() {
            if let (Address::Client(client), Message::Request { call, .. }) = (from, message) {
                self.connection_refused(client, call);
            }
            return;
        }
        match message {
            Message::Request { call, request } => self.target_request(index, (from, call), request),
            Message::Answer { call, answer } => {
                if let Some(call) = self.targets[index].calls.remove(&call) {
                    self.call_answered(index, call, answer);
                }
            }
            Message::Push { .. } => unreachable!("the manager speaks to the process"),
        }
    }

    fn target_request(&mut self, index: usize, sender: (Address, u64), request: Request) {
        let target = &mut self.targets[index];
        target.next_reply += 1;
        let reply = ReplyTo(target.next_reply);
        target.replies.insert(reply, sender);
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
                let now = self.time_of(index);
                let target = &self.targets[index];
                let replica = target.replica.as_ref().expect("it runs");
                let listed = replica.may_list_committed(now, chain_version, Some(chunk.inode));
                let listed = listed.map(|()| target.engine.listed_length(chunk));
                return self.answer(index, reply, Answer::Listed(listed));
            }
            Request::Space => {
                let replica = target.replica.as_ref().expect("it runs");
                let bytes = replica.allocatable_bytes(&target.engine);
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
        let target = &self.targets[index];
        let replica = target.replica.as_ref().expect("it runs");
        let (mut from, chunks) = wanted;
        let ranges = replica.may_list(chain_version).map(|()| {
            let mut ranges = Vec::new();
            while ranges.len() < 2 {
                let listed = chain::Chunks::list(&target.engine, from, chunks);
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
        let target = &self.targets[index];
        let replica = target.replica.as_ref().expect("it runs");
        let listed = replica.may_list(chain_version).map(|()| {
            let list = chain::Chunks::list(&target.engine, from, limit);
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
            Call::Space { .. } => return,
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
            (Call::Space { question }, Answer::Space { chain_version, bytes }) => {
                let replica = self.targets[index].replica.as_mut().expect("it runs");
                return replica.learn_space(question, chain_version, bytes);
            }
            (call, answer) => unreachable!("{call:?} was answered with {answer:?}"),
        };
        self.feed(index, input);
    }
}

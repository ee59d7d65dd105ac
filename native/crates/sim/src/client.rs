//! Clients: each has some operations in the air, picks replicas and tries again by the product's own rules,
//! and writes down what it saw.

use crate::content::CELLS;
use crate::engine::Body;
use crate::event::{Address, Answer, Event, Message, Request};
use crate::history::Action;
use crate::knobs::Knobs;
use crate::placement::target_place;
use crate::random::Random;
use crate::world::World;
use chain::client::{
    Call, Choice, Lane, NO_FILE, Next, Ordered, Request as Sends, Started, Suspects, bytes_of, leaves_doubt,
};
use chain::manager::Published;
use chain::museum::{Planted, planted};
use chain::{Time, Update};
use std::ops::Range;
use std::rc::Rc;
use wire::message::{Chain, UpdateKind};
use wire::{ChunkId, ClientId, Code, Error};

/// An update as the lane sees it.
#[derive(Clone, Debug)]
struct Planned {
    slot: usize,
    chunk: ChunkId,
    action: Action,
}

impl Ordered for Planned {
    fn chunk(&self) -> ChunkId {
        self.chunk
    }

    fn bytes(&self) -> Range<u64> {
        let (kind, offset, length) = change_of(self.action);
        bytes_of(kind, offset, length)
    }
}

#[derive(Debug)]
pub struct Current {
    number: u32,
    /// Its place, and a chunk of it.
    chain: usize,
    chunk: ChunkId,
    action: Action,
    /// When it is given up.
    deadline: Time,
    /// An update that the lane has let go.
    started: Option<Started<Planned>>,
    /// None: it waits in the lane.
    call: Option<Call>,
    /// The attempt in the air; 0 = between two.
    in_air: u64,
    /// The target that it was sent to.
    to: usize,
    /// Newer routing ends the pause.
    parked: bool,
    /// One of its requests had no answer and may still arrive.
    in_doubt: bool,
}

pub struct Client {
    index: usize,
    pub identity: u32,
    routing: Rc<Published>,
    suspects: Suspects,
    /// One of each chain.
    lanes: Vec<Lane<Planned>>,
    pub slots: Vec<Option<Current>>,
    /// By slot: only the step that was planned last happens.
    steps: Vec<u64>,
    spread: u64,
    pub stopped: bool,
}

impl Client {
    pub fn new(index: usize, knobs: &Knobs) -> Client {
        Client {
            index,
            identity: index as u32,
            routing: Rc::new(Published {
                chains: vec![Chain::default(); knobs.chains],
                ..Published::default()
            }),
            suspects: Suspects::default(),
            lanes: lanes(index as u32, knobs),
            slots: std::iter::repeat_with(|| None).take(knobs.depth).collect(),
            steps: vec![0; knobs.depth],
            spread: 0,
            stopped: false,
        }
    }

    fn request(&self, current: &Current) -> Request {
        let chain_version = self.routing.chains[current.chain].version;
        let chunk = current.chunk;
        let (kind, offset, length) = match current.action {
            Action::Read => return Request::Read { chain_version, chunk },
            Action::List => return Request::Listed { chain_version, chunk },
            Action::Flush => return Request::Flush { chain_version, from_client: true },
            action => change_of(action),
        };
        let (crc, chunk_size, flush) = (current.number, CELLS as u32, false);
        let update = match current.started.as_ref().expect("it was started").request() {
            Sends::Update(tag) => Update { chunk, tag, kind, offset, length, crc, chunk_size, flush },
            Sends::Close(tag) => {
                let (chunk, kind) = (NO_FILE, UpdateKind::UpdateRemove);
                Update { chunk, tag, kind, offset: 0, length: 0, crc: 0, chunk_size, flush }
            }
        };
        Request::Update { chain_version, update, body: Body::Operation(current.number) }
    }

    fn lane(&mut self, chain: usize) -> &mut Lane<Planned> {
        &mut self.lanes[if planted(Planted::LaneOfAllChains) { 0 } else { chain }]
    }

    fn submit(&mut self, slot: usize) {
        let current = self.slots[slot].as_mut().expect("an operation of this slot");
        current.call = None;
        let planned = Planned { slot, chunk: current.chunk, action: current.action };
        let chain = current.chain;
        self.lane(chain).submit(planned);
    }
}

impl Current {
    fn begin_call(&mut self, choice: Choice, now: Time) {
        let left_ms = if now < self.deadline { self.deadline.since_ms(now) } else { 0 };
        (self.call, self.in_air) = (Some(Call::new(choice, now, Some(left_ms))), 0);
    }
}

fn change_of(action: Action) -> (UpdateKind, u32, u32) {
    match action {
        Action::Write { first, count } => (UpdateKind::UpdateWrite, first as u32, count as u32),
        Action::Punch { first, count } => (UpdateKind::UpdatePunch, first as u32, count as u32),
        Action::Truncate { length } => (UpdateKind::UpdateTruncate, 0, length as u32),
        Action::Remove => (UpdateKind::UpdateRemove, 0, 0),
        Action::Read | Action::List | Action::Flush => unreachable!("no update"),
    }
}

fn lanes(identity: u32, knobs: &Knobs) -> Vec<Lane<Planned>> {
    (0..knobs.chains).map(|_| Lane::new(id_of(identity), knobs.channels)).collect()
}

pub fn id_of(identity: u32) -> ClientId {
    ClientId(std::array::from_fn(|at| (identity + 1).to_le_bytes()[at % 4]))
}

impl World {
    /// The client found itself fenced: the updates that it had in the air are given up, and it goes on under a new id.
    pub fn client_renewal(&mut self, client: usize, identity: u32) {
        if self.clients[client].identity != identity {
            return;
        }
        self.note(|| format!("client {client} was fenced"));
        let me = &mut self.clients[client];
        let updates = |current: &Current| current.action.updates();
        let given_up: Vec<usize> =
            (0..me.slots.len()).filter(|slot| me.slots[*slot].as_ref().is_none_or(updates)).collect();
        given_up.iter().for_each(|slot| me.slots[*slot] = None);
        me.identity = self.identities;
        me.lanes = lanes(me.identity, &self.knobs);
        self.identities += 1;
        let identity = me.identity;
        self.client_registration(identity);
        for slot in given_up {
            self.plan_step(client, slot, 1000);
        }
    }

    /// The next thing that this slot does by itself.
    pub fn plan_step(&mut self, client: usize, slot: usize, delay_us: u64) {
        let step = &mut self.clients[client].steps[slot];
        *step += 1;
        let step = *step;
        self.schedule(delay_us, Event::ClientStep { client, slot, step });
    }

    pub fn client_step(&mut self, client: usize, slot: usize, step: u64) {
        if self.clients[client].steps[slot] != step {
            return;
        }
        if self.clients[client].slots[slot].is_none() {
            self.begin_operation(client, slot);
        } else {
            self.attempt(client, slot);
        }
    }

    fn attempt(&mut self, client: usize, slot: usize) {
        let now = Time(self.now);
        let in_air = self.next_call();
        let me = &mut self.clients[client];
        let current = me.slots[slot].as_mut().expect("an operation of this slot");
        let call = current.call.as_mut().expect("it does not wait in the lane");
        current.parked = false;
        let left_ms = call.remaining_ms(now).expect("all calls end");
        if left_ms == 0 {
            return self.give_up(client, slot, &Error::new(Code::TimedOut, "its time is over"));
        }
        let chain = &me.routing.chains[current.chain];
        let Some(target) = call.choose(now, chain, || &me.suspects).map(target_place) else {
            return self.attempt_failed(client, slot, &Error::new(Code::NoChain, "nobody serves"));
        };
        (current.in_air, current.to) = (in_air, target);
        let request = me.request(me.slots[slot].as_ref().expect("looked at above"));
        let to = Address::Target(target);
        self.send(Address::Client(client), to, Message::Request { call: in_air, request });
        let timeout_ms = self.knobs.call_timeout_ms.min(left_ms);
        let code = Code::TimedOut;
        self.schedule(timeout_ms * 1000, Event::ClientCallLost { client, slot, call: in_air, code });
    }

    fn begin_operation(&mut self, client: usize, slot: usize) {
        if self.clients[client].stopped {
            return;
        }
        let action = self.draw_action(self.knobs.reader && client == 0);
        let chunk = ChunkId { inode: 1, index: self.random.between(0, self.placement.chunks()) };
        let chain = self.placement.chain_of_chunk(chunk);
        let number = self.history.call(self.clients[client].identity, chunk, action, self.now);
        let now = Time(self.now);
        let deadline = now.plus_ms(self.knobs.io_timeout_ms);
        let me = &mut self.clients[client];
        let (started, call, in_air, to, parked, in_doubt) = (None, None, 0, 0, false, false);
        let mut current =
            Current { number, chain, chunk, action, deadline, started, call, in_air, to, parked, in_doubt };
        if action.updates() {
            me.slots[slot] = Some(current);
            me.submit(slot);
            return self.start_updates(client, chain);
        }
        me.spread += 1;
        let any = matches!(action, Action::Read | Action::List);
        current.begin_call(if any { Choice::Any(me.spread) } else { Choice::Head }, now);
        me.slots[slot] = Some(current);
        self.attempt(client, slot);
    }

    /// Sends what the lane lets go.
    fn start_updates(&mut self, client: usize, chain: usize) {
        let now = Time(self.now);
        while let Some(started) = self.clients[client].lane(chain).start() {
            let slot = started.update.slot;
            let current = self.clients[client].slots[slot].as_mut().expect("it waits for its update");
            current.started = Some(started);
            current.begin_call(Choice::Head, now);
            self.plan_step(client, slot, 0);
        }
    }

    fn draw_action(&mut self, reader: bool) -> Action {
        let is = |random: &mut Random, percent: f64| percent > 0.0 && random.chance(percent);
        let (random, knobs) = (&mut self.random, &self.knobs);
        if is(random, knobs.lists) {
            Action::List
        } else if reader || is(random, knobs.reads) {
            Action::Read
        } else if is(random, knobs.flushes) {
            Action::Flush
        } else if is(random, knobs.removes) {
            Action::Remove
        } else if is(random, knobs.punches) {
            let first = random.below(CELLS);
            Action::Punch { first, count: 1 + random.below(CELLS - first) }
        } else if is(random, knobs.truncates) {
            Action::Truncate { length: random.below(CELLS + 1) }
        } else if is(random, 50.0) {
            Action::Write { first: 0, count: CELLS }
        } else {
            Action::Write { first: random.below(CELLS), count: 1 }
        }
    }

    pub fn client_call_lost(&mut self, client: usize, slot: usize, call: u64, code: Code) {
        let waits = |current: &&mut Current| current.in_air == call;
        let Some(current) = self.clients[client].slots[slot].as_mut().filter(waits) else { return };
        let sends = current.started.as_ref().map(Started::request);
        // What came to a process that was gone does not arrive any more.
        current.in_doubt |= code != Code::Unreachable && matches!(sends, Some(Sends::Update(_)));
        self.answered_with(client, slot, &Error::new(code, "no answer"));
    }

    /// The process of a node ended: its connections end, unless its host is gone too.
    pub fn connections_end(&mut self, node: usize) {
        if !self.random.chance(self.knobs.resets) {
            return;
        }
        let placement = self.placement;
        let waits = |current: &Current| current.in_air != 0 && placement.node_of(current.to) == node;
        let clients = self.clients.iter().enumerate();
        let calls = clients.flat_map(|(client, state)| {
            let slots = state.slots.iter().enumerate();
            let calls = slots.filter_map(|(slot, current)| Some((slot, current.as_ref()?)));
            calls
                .filter(|(_, current)| waits(current))
                .map(move |(slot, current)| (client, slot, current.in_air))
        });
        let calls: Vec<(usize, usize, u64)> = calls.collect();
        for (client, slot, call) in calls {
            let delay = self.random.between(50, 400);
            self.schedule(delay, Event::ClientCallLost { client, slot, call, code: Code::ConnectionLost });
        }
    }

    /// A request came to a node where no process listens.
    pub fn connection_refused(&mut self, client: usize, call: u64) {
        if !self.random.chance(self.knobs.resets) {
            return;
        }
        let waits =
            |current: &Option<Current>| current.as_ref().is_some_and(|current| current.in_air == call);
        if let Some(slot) = self.clients[client].slots.iter().position(waits) {
            let delay = self.random.between(50, 400);
            self.schedule(delay, Event::ClientCallLost { client, slot, call, code: Code::Unreachable });
        }
    }

    pub fn client_message(&mut self, client: usize, message: Message) {
        match message {
            Message::Push { published, .. } | Message::Answer { answer: Answer::Routing(published), .. } => {
                self.client_learns(client, published);
            }
            Message::Answer { call, answer } => {
                let slots = &self.clients[client].slots;
                let waits =
                    |slot: &Option<Current>| slot.as_ref().is_some_and(|current| current.in_air == call);
                if let Some(slot) = slots.iter().position(waits) {
                    self.answered(client, slot, answer);
                }
            }
            Message::Request { .. } => unreachable!("nobody asks a client"),
        }
    }

    fn client_learns(&mut self, client: usize, published: Rc<Published>) {
        let me = &mut self.clients[client];
        if published.version <= me.routing.version {
            return;
        }
        me.routing = published;
        let parked = |slot: &usize| me.slots[*slot].as_ref().is_some_and(|current| current.parked);
        let woken: Vec<usize> = (0..me.slots.len()).filter(parked).collect();
        for slot in woken {
            self.plan_step(client, slot, 0);
        }
    }

    fn answered(&mut self, client: usize, slot: usize, answer: Answer) {
        let now = self.now;
        let current = self.clients[client].slots[slot].as_mut().expect("an answer belongs to an operation");
        if matches!(answer, Answer::Update(Ok(_)))
            && let Some(started) = &mut current.started
            && !started.applied()
        {
            current.begin_call(Choice::Head, Time(now));
            return self.plan_step(client, slot, 0);
        }
        let (number, action) = (current.number, current.action);
        let operation = self.history.operation(number);
        let result = match answer {
            Answer::Update(result) => result.map(|done| {
                operation.epoch = done.durability_epoch;
                operation.length = Some(done.applied.chunk_length);
            }),
            Answer::Read(result) => result.map(|seen| operation.seen = seen),
            Answer::Listed(result) => result.map(|length| operation.length = length),
            Answer::Flush(result) => result.map(|epoch| operation.epoch = epoch),
            other => unreachable!("{other:?} is no answer to a client"),
        };
        match result {
            Ok(()) => {
                operation.returned = Some(now);
                let (seen, length) = (operation.seen, operation.length);
                self.note(|| format!("client {client} done {number} {action:?} {seen:?} {length:?}"));
                self.history.close_doubts(number);
                self.end_operation(client, slot, true);
            }
            Err(error) => self.answered_with(client, slot, &error),
        }
    }

    fn end_operation(&mut self, client: usize, slot: usize, applied: bool) {
        let me = &mut self.clients[client];
        let current = me.slots[slot].take().expect("an operation ends once");
        let think = self.random.between(1, 1 + self.knobs.think_ms * 1000);
        self.plan_step(client, slot, think);
        if let Some(started) = current.started {
            self.clients[client].lane(current.chain).finish(started, applied);
            self.start_updates(client, current.chain);
        }
    }

    /// What was sent ended with this error.
    fn answered_with(&mut self, client: usize, slot: usize, error: &Error) {
        let current = self.clients[client].slots[slot].as_mut().expect("looked at by the caller");
        if leaves_doubt(error.code)
            && let Some(started) = &mut current.started
        {
            started.lost();
        }
        self.attempt_failed(client, slot, error);
    }

    fn attempt_failed(&mut self, client: usize, slot: usize, error: &Error) {
        self.note(|| format!("client {client}/{slot} failed: {error}"));
        let now = Time(self.now);
        let me = &mut self.clients[client];
        let current = me.slots[slot].as_mut().expect("an attempt belongs to an operation");
        if error.code == Code::Fenced && current.action.updates() {
            let identity = me.identity;
            return self.client_renewal(client, identity);
        }
        let call = current.call.as_mut().expect("an attempt belongs to a call");
        current.in_air = 0;
        let salt = u64::from(me.identity).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let chain = &me.routing.chains[current.chain];
        match call.failed(now, error.code, Some(chain), salt) {
            Next::Fail => self.give_up(client, slot, error),
            Next::Again { after_ms, refresh_routing, suspect } => {
                current.parked = after_ms > 0;
                if let Some(target) = suspect {
                    me.suspects.suspect(now, target);
                }
                if refresh_routing {
                    let (from, call) = (Address::Client(me.index), 0);
                    let message = Message::Request { call, request: Request::Routing };
                    self.send(from, Address::Manager, message);
                }
                if planted(Planted::RetryAsNew) && self.submit_anew(client, slot) {
                    return;
                }
                self.plan_step(client, slot, after_ms * 1000);
            }
        }
    }

    /// Only planted. False: it is no update.
    fn submit_anew(&mut self, client: usize, slot: usize) -> bool {
        let me = &mut self.clients[client];
        let current = me.slots[slot].as_mut().expect("an operation of this slot");
        let Some(started) = current.started.take() else { return false };
        let chain = current.chain;
        me.lane(chain).finish(started, false);
        me.submit(slot);
        self.start_updates(client, chain);
        true
    }

    fn give_up(&mut self, client: usize, slot: usize, error: &Error) {
        let current = self.clients[client].slots[slot].as_ref().expect("an operation of this slot");
        let (number, in_doubt) = (current.number, current.in_doubt);
        let makes_room = matches!(current.action, Action::Truncate { .. } | Action::Remove);
        if makes_room && error.code == Code::NoSpace {
            return self.violate(format!("operation {number}, which takes no room, was refused: {error}"));
        }
        if matches!(error.code, Code::StaleSequence | Code::InvalidArgument) {
            return self.violate(format!("operation {number} was refused: {error}"));
        }
        self.note(|| format!("client {client} gives up {number}: {error}"));
        let now = self.now;
        // A second copy of a request is one without an answer. Of those that found no room there may be hundreds,
        // which the checker takes for the same only while they stay open.
        let refused = !in_doubt && error.code != Code::NoSpace && self.knobs.duplicate == 0.0;
        self.history.operation(number).refused = refused.then_some(now);
        if in_doubt {
            self.history.doubt(number);
        }
        self.end_operation(client, slot, false);
    }
}

//! Clients: each has some operations in the air, picks replicas and tries again by the product's own rules,
//! and writes down what it saw.

use crate::content::CELLS;
use crate::engine::Body;
use crate::event::{Address, Answer, Event, Message, Request};
use crate::history::Action;
use crate::knobs::Knobs;
use crate::random::Random;
use crate::world::World;
use chain::client::{Attempts, Channels, Decision, Permit, Suspects, head, read_target};
use chain::manager::Published;
use chain::museum::{Planted, planted};
use chain::{Time, Update};
use wire::message::{Chain, UpdateKind};
use wire::{ChunkId, ClientId, Code, Error, Tag, TargetId};

#[derive(Clone, Debug)]
pub struct Current {
    number: u32,
    chunk: ChunkId,
    action: Action,
    permit: Option<Permit>,
    attempts: Attempts,
    /// The call in the air; 0 = between two attempts.
    call: u64,
    target: Option<TargetId>,
    avoid: Vec<TargetId>,
    /// One of its requests had no answer and may still arrive.
    in_doubt: bool,
}

pub struct Client {
    index: usize,
    pub identity: u32,
    routing: Chain,
    routing_version: u64,
    suspects: Suspects,
    channels: Channels,
    pub slots: Vec<Option<Current>>,
    spread: u64,
    pub stopped: bool,
}

impl Client {
    pub fn new(index: usize, knobs: &Knobs) -> Client {
        Client {
            index,
            identity: index as u32,
            routing: Chain::default(),
            routing_version: 0,
            suspects: Suspects::default(),
            channels: Channels::new(knobs.depth as u32),
            slots: vec![None; knobs.depth],
            spread: 0,
            stopped: false,
        }
    }

    fn request(&self, current: &Current) -> Request {
        let chain_version = self.routing.version;
        let chunk = current.chunk;
        let (kind, offset, length) = match current.action {
            Action::Read => return Request::Read { chain_version, chunk },
            Action::List => return Request::Listed { chain_version, chunk },
            Action::Flush => return Request::Flush { chain_version, from_client: true },
            Action::Write { first, count } => (UpdateKind::UpdateWrite, first as u32, count as u32),
            Action::Punch { first, count } => (UpdateKind::UpdatePunch, first as u32, count as u32),
            Action::Truncate { length } => (UpdateKind::UpdateTruncate, 0, length as u32),
            Action::Remove => (UpdateKind::UpdateRemove, 0, 0),
        };
        let permit = current.permit.expect("an update has a channel");
        let tag = Tag { client: id_of(self.identity), channel: permit.channel, sequence: permit.sequence };
        let update = Update {
            chunk,
            tag,
            kind,
            offset,
            length,
            crc: current.number,
            chunk_size: CELLS as u32,
            flush: false,
        };
        Request::Update { chain_version, update, body: Body::Operation(current.number) }
    }

    fn learn(&mut self, published: &Published) {
        if published.version > self.routing_version {
            self.routing_version = published.version;
            self.routing = published.chains[0].clone();
        }
    }
}

pub fn id_of(identity: u32) -> ClientId {
    ClientId(std::array::from_fn(|at| (identity + 1).to_le_bytes()[at % 4]))
}

impl World {
    /// The client found itself fenced: what it had in the air is given up, and it goes on under a new id.
    pub fn client_renewal(&mut self, client: usize, identity: u32) {
        if self.clients[client].identity != identity {
            return;
        }
        self.note(|| format!("client {client} was fenced"));
        let me = &mut self.clients[client];
        me.channels = Channels::new(self.knobs.depth as u32);
        me.slots.fill(None);
        me.identity = self.identities;
        self.identities += 1;
        let identity = me.identity;
        self.client_registration(identity);
        for slot in 0..self.knobs.depth {
            self.schedule(1000, Event::ClientStep { client, slot });
        }
    }

    pub fn client_step(&mut self, client: usize, slot: usize) {
        if self.clients[client].slots[slot].is_none() && !self.begin_operation(client, slot) {
            return;
        }
        let now = Time(self.now);
        let me = &mut self.clients[client];
        let Some(current) = me.slots[slot].as_mut().filter(|current| current.call == 0) else { return };
        me.spread += 1;
        let target = match current.action {
            Action::Read | Action::List => {
                read_target(&me.routing, &me.suspects, now, &current.avoid, me.spread)
            }
            _ => head(&me.routing),
        };
        current.target = target;
        let Some(TargetId(number)) = target else {
            let error = Error::new(Code::NoChain, "nobody serves");
            return self.attempt_failed(client, slot, error);
        };
        let call = self.next_call();
        let me = &mut self.clients[client];
        let current = me.slots[slot].as_mut().expect("looked at above");
        current.call = call;
        let current = me.slots[slot].as_ref().expect("looked at above");
        let request = me.request(current);
        let to = Address::Node(number as usize - 1);
        self.send(Address::Client(client), to, Message::Request { call, request });
        let timeout = self.knobs.call_timeout_ms * 1000;
        self.schedule(timeout, Event::ClientTimeout { client, slot, call });
    }

    fn begin_operation(&mut self, client: usize, slot: usize) -> bool {
        if self.clients[client].stopped {
            return false;
        }
        let action = self.draw_action(self.knobs.reader && client == 0);
        let index = self.random.between(0, self.knobs.chunks);
        let chunk = self.chunk(index);
        let number = self.history.call(self.clients[client].identity, chunk, action, self.now);
        let attempts = Attempts::new(Time(self.now), Some(self.knobs.io_timeout_ms));
        let me = &mut self.clients[client];
        let permit = action.updates().then(|| me.channels.acquire().expect("a channel for each slot"));
        me.slots[slot] = Some(Current {
            number,
            chunk,
            action,
            permit,
            attempts,
            call: 0,
            target: None,
            avoid: Vec::new(),
            in_doubt: false,
        });
        true
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

    pub fn client_timeout(&mut self, client: usize, slot: usize, call: u64) {
        let waits = self.clients[client].slots[slot].as_ref().is_some_and(|current| current.call == call);
        if waits {
            self.attempt_failed(client, slot, Error::new(Code::TimedOut, "no answer"));
        }
    }

    pub fn client_message(&mut self, client: usize, message: Message) {
        match message {
            Message::Push { published, .. } | Message::Answer { answer: Answer::Routing(published), .. } => {
                self.clients[client].learn(&published);
            }
            Message::Answer { call, answer } => {
                let slots = &self.clients[client].slots;
                let waits =
                    |slot: &Option<Current>| slot.as_ref().is_some_and(|current| current.call == call);
                if let Some(slot) = slots.iter().position(waits) {
                    self.answered(client, slot, answer);
                }
            }
            Message::Request { .. } => unreachable!("nobody asks a client"),
        }
    }

    fn answered(&mut self, client: usize, slot: usize, answer: Answer) {
        let now = self.now;
        let current = self.clients[client].slots[slot].clone().expect("an answer belongs to an operation");
        let operation = self.history.operation(current.number);
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
                self.note(|| {
                    format!(
                        "client {client} done {} {:?} {seen:?} {length:?}",
                        current.number, current.action
                    )
                });
                if let Some(target) = current.target {
                    self.clients[client].suspects.clear(target);
                }
                self.end_operation(client, slot);
            }
            Err(error) => self.attempt_failed(client, slot, error),
        }
    }

    fn end_operation(&mut self, client: usize, slot: usize) {
        let me = &mut self.clients[client];
        let current = me.slots[slot].take().expect("an operation ends once");
        if let Some(permit) = current.permit {
            me.channels.release(permit);
        }
        let think = self.random.between(1, 1 + self.knobs.think_ms * 1000);
        self.schedule(think, Event::ClientStep { client, slot });
    }

    fn attempt_failed(&mut self, client: usize, slot: usize, error: Error) {
        self.note(|| format!("client {client}/{slot} failed: {error}"));
        let jitter = self.random.word();
        let now = Time(self.now);
        let me = &mut self.clients[client];
        let current = me.slots[slot].as_mut().expect("an attempt belongs to an operation");
        current.call = 0;
        current.in_doubt |= error.code == Code::TimedOut;
        let (number, in_doubt) = (current.number, current.in_doubt);
        if error.code == Code::Fenced {
            let identity = me.identity;
            return self.client_renewal(client, identity);
        }
        match current.attempts.decide(now, error.code, jitter) {
            Decision::Fail(code) => {
                if matches!(code, Code::StaleSequence | Code::InvalidArgument) {
                    return self.violate(format!("operation {number} was refused: {error}"));
                }
                self.note(|| format!("client {client} gives up {number}: {error}"));
                // A second copy of a request is one without an answer. Of those that found no room there may be
                // hundreds, which the checker takes for the same only while they stay open.
                if !in_doubt && code != Code::NoSpace && self.knobs.duplicate == 0.0 {
                    self.history.operation(number).refused = Some(self.now);
                }
                self.end_operation(client, slot);
            }
            Decision::Again { after_ms, refresh_routing, suspect, elsewhere } => {
                if planted(Planted::RetryAsNew)
                    && let Some(permit) = current.permit.take()
                {
                    me.channels.release(permit);
                    current.permit = me.channels.acquire();
                }
                if let Some(target) = current.target {
                    if suspect {
                        me.suspects.suspect(now, target);
                    }
                    if elsewhere && !current.avoid.contains(&target) {
                        current.avoid.push(target);
                    }
                }
                if current.avoid.len() >= me.routing.members.len() {
                    current.avoid.clear();
                }
                if refresh_routing {
                    let (from, call) = (Address::Client(me.index), 0);
                    let message = Message::Request { call, request: Request::Routing };
                    self.send(from, Address::Manager, message);
                }
                self.schedule(after_ms * 1000, Event::ClientStep { client, slot });
            }
        }
    }
}

//! Everything there is in one seed's world, and the queue of what happens next. Ties are broken by the order
//! of scheduling, so that a seed is a history.

use crate::client::Client;
use crate::engine::Body;
use crate::event::{Address, Event, Message};
use crate::history::History;
use crate::knobs::Knobs;
use crate::manager::ManagerProcess;
use crate::manager_trace::ManagerTrace;
use crate::network::{Copies, Network};
use crate::node::Node;
use crate::profiles::Profile;
use crate::random::Random;
use chain::Output;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use wire::ChunkId;

pub const CHAIN: u32 = 1;

/// Events of one seed; beyond it something spins.
const EVENTS_MAX: u64 = 3_000_000;

pub struct World {
    pub now: u64,
    pub knobs: Knobs,
    pub random: Random,
    pub network: Network,
    pub manager: ManagerProcess,
    pub nodes: Vec<Node>,
    pub clients: Vec<Client>,
    pub history: History,
    pub healed: bool,
    /// Until then nothing fails.
    pub quiet_until: u64,
    /// The only node that runs, while it must go on alone.
    pub core: Option<usize>,
    /// The first broken rule.
    pub violation: Option<String>,
    /// Histories of chunks of which the checker could not say whether they are linearizable.
    pub undecided: u64,
    pub verbose: bool,
    pub trace: Option<ManagerTrace>,
    pub hash: u64,
    pub events: u64,
    pub faults: u64,
    calls: u64,
    /// Of clients: a fenced one goes on under the next.
    pub identities: u32,
    order: u64,
    /// Time, when it was due, order, and the event's place in the store: events are too large to be moved about
    /// in a heap.
    queue: BinaryHeap<Reverse<(u64, u64, u64, usize)>>,
    store: Vec<Option<Event>>,
    /// Empty between two inputs: kept for its room.
    pub outputs: Vec<Output<Body>>,
    free: Vec<usize>,
}

impl World {
    pub fn new(seed: u64, profile: Option<Profile>, verbose: bool) -> World {
        let mut random = Random::new(seed);
        let knobs = Knobs::draw(&mut random, profile);
        World::with(knobs, random, verbose)
    }

    pub fn with(knobs: Knobs, mut random: Random, verbose: bool) -> World {
        let nodes =
            (0..knobs.members + knobs.spares).map(|index| Node::new(index, &knobs, &mut random)).collect();
        let clients: Vec<Client> = (0..knobs.clients).map(|index| Client::new(index, &knobs)).collect();
        let manager = ManagerProcess::new(&knobs, &mut random);
        World {
            now: 0,
            network: Network::default(),
            manager,
            nodes,
            clients,
            history: History::default(),
            healed: false,
            quiet_until: 0,
            core: None,
            violation: None,
            undecided: 0,
            verbose,
            trace: None,
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            faults: 0,
            calls: 0,
            identities: knobs.clients as u32,
            order: 0,
            queue: BinaryHeap::new(),
            store: Vec::new(),
            outputs: Vec::new(),
            free: Vec::new(),
            knobs,
            random,
        }
    }

    pub fn next_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub fn schedule(&mut self, delay_us: u64, event: Event) {
        self.order += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.store.push(None);
            self.store.len() - 1
        });
        self.store[place] = Some(event);
        let time = self.now + delay_us;
        self.queue.push(Reverse((time, time, self.order, place)));
    }

    pub fn send(&mut self, from: Address, to: Address, message: Message) {
        let delays = self.network.delays(&mut self.random, &self.knobs, self.now, (from, to), message.kind());
        match delays {
            Copies::None => {}
            Copies::One(delay) => self.schedule(delay, Event::Deliver { from, to, message }),
            Copies::Two(first, second) => {
                self.schedule(first, Event::Deliver { from, to, message: message.clone() });
                self.schedule(second, Event::Deliver { from, to, message });
            }
        }
    }

    pub fn violate(&mut self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    pub fn note(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{:>12.6} {}", self.now as f64 / 1e6, text());
        }
    }

    pub fn chunk(&self, index: u64) -> ChunkId {
        ChunkId { inode: 1, index }
    }

    /// Runs until something is violated or the time is over.
    pub fn run_until(&mut self, end: u64) {
        while self.violation.is_none()
            && let Some(event) = self.next_event(end)
        {
            self.events += 1;
            if self.events > EVENTS_MAX {
                return self.violate("too many events: something spins".into());
            }
            self.mix(self.now);
            self.dispatch(event);
        }
        self.now = self.now.max(end);
    }

    /// The next one until `end`, at its time. A paused process sees everything later, in the order in which it
    /// was due, however often the pause was made longer: a disk does the work of a chunk in its order.
    fn next_event(&mut self, end: u64) -> Option<Event> {
        loop {
            let Reverse((time, due, order, place)) =
                self.queue.peek().copied().filter(|Reverse((time, ..))| *time <= end)?;
            self.queue.pop();
            assert!(time >= self.now, "time goes on");
            self.now = time;
            let event = self.store[place].take().expect("an event happens once");
            let paused_until = self.paused_until(&event);
            if paused_until <= time {
                self.free.push(place);
                return Some(event);
            }
            self.store[place] = Some(event);
            self.queue.push(Reverse((paused_until, due, order, place)));
        }
    }

    pub fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::ManagerTick { life } => self.manager_tick(life),
            Event::ClientStep { client, slot, step } => self.client_step(client, slot, step),
            Event::ClientRenewal { client, identity } => self.client_renewal(client, identity),
            Event::ClientRegistration { identity } => self.client_registration(identity),
            Event::ClientHeartbeat { client } => self.client_heartbeat(client),
            Event::ClientCallLost { client, slot, call, code } => {
                self.client_call_lost(client, slot, call, code)
            }
            Event::Fault(fault) => self.fault(fault),
            Event::Look => {}
            other => self.node_event(other),
        }
    }

    /// Of the process that the event happens to.
    fn paused_until(&self, event: &Event) -> u64 {
        match event {
            Event::Deliver { to: Address::Manager, .. }
            | Event::ManagerTick { .. }
            | Event::ClientRegistration { .. } => self.manager.paused_until,
            _ => self.node_of(event).map_or(0, |node| self.nodes[node].paused_until),
        }
    }

    fn node_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Deliver { to: Address::Node(node), .. }
            | Event::Tick { node, .. }
            | Event::Heartbeat { node, .. }
            | Event::WriteBack { node, .. }
            | Event::Disk { node, .. }
            | Event::Read { node, .. }
            | Event::CallTimeout { node, .. }
            | Event::Reopen { node, .. } => Some(*node),
            _ => None,
        }
    }

    fn deliver(&mut self, from: Address, to: Address, message: Message) {
        match to {
            Address::Manager => self.manager_message(from, message),
            Address::Node(node) => self.node_message(node, from, message),
            Address::Client(client) => self.client_message(client, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_is_made_longer_keeps_the_order_of_what_waits() {
        let mut random = Random::new(1);
        let knobs = Knobs::quiet(Profile::General, &mut random);
        let mut world = World::with(knobs, random, false);
        let tick = |incarnation| Event::Tick { node: 0, incarnation };
        world.nodes[0].paused_until = 20;
        world.schedule(10, tick(1));
        world.schedule(12, Event::Look);
        world.schedule(15, tick(2));
        assert!(matches!(world.next_event(100), Some(Event::Look)), "the first one waits");
        world.nodes[0].paused_until = 50;
        for expected in 1..=2 {
            let next = world.next_event(100);
            assert!(matches!(next, Some(Event::Tick { incarnation, .. }) if incarnation == expected));
            assert_eq!(world.now, 50);
        }
        assert!(world.next_event(100).is_none());
    }
}

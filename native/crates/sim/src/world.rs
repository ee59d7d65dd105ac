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
use crate::placement::Placement;
use crate::random::Random;
use crate::run::Choice;
use crate::target::Target;
use chain::Output;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use wire::ChunkId;

/// Events of one seed; beyond it something spins.
const EVENTS_MAX: u64 = 3_000_000;

pub struct World {
    pub now: u64,
    pub knobs: Knobs,
    pub random: Random,
    pub network: Network,
    pub manager: ManagerProcess,
    pub placement: Placement,
    pub nodes: Vec<Node>,
    /// Of all chains: those of the first one, in the order of their nodes, then those of the next.
    pub targets: Vec<Target>,
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
    pub frozen: bool,
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
    pub fn new(seed: u64, choice: Choice) -> World {
        let mut random = Random::new(seed);
        let mut knobs = Knobs::draw(&mut random, choice.profile);
        knobs.chains = choice.chains.unwrap_or(knobs.chains);
        World::with(knobs, random, choice.verbose)
    }

    pub fn with(knobs: Knobs, mut random: Random, verbose: bool) -> World {
        let placement = Placement::new(&knobs);
        let nodes = (0..placement.nodes).map(|_| Node::new(&mut random)).collect();
        let targets = (0..placement.chains).flat_map(|chain| placement.targets_of(chain));
        let targets = targets.map(|index| Target::new(index, placement, &knobs)).collect();
        let clients: Vec<Client> = (0..knobs.clients).map(|index| Client::new(index, &knobs)).collect();
        let manager = ManagerProcess::new(&knobs, placement, &mut random);
        World {
            now: 0,
            network: Network::default(),
            manager,
            placement,
            nodes,
            targets,
            clients,
            history: History::default(),
            healed: false,
            quiet_until: 0,
            core: None,
            violation: None,
            undecided: 0,
            frozen: false,
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
        let way = (self.machine_of(from), self.machine_of(to));
        let delays = self.network.delays(&mut self.random, &self.knobs, self.now, way, message.kind());
        match delays {
            Copies::None => {}
            Copies::One(delay) => self.schedule(delay, Event::Deliver { from, to, message }),
            Copies::Two(first, second) => {
                self.schedule(first, Event::Deliver { from, to, message: message.clone() });
                self.schedule(second, Event::Deliver { from, to, message });
            }
        }
    }

    /// Ways are between machines.
    fn machine_of(&self, address: Address) -> Address {
        match address {
            Address::Target(target) => Address::Node(self.targets[target].node),
            other => other,
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

    pub fn chunks(&self) -> impl Iterator<Item = ChunkId> + use<> {
        (0..self.placement.chunks()).map(|index| ChunkId { inode: 1, index })
    }

    /// Any of the chains.
    pub fn draw_chain(&mut self) -> usize {
        // Worlds with one are what their seeds were before there were others.
        if self.placement.chains == 1 { 0 } else { self.random.below(self.placement.chains) }
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
            Event::Heartbeat { .. } | Event::HeartbeatLost { .. } => self.node_event(event),
            other => self.target_event(other),
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
            | Event::Heartbeat { node, .. }
            | Event::HeartbeatLost { node, .. } => Some(*node),
            Event::Deliver { to: Address::Target(target), .. }
            | Event::Tick { target, .. }
            | Event::WriteBack { target, .. }
            | Event::Disk { target, .. }
            | Event::Read { target, .. }
            | Event::CallTimeout { target, .. }
            | Event::Reopen { target, .. } => Some(self.targets[*target].node),
            _ => None,
        }
    }

    fn deliver(&mut self, from: Address, to: Address, message: Message) {
        match to {
            Address::Manager => self.manager_message(from, message),
            Address::Node(node) => self.node_message(node, message),
            Address::Target(target) => self.target_message(target, from, message),
            Address::Client(client) => self.client_message(client, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles::Profile;

    #[test]
    fn a_pause_that_is_made_longer_keeps_the_order_of_what_waits() {
        let mut random = Random::new(1);
        let knobs = Knobs::quiet(Profile::General, &mut random);
        let mut world = World::with(knobs, random, false);
        let tick = |incarnation| Event::Tick { target: 0, incarnation };
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

//! A storage node: its clock, its process with the targets in it, and what the process says to the manager and hears
//! from it for all of them.

use crate::event::{Address, Answer, Event, Grant, Message, Request};
use crate::random::Random;
use crate::target::Target;
use crate::world::World;
use chain::manager::Published;
use chain::museum::{Planted, planted};
use chain::{Input, Time, covers};
use std::collections::BTreeMap;
use std::rc::Rc;

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

pub struct Node {
    pub clock: Clock,
    pub boot: u64,
    /// Of the process that runs, or ran last.
    pub incarnation: u64,
    pub runs: bool,
    started: u64,
    pub paused_until: u64,
    /// Of heartbeats.
    sequence: u64,
    /// The life of the manager that it spoke to last: the connection to one before that is closed.
    spoke_to: u64,
    /// By the number of the call: when each that has no answer was sent, on the node's clock.
    heartbeats: BTreeMap<u64, Time>,
}

impl Node {
    pub fn new(random: &mut Random) -> Node {
        Node {
            clock: Clock::new(random),
            boot: 1,
            incarnation: 0,
            runs: false,
            started: 0,
            paused_until: 0,
            sequence: 0,
            spoke_to: 0,
            heartbeats: BTreeMap::new(),
        }
    }
}

impl World {
    pub fn start_node(&mut self, index: usize) {
        if self.nodes[index].runs {
            return;
        }
        self.placement.targets_on(index).for_each(|target| self.open_engine(target));
        let node = &mut self.nodes[index];
        node.incarnation += 1;
        node.runs = true;
        node.started = self.now;
        node.sequence = 0;
        let incarnation = node.incarnation;
        self.note(|| format!("node {index} starts as {incarnation}"));
        self.schedule(10, Event::Heartbeat { node: index, incarnation });
        self.placement.targets_on(index).for_each(|target| self.start_target(target, incarnation));
    }

    /// The process is gone, and all that was only in its memory.
    pub fn end_node(&mut self, index: usize) {
        if self.nodes[index].runs {
            self.connections_end(index);
        }
        let node = &mut self.nodes[index];
        node.runs = false;
        node.heartbeats.clear();
        node.paused_until = 0;
        self.placement.targets_on(index).for_each(|target| self.targets[target].end());
    }

    pub fn node_event(&mut self, event: Event) {
        let (Event::Heartbeat { node: index, incarnation }
        | Event::HeartbeatLost { node: index, incarnation, .. }) = event
        else {
            unreachable!("only a node's own events come here")
        };
        let node = &mut self.nodes[index];
        if node.incarnation != incarnation || !node.runs {
            return;
        }
        if let Event::HeartbeatLost { call, .. } = event {
            node.heartbeats.remove(&call);
            return;
        }
        self.heartbeat(index);
        self.placement.targets_on(index).for_each(|target| self.ask_space(target));
        self.schedule(self.knobs.heartbeat_ms * 1000, event);
    }

    /// Of the process, with what all its targets have to say.
    pub fn heartbeat(&mut self, index: usize) {
        let call = self.next_call();
        let node = &mut self.nodes[index];
        node.sequence += 1;
        node.spoke_to = self.manager.life;
        let targets = || self.placement.targets_on(index).map(|target| &self.targets[target]);
        let request = Request::Heartbeat {
            node: index,
            incarnation: node.incarnation,
            sequence: node.sequence,
            life: self.manager.life,
            reports: targets().map(|target| target.report(node.boot)).collect(),
            known: targets().map(|target| target.engine.known.clone()).collect(),
        };
        node.heartbeats.insert(call, node.clock.at(self.now));
        let incarnation = node.incarnation;
        self.send(Address::Node(index), Address::Manager, Message::Request { call, request });
        // A grant that comes late is still worth something.
        let timeout_ms = 4 * self.knobs.lease_ms;
        self.schedule(timeout_ms * 1000, Event::HeartbeatLost { node: index, incarnation, call });
    }

    /// Of the manager.
    pub fn node_message(&mut self, index: usize, message: Message) {
        if !self.nodes[index].runs {
            return;
        }
        match message {
            Message::Answer { call, answer: Answer::Grant(grant) } => {
                if let Some(sent) = self.nodes[index].heartbeats.remove(&call) {
                    self.granted(index, sent, grant);
                }
            }
            Message::Push { sent, life, published } => {
                if sent >= self.nodes[index].started && life >= self.nodes[index].spoke_to {
                    self.learn(index, &published, |_| None);
                }
            }
            other => unreachable!("the manager says no {other:?}"),
        }
    }

    fn granted(&mut self, index: usize, sent: Time, grant: Grant) {
        if grant.life < self.nodes[index].spoke_to {
            return;
        }
        let late = planted(Planted::LeaseFromArrival);
        let from = if late { self.nodes[index].clock.at(self.now) } else { sent };
        let until = from.plus_ms(grant.lease_ms);
        let lease_until = |chain: u32| (!grant.held.contains(&chain)).then_some(until);
        if let Some(published) = &grant.published {
            return self.learn(index, published, lease_until);
        }
        for target in self.placement.targets_on(index) {
            let replica = self.targets[target].replica.as_ref().expect("it runs");
            let chain = replica.view().chain.clone();
            let lease_until = lease_until(self.targets[target].chain_id());
            self.feed(target, Input::View { chain, lease_until });
        }
    }

    /// What is believed of all chains is known before anything is said or done about it. Who may write comes before the
    /// chain's version: whoever knows the version knows every fence before it.
    fn learn(&mut self, index: usize, published: &Published, lease_until: impl Fn(u32) -> Option<Time>) {
        let mut believed = Vec::new();
        for target in self.placement.targets_on(index) {
            let Target { chain, engine, .. } = &mut self.targets[target];
            let chain = &published.chains[*chain];
            let follows = covers(chain, engine.known.term, engine.known.version);
            if !follows && !planted(Planted::AnyViewBelieved) {
                continue;
            }
            if chain.version != engine.known.version {
                engine.known = Rc::new(chain.clone());
            }
            believed.push((target, chain));
        }
        for target in self.placement.targets_on(index) {
            self.feed(target, Input::Clients(published.clients.clone()));
        }
        for (target, chain) in believed {
            let lease_until = lease_until(chain.id);
            self.feed(target, Input::View { chain: chain.clone(), lease_until });
        }
    }
}

//! The manager process: the state machine of crate `chain` behind messages, with stored chains that survive
//! its restart.

use crate::event::{Address, Answer, Event, Message, Request};
use crate::history::Raise;
use crate::knobs::Knobs;
use crate::node::Clock;
use crate::random::Random;
use crate::world::{CHAIN, World};
use chain::manager::{Manager, ManagerConfig};
use chain::museum::{Planted, planted};
use wire::message::{Chain, Member, PublicState};

pub struct ManagerProcess {
    pub clock: Clock,
    pub config: ManagerConfig,
    /// On its disk.
    pub stored: Vec<Chain>,
    pub running: Option<Manager>,
    pub life: u64,
}

impl ManagerProcess {
    pub fn new(knobs: &Knobs, random: &mut Random) -> Self {
        let members = (0..knobs.members)
            .map(|index| Member { target: index as u64 + 1, node: index as u32, ..Member::default() })
            .collect();
        let preferred = (1..=knobs.members as u64).collect();
        let chain = Chain { id: CHAIN, version: 1, members, preferred, ..Chain::default() };
        let config = ManagerConfig {
            lease_ms: knobs.lease_ms,
            heartbeat_ms: knobs.heartbeat_ms,
            outage_grace_ms: knobs.outage_grace_ms,
        };
        let clock = Clock::new(random);
        ManagerProcess { clock, config, stored: vec![chain], running: None, life: 0 }
    }
}

impl World {
    pub fn start_manager(&mut self) {
        if self.manager.running.is_some() {
            return;
        }
        let now = self.manager.clock.at(self.now);
        self.manager.running = Some(Manager::new(now, self.manager.config, self.manager.stored.clone()));
        self.manager.life += 1;
        let life = self.manager.life;
        self.schedule(1000, Event::ManagerTick { life });
    }

    pub fn manager_tick(&mut self, life: u64) {
        if life == self.manager.life && self.manager.running.is_some() {
            self.advance_chains();
            self.schedule(self.knobs.manager_tick_ms * 1000, Event::ManagerTick { life });
        }
    }

    pub fn advance_chains(&mut self) {
        let now = self.manager.clock.at(self.now);
        let Some(manager) = &mut self.manager.running else { return };
        let changed = manager.advance(now);
        if changed.is_empty() {
            return;
        }
        let before = std::mem::replace(&mut self.manager.stored, manager.chains().to_vec());
        for chain in &changed {
            self.mix(chain.version);
            self.note(|| format!("chain {} {}", chain.version, describe(chain)));
        }
        if before[0].durability_epoch != self.manager.stored[0].durability_epoch {
            self.raised();
        }
        let receivers = (0..self.nodes.len()).map(Address::Node);
        let receivers: Vec<Address> = receivers.chain((0..self.clients.len()).map(Address::Client)).collect();
        for to in receivers {
            self.send(Address::Manager, to, Message::Push(changed.clone()));
        }
    }

    /// The durability epoch was raised: what the member that resumes holds is what counts from now on.
    fn raised(&mut self) {
        let chain = &self.manager.stored[0];
        let serving = chain.members.iter().find(|member| member.state() == PublicState::PublicServing);
        let node = serving.expect("a raised epoch has a serving member").node as usize;
        let epoch = chain.durability_epoch;
        let contents = (0..self.knobs.chunks)
            .map(|index| (self.chunk(index), self.nodes[node].engine.newest(self.chunk(index)).content))
            .collect();
        self.history.raises.push(Raise { time: self.now, epoch, contents });
    }

    pub fn manager_message(&mut self, from: Address, message: Message) {
        let now = self.manager.clock.at(self.now);
        let Some(manager) = &mut self.manager.running else { return };
        let Message::Request { call, request } = message else { return };
        let answer = match request {
            Request::Heartbeat { node, incarnation, sequence, reports } => {
                let grant = manager.heartbeat(now, node as u32, (incarnation, sequence), reports);
                if grant.is_none() {
                    return;
                }
                if self.knobs.manager_eager {
                    self.advance_chains();
                }
                // The chains as they are now, written together with the lease (R4).
                let mut chains = self.manager.stored.clone();
                let serves = chains[0]
                    .members
                    .iter()
                    .any(|member| member.node == node as u32 && member.state() == PublicState::PublicServing);
                if planted(Planted::R4) && !serves {
                    self.send(Address::Manager, from, Message::Push(std::mem::take(&mut chains)));
                }
                Answer::Grant(grant.map(|grant| chain::manager::Grant { chains, ..grant }))
            }
            Request::Routing => Answer::Routing(manager.chains().to_vec()),
            _ => return,
        };
        self.send(Address::Manager, from, Message::Answer { call, answer });
    }
}

pub fn describe(chain: &Chain) -> String {
    let state = |member: &Member| {
        let name = member.state().as_str_name().trim_start_matches("PUBLIC_").to_lowercase();
        format!("{}/{}:{name}", member.target, member.incarnation)
    };
    let members: Vec<String> = chain.members.iter().map(state).collect();
    format!("[{}] epoch {}", members.join(" "), chain.durability_epoch)
}

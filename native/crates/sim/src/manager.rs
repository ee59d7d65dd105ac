//! The manager process: the state machine of crate `chain` behind messages, with stored chains that survive
//! its restart.

use crate::client::id_of;
use crate::content::Content;
use crate::event::{Address, Answer, Event, Grant, Message, Request};
use crate::history::{HeldFence, Raise};
use crate::knobs::Knobs;
use crate::manager_trace::{client_step, heartbeat_step, order_step};
use crate::node::Clock;
use crate::random::Random;
use crate::world::{CHAIN, World};
use chain::Time;
use chain::manager::{Grant as ManagerGrant, Manager, ManagerConfig, Published};
use chain::museum::{Planted, planted};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use wire::ChunkId;
use wire::message::{Chain, ChainHold, ChainOrder, Member, PublicState, TargetReport, Tenure};

pub struct ManagerProcess {
    pub clock: Clock,
    pub config: ManagerConfig,
    /// On its disk.
    pub stored: Rc<Published>,
    /// What was on it before, oldest first, where it may be put back.
    pub past: VecDeque<Rc<Published>>,
    /// Only planted: what is on the disk, while newer things were told already.
    pub late: Option<Rc<Published>>,
    pub running: Option<Manager>,
    pub life: u64,
    pub paused_until: u64,
    /// As in the product, in traced worlds.
    pub counts_milliseconds: bool,
    /// Fences that are not known to hold yet: who waits for them asks again after a restart.
    pub fences: Vec<PendingFence>,
    /// The version in which the chain is reordering, and since when this process has known it.
    reordering: Option<(u64, u64)>,
}

/// What a heartbeat earns.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    lease_ms: u64,
    /// And not for the chain.
    pub held: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct PendingFence {
    pub identity: u32,
    pub version: u64,
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
            reordering_max_ms: knobs.reordering_max_ms,
            reordering_pause_ms: knobs.reordering_pause_ms,
        };
        let clock = Clock::new(random);
        let mut first = Manager::new(Time::ZERO, config, vec![chain], 0);
        (0..knobs.clients as u32).for_each(|identity| first.register_client(id_of(identity)));
        let stored = Rc::new(first.published().clone());
        ManagerProcess {
            clock,
            config,
            stored,
            past: VecDeque::new(),
            late: None,
            running: None,
            life: 0,
            paused_until: 0,
            counts_milliseconds: false,
            fences: Vec::new(),
            reordering: None,
        }
    }

    pub fn time(&self, now: u64) -> Time {
        let Time(time) = self.clock.at(now);
        Time(if self.counts_milliseconds { time / 1000 * 1000 } else { time })
    }

    pub fn chain(&self) -> &Chain {
        &self.stored.chains[0]
    }

    /// A process that registers has closed its connection to the manager before, so it hears no more of that one.
    pub fn is_heard(&self, life: u64, node: u32, incarnation: u64) -> bool {
        let registered = |running: &Manager| running.is_registered(node, incarnation);
        life == self.life || !self.running.as_ref().is_some_and(registered)
    }
}

impl World {
    pub fn start_manager(&mut self) {
        if self.manager.running.is_some() {
            return;
        }
        let now = self.manager.time(self.now);
        let lost = self.manager.late.take();
        let stored = Published::clone(lost.as_ref().unwrap_or(&self.manager.stored));
        self.manager.running = Some(Manager::resume(now, self.manager.config, stored, self.manager.life + 1));
        self.manager.life += 1;
        self.manager.reordering = None;
        let life = self.manager.life;
        self.schedule(1000, Event::ManagerTick { life });
        self.trace_start();
    }

    pub fn manager_tick(&mut self, life: u64) {
        if life == self.manager.life && self.manager.running.is_some() {
            self.manager.late = None;
            self.look_at_everything();
            self.trace_suspicion();
            self.schedule(self.knobs.manager_tick_ms * 1000, Event::ManagerTick { life });
        }
    }

    fn look_at_everything(&mut self) {
        let expired = self.expired_clients();
        self.fence(&expired);
        self.advance_chains();
        self.judge_reordering();
        self.confirm_fences();
        self.trace_step(|| r#""do":"tick""#.into());
    }

    fn advance_chains(&mut self) {
        let now = self.manager.time(self.now);
        let Some(manager) = &mut self.manager.running else { return };
        let changed = manager.advance(now);
        self.chains_changed(&changed);
    }

    pub fn advance_by_facts(&mut self) {
        let now = self.manager.time(self.now);
        let Some(manager) = &mut self.manager.running else { return };
        let changed = manager.advance_by_facts(now);
        self.chains_changed(&changed);
    }

    fn chains_changed(&mut self, changed: &[Chain]) {
        if changed.is_empty() {
            return;
        }
        let epoch = self.manager.chain().durability_epoch;
        for chain in changed {
            self.mix(chain.version);
            self.note(|| format!("chain {} {}", chain.version, describe(chain)));
        }
        self.publish();
        if epoch != self.manager.chain().durability_epoch {
            self.raised();
        }
    }

    /// It goes on later, and what it is told meanwhile waits; no chain's patience is judged by that time.
    pub fn pause_manager(&mut self, ms: u64) {
        self.manager.paused_until = self.now + ms * 1000;
        if let Some((_, since)) = &mut self.manager.reordering {
            *since = self.manager.paused_until;
        }
    }

    /// Updates of a chain that is reordering wait: for a bounded time, whatever its members do.
    fn judge_reordering(&mut self) {
        let held = self.manager.running.as_ref().is_some_and(|one| one.hold(CHAIN) != ChainHold::HoldNone);
        let chain = self.manager.chain();
        let version = chain.version;
        if held {
            // Nobody has a lease either.
            self.manager.reordering = None;
            return;
        }
        let before = self.manager.reordering.filter(|(known, _)| *known == version);
        self.manager.reordering = chain.reordering.then(|| before.unwrap_or((version, self.now)));
        let Some((_, since)) = self.manager.reordering else { return };
        // A look later, by a clock that may be slow by half a percent.
        let limit_ms = self.knobs.reordering_max_ms * 101 / 100 + 2 * self.knobs.manager_tick_ms;
        if self.now - since > limit_ms * 1000 {
            self.violate(format!("the chain was reordering for more than {limit_ms} ms"));
        }
    }

    /// On the disk first, then to everybody (P3).
    fn publish(&mut self) {
        let Some(manager) = &self.manager.running else { return };
        let published = Rc::new(manager.published().clone());
        let before = std::mem::replace(&mut self.manager.stored, published);
        if planted(Planted::TellsBeforeStored) {
            self.manager.late.get_or_insert(before.clone());
        }
        self.keep_copy(&before);
        self.disturb_promotions(&before.chains[0]);
        self.fill_old_head(&before.chains[0]);
        let receivers = (0..self.nodes.len()).map(Address::Node);
        let receivers: Vec<Address> = receivers.chain((0..self.clients.len()).map(Address::Client)).collect();
        for to in receivers {
            self.send(
                Address::Manager,
                to,
                Message::Push {
                    sent: self.now,
                    life: self.manager.life,
                    published: self.manager.stored.clone(),
                },
            );
        }
    }

    /// Perhaps not everybody hears at once of a member that was promoted.
    fn disturb_promotions(&mut self, before: &Chain) {
        let state_of = |chain: &Chain, target: u64| {
            let mut members = chain.members.iter();
            members.find(|member| member.target == target).map(|member| member.state())
        };
        let chain = self.manager.chain();
        let place = chain.members.iter().position(|member| {
            member.state() == PublicState::PublicServing
                && state_of(before, member.target) == Some(PublicState::PublicSyncing)
        });
        if let Some(place) = place.filter(|_| !self.healed) {
            let node = |place: usize| chain.members[place].node as usize;
            let (promoted, predecessor) = (node(place), place.checked_sub(1).map(node));
            self.disturb_promotion(promoted, predecessor);
        }
    }

    /// The manager takes the client for dead (P4); the client hears of it later, if at all.
    pub fn take_for_dead(&mut self, client: usize) {
        let identity = self.clients[client].identity;
        let running = self.manager.running.as_ref();
        if running.is_some_and(|manager| manager.published().clients.is_live(id_of(identity))) {
            self.fence(&[client]);
            self.trace_step(|| client_step("fence", identity));
        }
    }

    /// These live.
    fn fence(&mut self, clients: &[usize]) {
        let Some(manager) = &mut self.manager.running else { return };
        if clients.is_empty() {
            return;
        }
        let identities: Vec<u32> = clients.iter().map(|client| self.clients[*client].identity).collect();
        let ids: Vec<wire::ClientId> = identities.iter().map(|identity| id_of(*identity)).collect();
        let version = manager.fence(&ids);
        self.manager
            .fences
            .extend(identities.iter().map(|identity| PendingFence { identity: *identity, version }));
        self.publish();
        for (client, identity) in clients.iter().zip(identities) {
            self.trace_fenced(identity);
            let delay = self.random.between(1, 3 * self.knobs.lease_ms * 1000);
            self.schedule(delay, Event::ClientRenewal { client: *client, identity });
        }
    }

    /// Registers until there is a manager to do it.
    pub fn client_registration(&mut self, identity: u32) {
        match &mut self.manager.running {
            Some(manager) => {
                manager.register_client(id_of(identity));
                self.publish();
                self.trace_client(identity);
            }
            None => self.schedule(100_000, Event::ClientRegistration { identity }),
        }
    }

    /// Notes which fences hold by now, and what the chain had of their clients then.
    fn confirm_fences(&mut self) {
        let Some(manager) = &self.manager.running else { return };
        let (held, left): (Vec<PendingFence>, Vec<PendingFence>) =
            self.manager.fences.iter().partition(|fence| manager.fence_holds(fence.version));
        if held.is_empty() {
            return;
        }
        self.manager.fences = left;
        let contents = self.contents_of_head();
        for fence in held {
            self.note(|| format!("the fence of identity {} holds", fence.identity));
            let held = HeldFence { time: self.now, contents: contents.clone() };
            self.history.fences.insert(fence.identity, held);
        }
    }

    /// What the first serving member has committed; nothing, if nobody serves.
    fn contents_of_head(&self) -> BTreeMap<ChunkId, Content> {
        let mut members = self.manager.chain().members.iter();
        let head = members.find(|member| member.state() == PublicState::PublicServing);
        let Some(head) = head else { return BTreeMap::new() };
        let engine = &self.nodes[head.node as usize].engine;
        (0..self.knobs.chunks).map(|index| (self.chunk(index), engine.content(self.chunk(index)))).collect()
    }

    /// The administrator: somebody is to leave for somebody who is not there, or a move is taken back.
    pub fn order(&mut self) {
        let chain = self.manager.chain();
        let named = |stays: bool| {
            let members =
                chain.members.iter().filter(move |member| (member.tenure() == Tenure::Stays) == stays);
            members.map(|member| member.target).collect::<Vec<u64>>()
        };
        let (staying, leaving) = (named(true), named(false));
        let out: Vec<u64> = (1..=self.nodes.len() as u64)
            .filter(|target| chain.members.iter().all(|member| member.target != *target))
            .collect();
        let order = if let Some(stays) = leaving.first().copied().filter(|_| self.random.chance(30.0)) {
            let leaves = self.random.pick(&staying);
            ChainOrder { stays: vec![stays], leaves: vec![leaves], ..ChainOrder::default() }
        } else if out.is_empty() {
            return;
        } else {
            let target = self.random.pick(&out);
            let join = Member { target, node: target as u32 - 1, ..Member::default() };
            ChainOrder {
                joins: vec![join],
                leaves: vec![self.random.pick(&staying)],
                ..ChainOrder::default()
            }
        };
        self.note(|| format!("{order:?}"));
        self.give(order);
    }

    /// To the chain as it was looked at, so it is carried out at once: later it may have other members.
    fn give(&mut self, order: ChainOrder) {
        if let Some(manager) = &mut self.manager.running {
            manager.order(CHAIN, order.clone());
            self.trace_step(|| order_step(&order));
            self.look_at_everything();
        }
    }

    /// The administrator wants the members in another order.
    pub fn rotate(&mut self, preferred: Option<Vec<u64>>) {
        let preferred = preferred.unwrap_or_else(|| {
            let mut any = self.manager.chain().preferred.clone();
            for place in (1..any.len()).rev() {
                any.swap(place, self.random.below(place + 1));
            }
            any
        });
        self.note(|| format!("preferred {preferred:?}"));
        self.give(ChainOrder { preferred, ..ChainOrder::default() });
    }

    /// The durability epoch was raised: what the member that resumes holds is what counts from now on.
    fn raised(&mut self) {
        let chain = self.manager.chain();
        let serving = chain.members.iter().find(|member| member.state() == PublicState::PublicServing);
        let node = serving.expect("a raised epoch has a serving member").node as usize;
        let epoch = chain.durability_epoch;
        // Whoever fsyncs from now on hears that older bytes may be lost.
        self.nodes[node].engine.frozen = false;
        let newest = |index| (self.chunk(index), self.nodes[node].engine.newest(self.chunk(index)));
        let newest = (0..self.knobs.chunks).map(newest).filter(|(_, stored)| !stored.is_absent());
        let contents = newest.map(|(chunk, stored)| (chunk, stored.content)).collect();
        self.history.raises.push(Raise { time: self.now, epoch, contents });
    }

    /// A process that this manager has not heard registers first, with its reports or `silently`; who did is stored
    /// before anybody is told.
    fn heartbeat_heard(
        &mut self,
        now: Time,
        node: u32,
        order: (u64, u64),
        (reports, known): (&[TargetReport], &Chain),
        silently: bool,
    ) -> Option<Granted> {
        let eager = self.knobs.manager_eager;
        let manager = self.manager.running.as_mut()?;
        let (incarnation, _) = order;
        let registers = !manager.is_registered(node, incarnation);
        let claims = if known.version == 0 { Vec::new() } else { vec![known.clone()] };
        let said = if silently { Vec::new() } else { reports.to_vec() };
        if registers && manager.register(now, node, incarnation, (said, claims)) {
            self.manager.stored = Rc::new(manager.published().clone());
            if eager {
                self.advance_by_facts();
                self.confirm_fences();
            }
        }
        let manager = self.manager.running.as_mut()?;
        let ManagerGrant { lease_ms } = manager.heartbeat(now, node, order, reports.to_vec())?;
        if eager {
            self.advance_by_facts();
        }
        self.confirm_fences();
        let hold = self.manager.running.as_ref()?.hold(CHAIN);
        if hold == ChainHold::HoldFrozen && self.knobs.set_back == 0 {
            self.violate("the chain is frozen, and the manager's state was never put back".into());
        }
        Some(Granted { lease_ms, held: hold != ChainHold::HoldNone })
    }

    pub fn manager_message(&mut self, from: Address, message: Message) {
        let now = self.manager.time(self.now);
        if self.manager.running.is_none() {
            return;
        }
        let Message::Request { call, request } = message else { return };
        let answer = match request {
            Request::Heartbeat { life, .. } if life != self.manager.life => return,
            Request::Heartbeat { node, incarnation, sequence, reports, known, .. } => {
                let order = (incarnation, sequence);
                let silently = self.registers_silently();
                let grant = self.heartbeat_heard(now, node as u32, order, (&reports, &known), silently);
                self.trace_step(|| heartbeat_step(node, order, (&reports, &known), (grant, silently)));
                let Some(grant) = grant else { return };
                // What is published now, written together with the lease (R4).
                let stored = self.manager.stored.clone();
                let serves = stored.chains[0]
                    .members
                    .iter()
                    .any(|member| member.node == node as u32 && member.state() == PublicState::PublicServing);
                let apart = planted(Planted::R4) && !serves;
                if apart {
                    self.send(
                        Address::Manager,
                        from,
                        Message::Push { sent: self.now, life: self.manager.life, published: stored.clone() },
                    );
                }
                let published = (!apart).then_some(stored);
                Answer::Grant(Grant {
                    life: self.manager.life,
                    lease_ms: grant.lease_ms,
                    held: grant.held,
                    published,
                })
            }
            Request::ClientHeartbeat { identity, sequence } => {
                return self.client_heartbeat_heard(now, identity, sequence);
            }
            Request::Routing => Answer::Routing(self.manager.stored.clone()),
            _ => return,
        };
        self.send(Address::Manager, from, Message::Answer { call, answer });
    }
}

pub fn describe(chain: &Chain) -> String {
    let state = |member: &Member| {
        let tenure = member.tenure().as_str_name().trim_start_matches("TENURE").to_lowercase();
        let tenure = if member.tenure() == Tenure::Stays { "" } else { tenure.as_str() };
        let name = member.state().as_str_name().trim_start_matches("PUBLIC_").to_lowercase();
        format!("{}/{}:{name}{tenure}", member.target, member.incarnation)
    };
    let members: Vec<String> = chain.members.iter().map(state).collect();
    let reordering = if chain.reordering { " reordering" } else { "" };
    let given_up = if chain.order_given_up { " given up" } else { "" };
    format!("[{}] epoch {}{reordering}{given_up}", members.join(" "), chain.durability_epoch)
}

//! The manager process: the state machine of crate `chain` behind messages, with stored chains that survive
//! its restart.

use crate::client::id_of;
use crate::event::{Address, Answer, Event, Grant, Message, Request};
use crate::history::{HeldFence, Raise};
use crate::knobs::Knobs;
use crate::lineage::Lineage;
use crate::manager_trace::{client_step, heartbeat_step};
use crate::node::Clock;
use crate::placement::{Placement, chain_place, target_place};
use crate::random::Random;
use crate::world::World;
use chain::Time;
use chain::manager::{Grant as ManagerGrant, Manager, ManagerConfig, Published};
use chain::museum::{Planted, planted};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use wire::message::{Chain, ChainHold, Member, PublicState, TargetReport, Tenure};
use wire::{ChunkId, TargetId};

pub struct ManagerProcess {
    pub clock: Clock,
    pub config: ManagerConfig,
    /// On its disk.
    pub stored: Rc<Published>,
    /// What was on it before, oldest first, where it may be put back.
    pub past: VecDeque<Rc<Published>>,
    /// To what it was put back last.
    pub put_back: Option<Rc<Published>>,
    /// Only planted: what is on the disk, while newer things were told already.
    pub late: Option<Rc<Published>>,
    pub running: Option<Manager>,
    pub life: u64,
    pub paused_until: u64,
    /// As in the product, in traced worlds.
    pub counts_milliseconds: bool,
    /// Fences that are not known to hold yet: who waits for them asks again after a restart.
    pub fences: Vec<PendingFence>,
    /// By chain: the version in which it is reordering, and since when this process has known it.
    reordering: Vec<Option<(u64, u64)>>,
}

/// What a heartbeat earns.
#[derive(Clone, Debug)]
pub struct Granted {
    lease_ms: u64,
    /// And not for these chains.
    pub held: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
pub struct PendingFence {
    pub identity: u32,
    pub version: u64,
}

impl ManagerProcess {
    pub fn new(knobs: &Knobs, placement: Placement, random: &mut Random) -> Self {
        let chains = (0..placement.chains).map(|chain| placement.new_chain(chain)).collect();
        let config = ManagerConfig {
            lease_ms: knobs.lease_ms,
            heartbeat_ms: knobs.heartbeat_ms,
            outage_grace_ms: knobs.outage_grace_ms,
            reordering_max_ms: knobs.reordering_max_ms,
            reordering_pause_ms: knobs.reordering_pause_ms,
        };
        let clock = Clock::new(random);
        let mut first = Manager::new(Time::ZERO, config, chains, 0);
        (0..knobs.clients as u32).for_each(|identity| first.register_client(id_of(identity)));
        let stored = Rc::new(first.published().clone());
        ManagerProcess {
            clock,
            config,
            stored,
            past: VecDeque::new(),
            put_back: None,
            late: None,
            running: None,
            life: 0,
            paused_until: 0,
            counts_milliseconds: false,
            fences: Vec::new(),
            reordering: vec![None; placement.chains],
        }
    }

    pub fn time(&self, now: u64) -> Time {
        let Time(time) = self.clock.at(now);
        Time(if self.counts_milliseconds { time / 1000 * 1000 } else { time })
    }

    pub fn chains(&self) -> &[Chain] {
        &self.stored.chains
    }

    /// The targets that serve, in the order of the chain.
    pub fn serving(&self, chain: usize) -> impl Iterator<Item = usize> {
        let members = self.stored.chains[chain].members.iter();
        let serving = members.filter(|member| member.state() == PublicState::PublicServing);
        serving.map(|member| target_place(TargetId(member.target)))
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
        self.manager.reordering.fill(None);
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

    pub fn look_at_everything(&mut self) {
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
        for chain in changed {
            self.mix(chain.version);
            self.note(|| format!("chain {} {} {}", chain.id, chain.version, describe(chain)));
        }
        let before = self.publish();
        for place in changed.iter().map(|chain| chain_place(chain.id)) {
            if before.chains[place].durability_epoch != self.manager.chains()[place].durability_epoch {
                self.raised(place);
            }
        }
    }

    /// It goes on later, and what it is told meanwhile waits; no chain's patience is judged by that time.
    pub fn pause_manager(&mut self, ms: u64) {
        self.manager.paused_until = self.now + ms * 1000;
        for (_, since) in self.manager.reordering.iter_mut().flatten() {
            *since = self.manager.paused_until;
        }
    }

    /// Updates of a chain that is reordering wait: for a bounded time, whatever its members do.
    fn judge_reordering(&mut self) {
        for place in 0..self.placement.chains {
            let known = self.manager.reordering[place];
            let reordering = self.reordering_since(place, known);
            self.manager.reordering[place] = reordering;
            // A look later, by a clock that may be slow by half a percent.
            let limit_ms = self.knobs.reordering_max_ms * 101 / 100 + 2 * self.knobs.manager_tick_ms;
            if reordering.is_some_and(|(_, since)| self.now - since > limit_ms * 1000) {
                let chain = place + 1;
                self.violate(format!("chain {chain} was reordering for more than {limit_ms} ms"));
            }
        }
    }

    fn reordering_since(&self, place: usize, known: Option<(u64, u64)>) -> Option<(u64, u64)> {
        let chain = &self.manager.chains()[place];
        let running = self.manager.running.as_ref();
        // Of one that is held nobody has a lease either.
        let held = running.is_some_and(|manager| manager.hold(chain.id) != ChainHold::HoldNone);
        let since = known.filter(|(version, _)| *version == chain.version);
        (chain.reordering && !held).then(|| since.unwrap_or((chain.version, self.now)))
    }

    /// On the disk first, then to everybody (P3). Returns what was there before.
    fn publish(&mut self) -> Rc<Published> {
        let manager = self.manager.running.as_ref().expect("only one that runs publishes");
        let published = Rc::new(manager.published().clone());
        let before = std::mem::replace(&mut self.manager.stored, published);
        if planted(Planted::TellsBeforeStored) {
            self.manager.late.get_or_insert(before.clone());
        }
        self.keep_copy(&before);
        for (before, chain) in before.chains.iter().zip(&self.manager.stored.clone().chains) {
            self.note_who_serves(before, chain);
        }
        for chain in &before.chains {
            self.disturb_promotions(chain);
            self.fill_old_head(chain);
        }
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
        before
    }

    /// Perhaps not everybody hears at once of a member that was promoted.
    fn disturb_promotions(&mut self, before: &Chain) {
        let state_of = |chain: &Chain, target: u64| {
            let mut members = chain.members.iter();
            members.find(|member| member.target == target).map(|member| member.state())
        };
        let chain = &self.manager.chains()[chain_place(before.id)];
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
        let applied = self.applied();
        for fence in held {
            self.note(|| format!("the fence of identity {} holds", fence.identity));
            let committed = self.history.committed.clone();
            let held = HeldFence { time: self.now, applied: applied.clone(), committed };
            self.history.fences.insert(fence.identity, held);
        }
    }

    /// The updates that are in the committed chunks of any target, or were when its process died.
    fn applied(&self) -> BTreeMap<ChunkId, Lineage> {
        let mut applied: BTreeMap<ChunkId, Lineage> = BTreeMap::new();
        for (chunk, lineage) in self.targets.iter().flat_map(|target| target.engine.committed_lineages()) {
            let known = applied.entry(chunk).or_default();
            *known = known.union(lineage);
        }
        applied
    }

    /// The durability epoch was raised: what the member that resumes holds is what counts from now on.
    fn raised(&mut self, place: usize) {
        let target = self.manager.serving(place).next().expect("a raised epoch has a serving member");
        // Whoever fsyncs from now on hears that older bytes may be lost.
        self.targets[target].engine.frozen = false;
        let newest = |chunk| (chunk, self.targets[target].engine.newest(chunk));
        let chunks = self.chunks().filter(|chunk| self.placement.chain_of_chunk(*chunk) == place);
        let newest = chunks.map(newest).filter(|(_, stored)| !stored.is_absent());
        let contents = newest.map(|(chunk, stored)| (chunk, stored.content)).collect();
        let epoch = self.manager.chains()[place].durability_epoch;
        self.history.raises.push(Raise { time: self.now, chain: place, epoch, contents });
    }

    /// A process that this manager has not heard registers first, with its reports or `silently`; who did is stored
    /// before anybody is told.
    fn heartbeat_heard(
        &mut self,
        now: Time,
        node: u32,
        order: (u64, u64),
        (reports, known): (&[TargetReport], &[Rc<Chain>]),
        silently: bool,
    ) -> Option<Granted> {
        let eager = self.knobs.manager_eager;
        let manager = self.manager.running.as_mut()?;
        let (incarnation, _) = order;
        let registers = !manager.is_registered(node, incarnation);
        let claims =
            known.iter().filter(|known| known.version != 0).map(|known| Chain::clone(known)).collect();
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
        let manager = self.manager.running.as_ref()?;
        let ids = self.manager.chains().iter().map(|chain| chain.id);
        let held: Vec<u32> = ids.filter(|chain| manager.hold(*chain) != ChainHold::HoldNone).collect();
        let is_frozen = |chain: &u32| manager.hold(*chain) == ChainHold::HoldFrozen;
        if let Some(chain) = held.iter().copied().find(is_frozen).filter(|_| self.knobs.set_back == 0) {
            self.violate(format!("chain {chain} is frozen, and the manager's state was never put back"));
        }
        Some(Granted { lease_ms, held })
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
                self.trace_step(|| {
                    heartbeat_step(node, order, (&reports, &known), (grant.as_ref(), silently))
                });
                let Some(grant) = grant else { return };
                // What is published now, written together with the lease (R4).
                let stored = self.manager.stored.clone();
                let mut chains = 0..self.placement.chains;
                let here = |target: usize| self.targets[target].node == node;
                let serves = chains.any(|chain| self.manager.serving(chain).any(here));
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

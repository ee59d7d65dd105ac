//! The manager's bookkeeping of leases, reports and fences, as a small state machine: it turns messages into the
//! facts that `next_chain` needs. The product's manager decides the same in TypeScript; the simulator runs this
//! one. `sim manager-trace` writes down what it was told and decided, and `cluster-manager/src/twin.test.ts`
//! tells the product the same, and compares each decision: a rule is changed in both, or that test fails.

use crate::museum::{Planted, planted};
use crate::{LiveClients, Time, covers, next_chain};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::ClientId;
use wire::message::{
    Chain, ChainHold, ChainOrder, LocalState, Member, NextChainRequest, PublicState, Routing, TargetFact,
    TargetReport,
};

/// What a lease of `lease_ms` may last on the holder's clock, seen from the manager's: clocks differ by at
/// most 1 %, and 250 ms cover pauses between the test of a lease and the answer that leaves.
pub fn lease_with_margin_ms(lease_ms: u64) -> u64 {
    lease_ms + lease_ms / 100 + 250
}

/// A pause of the manager that is longer than this is like a restart: heartbeats wait in the sockets.
pub(crate) const STALL_MS: u64 = 1000;

#[derive(Clone, Copy, Debug)]
pub struct ManagerConfig {
    pub lease_ms: u64,
    pub heartbeat_ms: u64,
    pub outage_grace_ms: u64,
    /// How long a chain may wait for rest, and then for another try.
    pub reordering_max_ms: u64,
    pub reordering_pause_ms: u64,
}

/// What this manager knows of one storage node.
#[derive(Clone, Debug, Default)]
struct Node {
    incarnation: u64,
    sequence: u64,
    reports: BTreeMap<u64, TargetReport>,
    /// Its chains, as it registered them.
    claims: BTreeMap<u32, Chain>,
    lease_end: Time,
    heard: Time,
    /// Until then a target without a report is unknown, not offline.
    has_reported: bool,
    /// One of its processes has said what its targets know: what they know since, they know of this manager.
    has_spoken: bool,
    /// The newest incarnation whose exit was reported, or that gave its lease back.
    exited: u64,
}

/// What the manager holds a node for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStanding {
    pub incarnation: u64,
    pub alive: bool,
    pub lease_end: Time,
}

/// What survives this manager, and what everybody is told, under one version that rises with each change.
#[derive(Clone, Debug, Default)]
pub struct Published {
    pub version: u64,
    pub chains: Vec<Chain>,
    pub clients: Arc<LiveClients>,
    /// The newest incarnation of each node that registered: an older one is refused by every later manager (R3).
    pub incarnations: BTreeMap<u32, u64>,
}

/// The answer to a heartbeat: the lease holds with what is published when it is written (R4).
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// But not for chains that are held.
    pub lease_ms: u64,
}

/// Whether every client that left the live ones by `version` of the routing is fenced in this chain (P4).
/// `head`: the last report of the head's process, the incarnation that the chain names. It must speak of the
/// chain's current version: the heads before it have lost their leases, and what they left is rolled forward
/// only when this one says so. A chain that nobody serves fences nobody until one does, unless it never
/// served.
pub fn fence_holds_in(chain: &Chain, version: u64, head: Option<&TargetReport>) -> bool {
    let current = |report: &&TargetReport| {
        report.chain_version == chain.version || planted(Planted::FenceBeforeRollForward)
    };
    let before_roll_forward = planted(Planted::FenceBeforeRollForward)
        && head.is_none_or(|report| report.chain_version < chain.version);
    let never_served = chain.last.is_empty();
    never_served
        || before_roll_forward
        || head.filter(current).is_some_and(|report| report.fences_held >= version)
}

#[derive(Clone, Debug)]
pub struct Manager {
    config: ManagerConfig,
    started: Time,
    /// Random: of this process and no other.
    term: u64,
    /// Chains for which nobody gets a lease, and why.
    held: BTreeMap<u32, ChainHold>,
    /// Silence counts from here: this manager's start, or the end of its last pause.
    listens_since: Time,
    looked: Time,
    published: Published,
    nodes: BTreeMap<u32, Node>,
    outage_since: BTreeMap<u32, Time>,
    /// Which version of each chain is known since when.
    versions: BTreeMap<u32, (u64, Time)>,
    /// By chain, until the next look at everything.
    orders: BTreeMap<u32, ChainOrder>,
}

impl Manager {
    /// A first manager.
    pub fn new(now: Time, config: ManagerConfig, chains: Vec<Chain>, term: u64) -> Self {
        Manager::resume(now, config, Published { version: 1, chains, ..Published::default() }, term)
    }

    /// `published` as it was stored. Leases and reports are not stored: a new manager hears them again (P3).
    pub fn resume(now: Time, config: ManagerConfig, published: Published, term: u64) -> Self {
        Manager {
            term,
            held: BTreeMap::new(),
            config,
            started: now,
            listens_since: now,
            looked: now,
            published,
            nodes: BTreeMap::new(),
            outage_since: BTreeMap::new(),
            versions: BTreeMap::new(),
            orders: BTreeMap::new(),
        }
    }

    pub fn chains(&self) -> &[Chain] {
        &self.published.chains
    }

    /// Why nobody gets a lease for this chain, as of the last time that it was moved on.
    pub fn hold(&self, chain: u32) -> ChainHold {
        // Before that nothing is known.
        self.held.get(&chain).copied().unwrap_or(ChainHold::HoldUnheard)
    }

    /// To be made durable after each change, before anybody is told (P3).
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// A client may write from this version on.
    pub fn register_client(&mut self, client: ClientId) {
        let clients_added = vec![client.0.to_vec().into()];
        self.change_clients(Routing { clients_added, ..Routing::default() });
    }

    /// These clients may write no more. Their fence holds, and what they had may be released, once `fence_holds`
    /// says so of the version that this returns (P4).
    pub fn fence(&mut self, clients: &[ClientId]) -> u64 {
        let clients_removed = clients.iter().map(|client| client.0.to_vec().into()).collect();
        self.change_clients(Routing { clients_removed, ..Routing::default() });
        self.published.version
    }

    fn change_clients(&mut self, change: Routing) {
        let from_version = self.published.version;
        self.published.version += 1;
        let change = Routing { version: self.published.version, from_version, ..change };
        Arc::make_mut(&mut self.published.clients).apply(&change);
    }

    /// Whether whoever left the live clients by this version is fenced in every chain (P4).
    pub fn fence_holds(&self, version: u64) -> bool {
        let holds_in = |chain: &Chain| {
            let head = chain.members.iter().find(|member| member.state() == PublicState::PublicServing);
            let node = head.and_then(|head| self.nodes.get(&head.node));
            if planted(Planted::FenceIgnoresOffline)
                && node.is_none_or(|node| node.exited >= node.incarnation)
            {
                return true;
            }
            let current = node.filter(|node| head.is_some_and(|head| head.incarnation == node.incarnation));
            let report = head.zip(current).and_then(|(head, node)| node.reports.get(&head.target));
            fence_holds_in(chain, version, report)
        };
        let mut chains = self.published.chains.iter();
        if planted(Planted::FenceOfOneChain) { chains.any(holds_in) } else { chains.all(holds_in) }
    }

    /// To be called before each decision; what takes a time calls it. After a pause everybody gets the time of a
    /// lease to be heard again.
    pub fn look(&mut self, now: Time) {
        if now.since_ms(self.looked) > STALL_MS {
            self.listens_since = now;
            let end = now.plus_ms(lease_with_margin_ms(self.config.lease_ms));
            for known in self.nodes.values_mut().filter(|known| known.lease_end > self.looked) {
                known.lease_end = known.lease_end.max(end);
            }
        }
        self.looked = now;
    }

    /// Whether this manager has heard this process, and no newer one.
    pub fn is_registered(&self, node: u32, incarnation: u64) -> bool {
        self.nodes.get(&node).is_some_and(|known| known.incarnation == incarnation)
    }

    /// The newest process of the node that this manager or one before it knows; 0: none.
    fn newest(&self, node: u32) -> u64 {
        let heard = self.nodes.get(&node).map_or(0, |known| known.incarnation);
        heard.max(self.published.incarnations.get(&node).copied().unwrap_or(0))
    }

    /// A process speaks to this manager for the first time. False: a newer one is known, or its end is. Who
    /// registered is to be stored before anything else is decided.
    pub fn register(
        &mut self,
        now: Time,
        node: u32,
        incarnation: u64,
        (reports, claims): (Vec<TargetReport>, Vec<Chain>),
    ) -> bool {
        self.look(now);
        let newest = self.newest(node);
        let known = self.nodes.entry(node).or_default();
        if incarnation < newest || incarnation <= known.exited {
            return false;
        }
        if incarnation > known.incarnation {
            let Node { exited, has_spoken, .. } = *known;
            *known = Node { incarnation, exited, has_spoken, ..Node::default() };
        }
        known.sequence = 0;
        known.claims = claims.into_iter().map(|chain| (chain.id, chain)).collect();
        self.published.incarnations.insert(node, incarnation);
        // Its targets may not be open yet: only a heartbeat says that there are none.
        if !reports.is_empty() {
            self.learn(node, reports);
        }
        self.renew(now, node);
        true
    }

    /// `None`: it is too old to count, or its process is known to be gone. Of a process that has not registered it
    /// is the registration, too.
    pub fn heartbeat(
        &mut self,
        now: Time,
        node: u32,
        (incarnation, sequence): (u64, u64),
        reports: Vec<TargetReport>,
    ) -> Option<Grant> {
        self.look(now);
        if !self.is_registered(node, incarnation) {
            self.register(now, node, incarnation, (reports.clone(), Vec::new()));
        }
        let known = self.nodes.entry(node).or_default();
        let stranger = incarnation != known.incarnation;
        let repeated = sequence <= known.sequence;
        let gone = incarnation <= known.exited;
        if (stranger || repeated || gone) && !planted(Planted::R3) {
            return None;
        }
        known.sequence = sequence;
        self.learn(node, reports);
        self.renew(now, node);
        Some(Grant { lease_ms: self.config.lease_ms })
    }

    /// All of them each time, also when there are none: a target that was removed is not reported any more.
    fn learn(&mut self, node: u32, reports: Vec<TargetReport>) {
        let known = self.nodes.entry(node).or_default();
        known.reports = reports.into_iter().map(|report| (report.target, report)).collect();
        known.has_reported = true;
        known.has_spoken = true;
    }

    fn renew(&mut self, now: Time, node: u32) {
        let end = now.plus_ms(lease_with_margin_ms(self.config.lease_ms));
        let known = self.nodes.entry(node).or_default();
        known.heard = now;
        known.lease_end = known.lease_end.max(end);
    }

    /// Its parent saw the process end (P1). Returns whether that is news: only the end of the newest process that is
    /// known counts. An older one has been replaced, and one that never registered need not have held the
    /// data directory's lock, so it says nothing of the one that does.
    pub fn exited(&mut self, node: u32, incarnation: u64) -> bool {
        if incarnation == 0 || incarnation != self.newest(node) {
            return false;
        }
        let known = self.nodes.entry(node).or_default();
        known.exited = known.exited.max(incarnation);
        true
    }

    /// It gave its lease back (P1). Its last words count.
    pub fn give_back(&mut self, node: u32, incarnation: u64, reports: Vec<TargetReport>) {
        if self.exited(node, incarnation) {
            let known = self.nodes.entry(node).or_default();
            known.reports.extend(reports.into_iter().map(|report| (report.target, report)));
        }
    }

    pub fn standing(&self, now: Time, node: u32) -> NodeStanding {
        let unknown = Node::default();
        let known = self.nodes.get(&node).unwrap_or(&unknown);
        let (incarnation, lease_end) = (known.incarnation, known.lease_end);
        let alive = incarnation != 0 && known.exited < incarnation && now < lease_end;
        NodeStanding { incarnation, alive, lease_end }
    }

    /// The administrator changes who is a member. Not stored: what came of it is, in the chain.
    pub fn order(&mut self, chain: u32, order: ChainOrder) {
        self.orders.insert(chain, order);
    }

    /// Moves every chain on, by the facts and by order. The caller makes the result durable, then tells everybody.
    pub fn advance(&mut self, now: Time) -> Vec<Chain> {
        let orders = std::mem::take(&mut self.orders);
        self.move_on(now, orders)
    }

    /// The same when a fact has changed, between two looks at everything.
    pub fn advance_by_facts(&mut self, now: Time) -> Vec<Chain> {
        self.move_on(now, BTreeMap::new())
    }

    fn move_on(&mut self, now: Time, mut orders: BTreeMap<u32, ChainOrder>) -> Vec<Chain> {
        self.look(now);
        let mut changed = Vec::new();
        for place in 0..self.published.chains.len() {
            let chain = &self.published.chains[place];
            let serves = chain.members.iter().any(|member| member.state() == PublicState::PublicServing);
            if serves {
                self.outage_since.remove(&chain.id);
            }
            let never = chain.last.is_empty();
            let since = match serves {
                true => now,
                false if never => self.started,
                false => *self.outage_since.entry(chain.id).or_insert(now),
            };
            let known = self.versions.entry(chain.id).or_insert((chain.version, now));
            if known.0 != chain.version {
                *known = (chain.version, now);
            }
            let request = NextChainRequest {
                version_ms: now.since_ms(known.1),
                reordering_max_ms: self.config.reordering_max_ms,
                reordering_pause_ms: self.config.reordering_pause_ms,
                term: self.term,
                claims: self.claims(chain),
                facts: self.facts(now, chain),
                chain: Some(chain.clone()),
                outage_ms: now.since_ms(since),
                outage_grace_ms: self.config.outage_grace_ms,
                order: orders.remove(&chain.id),
            };
            let reply = next_chain(&request);
            self.held.insert(reply.chain.as_ref().map_or(0, |chain| chain.id), reply.hold());
            if reply.changed {
                let next = reply.chain.expect("a changed chain is there");
                self.published.chains[place] = next.clone();
                changed.push(next);
            }
        }
        self.published.version += u64::from(!changed.is_empty());
        changed
    }

    /// Of its members, and of whoever else has a target of it.
    fn facts(&self, now: Time, chain: &Chain) -> Vec<TargetFact> {
        let is_other = |target: u64| chain.members.iter().all(|member| member.target != target);
        let reporting = self.nodes.iter().flat_map(|(node, known)| {
            let of_chain = known.reports.values().filter(|report| report.chain == chain.id);
            of_chain.map(|report| Member { target: report.target, node: *node, ..Member::default() })
        });
        let others = reporting.filter(|other| is_other(other.target));
        chain.members.iter().copied().chain(others).map(|member| self.fact(now, &member)).collect()
    }

    fn claims(&self, chain: &Chain) -> Vec<Chain> {
        let claims = self.nodes.values().filter_map(|node| node.claims.get(&chain.id));
        claims.filter(|claim| !covers(chain, claim.term, claim.version)).cloned().collect()
    }

    fn fact(&self, now: Time, member: &Member) -> TargetFact {
        let grace = lease_with_margin_ms(self.config.lease_ms);
        let heard_out = now.since_ms(self.listens_since) >= grace || planted(Planted::HastyManager);
        let unknown = Node::default();
        let node = self.nodes.get(&member.node).unwrap_or(&unknown);
        let exited = node.exited >= node.incarnation.max(1);
        // A process that has registered with a new manager and not reported yet goes on serving: it takes nothing
        // back.
        let is_unknown = !node.has_reported && node.incarnation == member.incarnation;
        let silence_ms = 2 * self.config.heartbeat_ms;
        let silent = planted(Planted::SuspicionIsDeath) && now.since_ms(node.heard) > silence_ms;
        let alive = node.incarnation != 0 && !exited && now < node.lease_end && !silent;
        let gone = match node.incarnation {
            0 => heard_out || (node.exited != 0 && node.exited >= member.incarnation),
            _ => exited || now >= node.lease_end || silent,
        };
        let any = || node.reports.values().next().filter(|_| planted(Planted::ReportOfAnyTarget));
        let report = any().or_else(|| node.reports.get(&member.target)).copied();
        let state = report.map_or(LocalState::LocalOffline, |report| report.state());
        let report = report.unwrap_or_default();
        TargetFact {
            target: member.target,
            alive,
            state: state as i32,
            chain_version: report.chain_version,
            complete: report.complete,
            fresh: report.fresh,
            disk_error: report.disk_error,
            gone,
            incarnation: if is_unknown { 0 } else { node.incarnation },
            stopped: report.stopped,
            begun_by: report.begun_by,
            at_rest: report.at_rest,
            heard: node.has_spoken,
            known_version: report.known_version,
            known_term: report.known_term,
        }
    }
}

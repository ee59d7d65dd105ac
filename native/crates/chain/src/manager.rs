//! The manager's bookkeeping of leases and reports, as a small state machine: what the product's manager does
//! in TypeScript, written down once so that the simulator can run it and the product can be compared with it.
//! It turns messages into the facts that `next_chain` needs.

use crate::museum::{Planted, planted};
use crate::{LiveClients, Time, next_chain};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::ClientId;
use wire::message::{
    Chain, ChainOrder, LocalState, Member, NextChainRequest, PublicState, Routing, TargetFact, TargetReport,
};

/// What a lease of `lease_ms` may last on the holder's clock, seen from the manager's: clocks differ by at
/// most 1 %, and 250 ms cover pauses between the test of a lease and the answer that leaves.
pub fn lease_with_margin_ms(lease_ms: u64) -> u64 {
    lease_ms + lease_ms / 100 + 250
}

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
    lease_end: Time,
    heard: Time,
    /// The newest incarnation whose exit was reported, or that gave its lease back.
    exited: u64,
}

/// What survives this manager, and what everybody is told, under one version that rises with each change.
#[derive(Clone, Debug, Default)]
pub struct Published {
    pub version: u64,
    pub chains: Vec<Chain>,
    pub clients: Arc<LiveClients>,
}

/// The answer to a heartbeat: the lease holds with what is published when it is written (R4).
#[derive(Clone, Copy, Debug)]
pub struct Grant {
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
    published: Published,
    nodes: BTreeMap<u32, Node>,
    outage_since: BTreeMap<u32, Time>,
    /// Which version of each chain is known since when.
    versions: BTreeMap<u32, (u64, Time)>,
    /// By chain, until the next look at it.
    orders: BTreeMap<u32, ChainOrder>,
}

impl Manager {
    /// A first manager.
    pub fn new(now: Time, config: ManagerConfig, chains: Vec<Chain>) -> Self {
        Manager::resume(now, config, Published { version: 1, chains, ..Published::default() })
    }

    /// `published` as it was stored. Leases and reports are not stored: a new manager hears them again (P3).
    pub fn resume(now: Time, config: ManagerConfig, published: Published) -> Self {
        Manager {
            config,
            started: now,
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

    /// To be made durable after each change, before anybody is told (P3).
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// A client may write from this version on.
    pub fn register_client(&mut self, client: ClientId) {
        let clients_added = vec![client.0.to_vec().into()];
        self.change_clients(Routing { clients_added, ..Routing::default() });
    }

    /// The client may write no more. Its fence holds, and what it had may be released, once `fence_holds`
    /// says so of the version that this returns (P4).
    pub fn fence(&mut self, client: ClientId) -> u64 {
        let clients_removed = vec![client.0.to_vec().into()];
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
        self.published.chains.iter().all(|chain| {
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
        })
    }

    /// A registration or heartbeat. `None`: it is too old to count, or its process is known to be gone.
    pub fn heartbeat(
        &mut self,
        now: Time,
        node: u32,
        (incarnation, sequence): (u64, u64),
        reports: Vec<TargetReport>,
    ) -> Option<Grant> {
        let known = self.nodes.entry(node).or_default();
        let older = incarnation < known.incarnation;
        let repeated = incarnation == known.incarnation && sequence <= known.sequence;
        let gone = incarnation <= known.exited;
        if (older || repeated || gone) && !planted(Planted::R3) {
            return None;
        }
        if incarnation > known.incarnation {
            known.reports.clear();
            known.lease_end = Time::ZERO;
        }
        known.incarnation = known.incarnation.max(incarnation);
        known.sequence = sequence;
        known.reports.extend(reports.into_iter().map(|report| (report.target, report)));
        known.heard = now;
        known.lease_end = known.lease_end.max(now.plus_ms(lease_with_margin_ms(self.config.lease_ms)));
        Some(Grant { lease_ms: self.config.lease_ms })
    }

    /// Its parent saw the process end, or it gave its lease back (P1).
    pub fn exited(&mut self, node: u32, incarnation: u64) {
        let known = self.nodes.entry(node).or_default();
        known.exited = known.exited.max(incarnation);
    }

    /// The administrator changes who is a member. Not stored: what came of it is, in the chain.
    pub fn order(&mut self, chain: u32, order: ChainOrder) {
        self.orders.insert(chain, order);
    }

    /// Moves every chain on. The caller makes the result durable, then tells everybody.
    pub fn advance(&mut self, now: Time) -> Vec<Chain> {
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
                facts: chain.members.iter().map(|member| self.fact(now, member)).collect(),
                chain: Some(chain.clone()),
                outage_ms: now.since_ms(since),
                outage_grace_ms: self.config.outage_grace_ms,
                order: self.orders.remove(&chain.id),
            };
            let reply = next_chain(&request);
            if reply.changed {
                let next = reply.chain.expect("a changed chain is there");
                self.published.chains[place] = next.clone();
                changed.push(next);
            }
        }
        self.published.version += u64::from(!changed.is_empty());
        changed
    }

    fn fact(&self, now: Time, member: &Member) -> TargetFact {
        let grace = lease_with_margin_ms(self.config.lease_ms);
        let heard_out = now.since_ms(self.started) >= grace || planted(Planted::HastyManager);
        let unknown = Node::default();
        let node = self.nodes.get(&member.node).unwrap_or(&unknown);
        let exited = node.exited >= node.incarnation.max(1);
        let silence_ms = 2 * self.config.heartbeat_ms;
        let silent = planted(Planted::SuspicionIsDeath) && now.since_ms(node.heard) > silence_ms;
        let alive = node.incarnation != 0 && !exited && now < node.lease_end && !silent;
        let gone = match node.incarnation {
            0 => heard_out || (node.exited != 0 && node.exited >= member.incarnation),
            _ => exited || now >= node.lease_end || silent,
        };
        let report = node.reports.get(&member.target).copied().unwrap_or_default();
        let state =
            if node.reports.contains_key(&member.target) { report.state() } else { LocalState::LocalOffline };
        TargetFact {
            target: member.target,
            alive,
            suspended: false,
            state: state as i32,
            chain_version: report.chain_version,
            complete: report.complete,
            fresh: report.fresh,
            disk_error: report.disk_error,
            gone,
            incarnation: node.incarnation,
            stopped: report.stopped,
            created: report.created,
            at_rest: report.at_rest,
        }
    }
}

//! What the manager of one world was told and decided, step by step, as JSON lines: the product's manager is told
//! the same and compared with it (`cluster-manager/src/twin.test.ts`). A traced world is like others of its seed
//! but for what the product's manager is: it looks at its chains at each message, its clock shows whole
//! milliseconds, it is paused now and then, and clients hold leases.

use crate::client::id_of;
use crate::event::{Address, Event, Message, Request};
use crate::knobs::Knobs;
use crate::manager::Granted;
use crate::profiles::Profile;
use crate::random::Random;
use crate::run::{Outcome, run_world};
use crate::world::World;
use chain::manager::Published;
use chain::{ClientLeases, Time};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::rc::Rc;
use wire::ClientId;
use wire::message::{Chain, TargetReport};

/// Bounds a trace; a world has some 2,000.
const STEPS_MAX: usize = 20_000;

/// Percent of ticks at which somebody suspects a node: whoever cannot reach one, at any time.
const SUSPICION: f64 = 2.0;

/// Clients' leases last as many times longer than nodes' as in the product, and are renewed as often in it.
const CLIENT_LEASES: u64 = 2;
const CLIENT_HEARTBEATS_PER_LEASE: u64 = 5;

/// Percent of heartbeats after which a client is silent for up to two leases.
const SILENCE: f64 = 3.0;

/// Percent of registrations that say nothing of the targets: they are not open yet.
const SILENT_REGISTRATIONS: f64 = 30.0;

/// As in `cluster-manager/src/chain-watch.ts`: how long a chain waits for rest, and then for another try.
const REORDERING_MS: (u64, u64) = (3000, 60_000);

/// The manager does not hear of clients' operations: few of them make a world cheap.
const THINK_MS: u64 = 100;

pub struct ManagerTrace {
    lines: Vec<String>,
    /// Of the manager that runs.
    leases: Option<ClientLeases>,
    client_lease_ms: u64,
    /// By client: of the last heartbeat.
    sequences: Vec<u64>,
    /// Identities that have registered: before, they send no heartbeat.
    registered: BTreeSet<u32>,
    /// Identities whose fence was seen to hold.
    fenced: BTreeSet<u32>,
    /// Each part of what was decided as it was last written.
    shown: [String; 4],
}

/// One seed's trace, and its verdict.
pub fn trace_manager(seed: u64, profile: Option<Profile>) -> (Vec<String>, Outcome) {
    let (outcome, world) = run_world(None, &[], || {
        let mut random = Random::new(seed);
        let mut knobs = Knobs::draw(&mut random, profile);
        knobs.manager_eager = true;
        knobs.manager_pause = 1;
        knobs.think_ms = knobs.think_ms.max(THINK_MS);
        (knobs.reordering_max_ms, knobs.reordering_pause_ms) = REORDERING_MS;
        let mut world = World::with(knobs, random, false);
        world.trace_from_here(seed);
        world
    });
    let mut lines = world.and_then(|world| world.trace).map_or_else(Vec::new, |trace| trace.lines);
    lines.truncate(STEPS_MAX);
    (lines, outcome)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn encoded(message: &impl prost::Message) -> String {
    format!("\"{}\"", hex(&message.encode_to_vec()))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn named(identity: u32) -> String {
    format!("\"{}\"", hex(&id_of(identity).0))
}

pub fn heartbeat_step(
    node: usize,
    (incarnation, sequence): (u64, u64),
    (reports, known): (&[TargetReport], &[Rc<Chain>]),
    (grant, silently): (Option<&Granted>, bool),
) -> String {
    let reports = list(reports.iter().map(encoded));
    let known = list(known.iter().map(|chain| encoded(chain.as_ref())));
    let held = grant.map_or(&[][..], |grant| &grant.held);
    let held = list(held.iter().map(u32::to_string));
    let granted = grant.is_some();
    let rest = format!(r#""known":{known},"granted":{granted},"held":{held},"silently":{silently}"#);
    format!(
        r#""do":"heartbeat","node":{node},"incarnation":{incarnation},"sequence":{sequence},"reports":{reports},{rest}"#
    )
}

pub fn end_step(node: usize, incarnation: u64, last_words: Option<&[TargetReport]>) -> String {
    let what = if last_words.is_some() { "give-back" } else { "exit" };
    let reports = list(last_words.unwrap_or_default().iter().map(encoded));
    format!(r#""do":"{what}","node":{node},"incarnation":{incarnation},"reports":{reports}"#)
}

pub fn set_back_step(older: &Published) -> String {
    let incarnations = list(older.incarnations.iter().map(|(node, number)| format!("[{node},{number}]")));
    format!(
        r#""do":"set-back","incarnations":{incarnations},"state":{}"#,
        list(older.chains.iter().map(encoded))
    )
}

pub fn order_step(chain: u32, order: &wire::message::ChainOrder) -> String {
    format!(r#""do":"order","to":{chain},"order":{}"#, encoded(order))
}

pub fn client_step(what: &str, identity: u32) -> String {
    format!(r#""do":"{what}","client":{}"#, named(identity))
}

impl World {
    fn trace_from_here(&mut self, seed: u64) {
        self.manager.counts_milliseconds = true;
        let client_lease_ms = CLIENT_LEASES * self.knobs.lease_ms;
        let knobs = &self.knobs;
        let ids = list((0..knobs.clients as u32).map(named));
        let world = format!(
            r#"{{"seed":{seed},"profile":"{:?}","leaseMs":{},"heartbeatMs":{},"outageGraceMs":{}"#,
            knobs.profile, knobs.lease_ms, knobs.heartbeat_ms, knobs.outage_grace_ms,
        );
        let state = format!(
            r#""clientLeaseMs":{client_lease_ms},"nodes":{},"clients":{ids},"clientsVersion":{},"chains":{}}}"#,
            self.nodes.len(),
            self.manager.stored.clients.version(),
            list(self.manager.chains().iter().map(encoded)),
        );
        let header = format!("{world},{state}");
        self.trace = Some(ManagerTrace {
            lines: vec![header],
            leases: None,
            client_lease_ms,
            sequences: vec![0; self.clients.len()],
            registered: (0..self.knobs.clients as u32).collect(),
            fenced: BTreeSet::new(),
            shown: Default::default(),
        });
        for client in 0..self.clients.len() {
            self.schedule(1000 * (client as u64 + 1), Event::ClientHeartbeat { client });
        }
    }

    /// After each thing that the manager was told: that, and what it has decided by now.
    pub fn trace_step(&mut self, step: impl FnOnce() -> String) {
        let now = self.manager.time(self.now);
        let (Some(trace), Some(manager)) = (&mut self.trace, &self.manager.running) else { return };
        let holding = self.manager.fences.iter().filter(|fence| manager.fence_holds(fence.version));
        trace.fenced.extend(holding.map(|fence| fence.identity));
        let published = manager.published();
        let mut clients: Vec<ClientId> = published.clients.live().collect();
        clients.sort_unstable_by_key(|client| client.0);
        let nodes = (0..self.nodes.len() as u32).map(|node| {
            let standing = manager.standing(now, node);
            let (alive, end) = (standing.alive, standing.lease_end.0 / 1000);
            format!("[{node},{},{alive},{end}]", standing.incarnation)
        });
        let fencing = self.manager.fences.iter().map(|fence| fence.identity);
        let shown = [
            format!(r#""chains":{}"#, list(published.chains.iter().map(encoded))),
            format!(r#""leases":{}"#, list(nodes)),
            format!(
                r#""clients":{},"clientsVersion":{}"#,
                list(clients.iter().map(|client| format!("\"{}\"", hex(&client.0)))),
                published.clients.version()
            ),
            format!(
                r#""fencing":{}"#,
                list(fencing.filter(|identity| !trace.fenced.contains(identity)).map(named))
            ),
        ];
        let mut line = format!(r#"{{"at":{},{}"#, now.0 / 1000, step());
        for (now, before) in shown.iter().zip(&trace.shown) {
            if now != before {
                line.push(',');
                line.push_str(now);
            }
        }
        line.push('}');
        trace.shown = shown;
        trace.lines.push(line);
    }

    pub fn registers_silently(&mut self) -> bool {
        self.trace.is_some() && self.random.chance(SILENT_REGISTRATIONS)
    }

    pub fn trace_start(&mut self) {
        let now = self.manager.time(self.now);
        if let Some(trace) = &mut self.trace {
            let live = self.manager.stored.clients.live();
            trace.leases = Some(ClientLeases::new(now, trace.client_lease_ms, live));
        }
        let term = self.manager.life;
        self.trace_step(|| format!(r#""do":"start","term":{term}"#));
    }

    pub fn trace_suspicion(&mut self) {
        if self.trace.is_some() && self.random.chance(SUSPICION) {
            let node = self.random.below(self.nodes.len());
            self.trace_step(|| format!(r#""do":"suspect","node":{node}"#));
        }
    }

    pub fn trace_client(&mut self, identity: u32) {
        let now = self.manager.time(self.now);
        let Some(trace) = &mut self.trace else { return };
        trace.registered.insert(identity);
        if let Some(leases) = &mut trace.leases {
            leases.register(now, id_of(identity));
        }
        self.trace_step(|| client_step("register", identity));
    }

    /// Clients whose lease has run out by this tick.
    pub fn expired_clients(&mut self) -> Vec<usize> {
        let now = self.manager.time(self.now);
        let leases = self.trace.as_mut().and_then(|trace| trace.leases.as_mut());
        let expired = leases.map_or_else(Vec::new, |leases| leases.expired(now));
        let client = |client: &ClientId| {
            let holds = |known: &crate::client::Client| id_of(known.identity) == *client;
            self.clients.iter().position(holds).expect("a live identity is some client's")
        };
        expired.iter().map(client).collect()
    }

    pub fn trace_fenced(&mut self, identity: u32) {
        let leases = self.trace.as_mut().and_then(|trace| trace.leases.as_mut());
        if let Some(leases) = leases {
            leases.remove(id_of(identity));
        }
    }

    /// A client's own, not that of a node.
    pub fn client_heartbeat(&mut self, client: usize) {
        let identity = self.clients[client].identity;
        let Some(trace) = &mut self.trace else { return };
        let mut pause_ms = trace.client_lease_ms / CLIENT_HEARTBEATS_PER_LEASE;
        if self.random.chance(SILENCE) {
            pause_ms *= 1 + self.random.between(0, 2 * CLIENT_HEARTBEATS_PER_LEASE);
        }
        if trace.registered.contains(&identity) {
            trace.sequences[client] += 1;
            let sequence = trace.sequences[client];
            let request = Request::ClientHeartbeat { identity, sequence };
            self.send(Address::Client(client), Address::Manager, Message::Request { call: 0, request });
        }
        self.schedule(pause_ms * 1000, Event::ClientHeartbeat { client });
    }

    pub fn client_heartbeat_heard(&mut self, now: Time, identity: u32, sequence: u64) {
        let leases = self.trace.as_mut().and_then(|trace| trace.leases.as_mut());
        let granted = leases.is_some_and(|leases| leases.heartbeat(now, id_of(identity), sequence));
        self.trace_step(|| {
            let step = client_step("client-heartbeat", identity);
            format!(r#"{step},"sequence":{sequence},"granted":{granted}"#)
        });
    }
}

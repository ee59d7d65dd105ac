//! One connection per storage node, made when it is first needed, on a thread of its own so that nobody waits
//! who must not. A node that refused is avoided for a while and reported to the manager; a node that left the
//! routing is cut off, which ends the calls that wait for it.

use crate::retry::pause;
use crate::routing::RoutingTable;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use transport::{Connection, Handler, Incoming, Transport};
use wire::message as m;
use wire::{Code, Error, Result};

/// On one network a connection is made within a round trip; a dead host must not hold an operation longer
/// than this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

type Then = Box<dyn FnOnce(Result<Arc<dyn Connection>>) + Send>;

enum Link {
    /// Not to be tried before this instant.
    Idle {
        not_before: Instant,
    },
    /// Who waits: operations, whose number is bounded by channels and callers.
    Connecting(Vec<Then>),
    Open(Arc<dyn Connection>),
}

struct State {
    link: Link,
    failures: u32,
    address: String,
    incarnation: u64,
    /// We closed it; no suspicion.
    cut_off: bool,
}

struct Peer {
    node: u32,
    state: Mutex<State>,
}

type Suspect = Arc<dyn Fn(u32, u64) + Send + Sync>;

pub(crate) struct Nodes {
    transport: Arc<dyn Transport>,
    peers: Mutex<HashMap<u32, Arc<Peer>>>,
    suspect: Suspect,
    stopped: AtomicBool,
}

/// Storage servers send nothing on their own; this hears that a connection ended.
struct Ear {
    peer: Arc<Peer>,
    suspect: Suspect,
}

impl Handler for Ear {
    fn handle(&self, mut incoming: Incoming<'_>) {
        incoming.refuse_unknown();
    }

    fn closed(&self, address: &str) {
        let mut state = self.peer.state.lock();
        if matches!(&state.link, Link::Open(connection) if !connection.is_open()) {
            state.link = Link::Idle { not_before: Instant::now() };
        }
        let (cut_off, incarnation) = (state.cut_off, state.incarnation);
        drop(state);
        if !cut_off {
            log::info!(target: "client", node = self.peer.node, address; "storage.connection_lost");
            (self.suspect)(self.peer.node, incarnation);
        }
    }
}

impl Nodes {
    pub fn new(
        transport: Arc<dyn Transport>,
        suspect: impl Fn(u32, u64) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Nodes {
            transport,
            peers: Mutex::default(),
            suspect: Arc::new(suspect),
            stopped: AtomicBool::new(false),
        })
    }

    /// Runs `then` with an open connection: at once, or on the connecting thread, or at once with
    /// `Unreachable` while the node is avoided.
    pub fn with_connection(
        &self,
        node: &m::Node,
        then: impl FnOnce(Result<Arc<dyn Connection>>) + Send + 'static,
    ) {
        if self.stopped.load(Ordering::Acquire) {
            return then(Err(Error::new(Code::Unreachable, "the client was stopped")));
        }
        let peer = self.peer(node);
        // Dropped behind the lock: that ends calls, and their owners may come back here.
        let _old;
        let mut state = peer.state.lock();
        // Forward only: a caller with yesterday's table must not cut off today's process.
        let moved = state.address != node.address && state.incarnation == node.incarnation;
        if moved || node.incarnation > state.incarnation {
            _old = cut_off(&mut state);
            (state.address, state.incarnation, state.failures) = (node.address.clone(), node.incarnation, 0);
        }
        match &mut state.link {
            Link::Open(connection) if connection.is_open() => {
                let connection = connection.clone();
                drop(state);
                then(Ok(connection));
            }
            Link::Connecting(waiting) => waiting.push(Box::new(then)),
            Link::Idle { not_before } if *not_before > Instant::now() => {
                let detail = format!("storage node {} at {} refused a moment ago", node.id, node.address);
                drop(state);
                then(Err(Error::new(Code::Unreachable, detail)));
            }
            Link::Idle { .. } | Link::Open(_) => {
                state.link = Link::Connecting(vec![Box::new(then)]);
                state.cut_off = false;
                let address = state.address.clone();
                drop(state);
                self.connect(peer, address);
            }
        }
    }

    /// Cuts off nodes that are not alive any more: a paused server would hold its calls until they time out.
    pub fn apply(&self, table: &RoutingTable) {
        let peers: Vec<Arc<Peer>> = self.peers.lock().values().cloned().collect();
        for peer in peers {
            let node = table.storage_node(peer.node);
            let mut state = peer.state.lock();
            let current = node.is_some_and(|node| {
                node.alive && node.incarnation == state.incarnation && node.address == state.address
            });
            if !current {
                let connection = cut_off(&mut state);
                drop(state);
                // Outside of the lock: it ends calls, and their owners come back here.
                drop(connection.inspect(|connection| connection.close()));
            } else if let Link::Idle { not_before } = &mut state.link {
                // The manager says it lives: no more waiting.
                *not_before = Instant::now();
            }
        }
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let peers = std::mem::take(&mut *self.peers.lock());
        for peer in peers.into_values() {
            let connection = cut_off(&mut peer.state.lock());
            if let Some(connection) = connection {
                connection.close();
            }
        }
    }

    fn peer(&self, node: &m::Node) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        let peer = peers.entry(node.id).or_insert_with(|| {
            let state = State {
                link: Link::Idle { not_before: Instant::now() },
                failures: 0,
                address: node.address.clone(),
                incarnation: node.incarnation,
                cut_off: false,
            };
            Arc::new(Peer { node: node.id, state: Mutex::new(state) })
        });
        peer.clone()
    }

    fn connect(&self, peer: Arc<Peer>, address: String) {
        let (transport, suspect) = (self.transport.clone(), self.suspect.clone());
        let work = move || {
            let ear = Arc::new(Ear { peer: peer.clone(), suspect: suspect.clone() });
            let result = transport.connect(&address, CONNECT_TIMEOUT, ear);
            let waiting = settle(&peer, &address, &result);
            if result.is_err() && !waiting.is_empty() {
                let incarnation = peer.state.lock().incarnation;
                suspect(peer.node, incarnation);
            }
            // Each waits with its own thread or budget: the first must not hold the rest while the server's
            // queue is full.
            transport::never_wait(|| {
                for then in waiting {
                    then(result.clone());
                }
            });
        };
        std::thread::Builder::new()
            .name("client-connect".into())
            .spawn(work)
            .expect("a thread can be started");
    }
}

/// Puts the outcome of a connection attempt in place; returns who waited for it.
fn settle(peer: &Peer, address: &str, result: &Result<Arc<dyn Connection>>) -> Vec<Then> {
    let mut state = peer.state.lock();
    let next = match result {
        Ok(connection) if state.address == address => {
            state.failures = 0;
            Link::Open(connection.clone())
        }
        // The node moved while we connected: the waiters' calls fail and are made again.
        Ok(_) => Link::Idle { not_before: Instant::now() },
        Err(_) => {
            state.failures += 1;
            Link::Idle { not_before: Instant::now() + pause(state.failures) }
        }
    };
    match std::mem::replace(&mut state.link, next) {
        Link::Connecting(waiting) => waiting,
        // Cut off in between, and perhaps connected again: keep what is there.
        other => {
            state.link = other;
            Vec::new()
        }
    }
}

fn cut_off(state: &mut State) -> Option<Arc<dyn Connection>> {
    if let Link::Connecting(_) = &state.link {
        // Its thread settles it.
        return None;
    }
    state.cut_off = true;
    match std::mem::replace(&mut state.link, Link::Idle { not_before: Instant::now() }) {
        Link::Open(connection) => Some(connection),
        _ => None,
    }
}

//! Connections to the other members' nodes. One per node and purpose, so that a forwarded update of a later
//! position never queues behind one of an earlier position (P24), and a resync behind neither. A message to
//! a node without a connection fails at once; connecting goes on behind, with back-off. Whoever sent it
//! drives it again.

use crate::metrics::{Metrics, add};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use transport::{Connection, Handler, Incoming, Transport};
use wire::{Code, Error, NodeId, Request, Result};

/// A node on the same network answers in milliseconds; a longer wait would hold up connecting to the others.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
const BACK_OFF_MIN: Duration = Duration::from_millis(20);
const BACK_OFF_MAX: Duration = Duration::from_millis(1000);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Updates to the member at this position of its chain.
    Forward(usize),
    Control,
    Resync,
    /// Reads that put damage right.
    Repair,
}

pub type Key = (NodeId, Purpose);

struct Slot {
    address: String,
    connection: Option<Arc<dyn Connection>>,
    back_off: Duration,
    not_before: Instant,
    wanted: bool,
}

#[derive(Default)]
struct State {
    slots: HashMap<Key, Slot>,
    closed: bool,
}

/// Hears that a connection to a node was refused or lost (P1: suspicion).
pub type Suspect = Box<dyn Fn(NodeId) + Send + Sync>;

pub struct Peers {
    transport: Arc<dyn Transport>,
    state: Mutex<State>,
    wake: Condvar,
    suspect: Suspect,
    metrics: Arc<Metrics>,
    me: Weak<Peers>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Peers {
    pub fn start(transport: Arc<dyn Transport>, metrics: Arc<Metrics>, suspect: Suspect) -> Arc<Peers> {
        let peers = Arc::new_cyclic(|me: &Weak<Peers>| Peers {
            transport,
            state: Mutex::default(),
            wake: Condvar::new(),
            suspect,
            metrics,
            me: me.clone(),
            thread: Mutex::new(None),
        });
        let connecting = peers.clone();
        let builder = std::thread::Builder::new().name("peer-connector".into());
        let thread = builder.spawn(move || connecting.connect_wanted()).expect("a thread can be started");
        *peers.thread.lock() = Some(thread);
        peers
    }

    /// Whom the chains speak to now, and where they are. Connections are opened ahead of their first use;
    /// all others are closed: what is queued there for a node that stopped would hold memory that others
    /// wait for.
    pub fn want(&self, wanted: &[(Key, String)]) {
        let mut unused = Vec::new();
        {
            let mut state = self.state.lock();
            for (key, address) in wanted {
                let slot = Self::slot(&mut state, *key);
                if slot.address != *address {
                    slot.address.clone_from(address);
                    unused.extend(slot.connection.take());
                    slot.back_off = BACK_OFF_MIN;
                    slot.not_before = Instant::now();
                }
                slot.wanted = slot.connection.is_none();
            }
            let is_wanted = |key: &Key| wanted.iter().any(|(wanted, _)| wanted == key);
            let left = state.slots.extract_if(|key, _| !is_wanted(key));
            unused.extend(left.filter_map(|(_, slot)| slot.connection));
        }
        self.wake.notify_one();
        // Closing ends the calls in flight, whose callbacks may come back here.
        drop(unused);
    }

    fn slot(state: &mut State, key: Key) -> &mut Slot {
        state.slots.entry(key).or_insert_with(|| Slot {
            address: String::new(),
            connection: None,
            back_off: BACK_OFF_MIN,
            not_before: Instant::now(),
            wanted: false,
        })
    }

    fn connection(&self, key: Key) -> Result<Arc<dyn Connection>> {
        let mut state = self.state.lock();
        let slot = Self::slot(&mut state, key);
        if let Some(connection) = slot.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let lost = slot.connection.take();
        slot.wanted = true;
        self.wake.notify_one();
        drop(state);
        drop(lost);
        Err(Error::new(Code::Unreachable, format!("node {}: not connected", key.0)))
    }

    /// Never waits. `done` runs once, perhaps before this returns.
    pub fn call<R: Request>(
        &self,
        (node, purpose): Key,
        request: R,
        payload: Vec<Bytes>,
        timeout: Duration,
        done: impl FnOnce(Result<(R::Reply, Bytes)>) + Send + 'static,
    ) {
        match self.connection((node, purpose)) {
            Err(error) => {
                add(&self.metrics.peer_errors, 1);
                done(Err(error));
            }
            Ok(connection) => {
                let metrics = self.metrics.clone();
                transport::never_wait(|| {
                    transport::call(&*connection, request, payload, timeout, move |result| {
                        if result.is_err() {
                            add(&metrics.peer_errors, 1);
                        }
                        done(result);
                    });
                });
            }
        }
    }

    fn connect_wanted(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            let now = Instant::now();
            let wanted = state.slots.iter().filter(|(_, slot)| slot.wanted && !slot.address.is_empty());
            let Some((&key, slot)) = wanted.min_by_key(|(_, slot)| slot.not_before) else {
                self.wake.wait(&mut state);
                continue;
            };
            if slot.not_before > now {
                let until = slot.not_before;
                self.wake.wait_until(&mut state, until);
                continue;
            }
            let address = slot.address.clone();
            drop(state);
            let watcher = Arc::new(Watcher { node: key.0, peers: self.me.clone() });
            let connected = self.transport.connect(&address, CONNECT_TIMEOUT, watcher);
            if let Err(error) = &connected {
                log::debug!(target: "storage", node = key.0.0, error:% = error; "peer.unreachable");
                (self.suspect)(key.0);
            }
            state = self.state.lock();
            let unused = Self::settle(&mut state, key, &address, connected.ok());
            if unused.is_some() {
                drop(state);
                drop(unused);
                state = self.state.lock();
            }
        }
    }

    /// Gives the connection back if nobody wants it any more.
    fn settle(
        state: &mut State,
        key: Key,
        address: &str,
        connection: Option<Arc<dyn Connection>>,
    ) -> Option<Arc<dyn Connection>> {
        let closed = state.closed;
        let slot = state.slots.get_mut(&key).filter(|slot| slot.address == address);
        let Some(slot) = slot.filter(|_| !closed) else { return connection };
        match connection {
            Some(connection) => {
                slot.connection = Some(connection);
                slot.wanted = false;
                slot.back_off = BACK_OFF_MIN;
            }
            None => {
                slot.not_before = Instant::now() + slot.back_off;
                slot.back_off = (slot.back_off * 2).min(BACK_OFF_MAX);
            }
        }
        None
    }

    pub fn close(&self) {
        let slots = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.slots)
        };
        self.wake.notify_one();
        // Ends the calls in flight, outside of the lock.
        drop(slots);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

/// The other side never asks on these connections.
struct Watcher {
    node: NodeId,
    peers: Weak<Peers>,
}

impl Handler for Watcher {
    fn handle(&self, mut incoming: Incoming<'_>) {
        incoming.refuse_unknown();
    }

    fn closed(&self, _peer: &str) {
        if let Some(peers) = self.peers.upgrade()
            && !peers.state.lock().closed
        {
            (peers.suspect)(self.node);
        }
    }
}

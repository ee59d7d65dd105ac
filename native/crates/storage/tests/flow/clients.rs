//! Clients with many updates in the air: each is a channel of its own, and is sent again under its tag until it
//! is answered.

use crate::manager::TestManager;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use transport::{Connection, EchoHandler, Transport, call};
use wire::message::{ChunkId, PublicState, UpdateRequest};
use wire::{ClientId, Error, Tag};

/// Before an update is sent again: long enough not to matter for one that only waits for its turn.
const ATTEMPT: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// Only a deadlock lasts so long without any answer.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Load {
    pub manager: Arc<TestManager>,
    pub chains: u32,
    pub payload: Bytes,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    answered: u64,
    failed: Option<Error>,
    /// Refused or lost: to be sent again.
    again: Vec<Sent>,
}

/// One channel of one client, at one update.
#[derive(Clone)]
struct Sent {
    client: u8,
    channel: u32,
    sequence: u64,
    connections: Connections,
}

/// Of one client, by node.
pub type Connections = Arc<HashMap<u32, Arc<dyn Connection>>>;

impl Load {
    pub fn new(manager: Arc<TestManager>, chains: u32, payload: Bytes) -> Arc<Load> {
        Arc::new(Load { manager, chains, payload, progress: Mutex::default(), changed: Condvar::new() })
    }

    pub fn connect(&self, transport: &dyn Transport) -> Connections {
        let connect = |node: u32| {
            let address = self.manager.address_of(node).expect("registered");
            (node, transport.connect(&address, ATTEMPT, Arc::new(EchoHandler::new())).expect("loopback"))
        };
        Arc::new((1..=3).map(connect).collect())
    }

    /// Each client has `depth` updates in the air, all with this sequence. Returns when all are answered.
    ///
    /// # Panics
    /// If an update fails, or nothing is answered for `PATIENCE`.
    pub fn run(self: &Arc<Self>, clients: &[Connections], depth: u32, sequence: u64) {
        let wanted = self.progress.lock().answered + clients.len() as u64 * u64::from(depth);
        for (client, connections) in (0..).zip(clients) {
            for channel in 0..depth {
                self.send(Sent { client, channel, sequence, connections: connections.clone() });
            }
        }
        self.wait(wanted);
    }

    fn wait(self: &Arc<Self>, wanted: u64) {
        let mut progress = self.progress.lock();
        let mut answered = (progress.answered, Instant::now());
        while progress.answered < wanted {
            self.changed.wait_for(&mut progress, RETRY_PAUSE);
            assert!(progress.failed.is_none(), "{:?}", progress.failed);
            if progress.answered > answered.0 {
                answered = (progress.answered, Instant::now());
            }
            assert!(answered.1.elapsed() < PATIENCE, "{} of {wanted} are answered", progress.answered);
            let again = std::mem::take(&mut progress.again);
            drop(progress);
            for sent in again {
                self.send(sent);
            }
            progress = self.progress.lock();
        }
    }

    fn send(self: &Arc<Self>, sent: Sent) {
        let chain = self.manager.chain(sent.channel % self.chains + 1);
        let head = chain.members.iter().find(|member| member.state() == PublicState::PublicServing);
        let Some(head) = head else { return self.progress.lock().again.push(sent) };
        let tag =
            Tag { client: ClientId([sent.client + 1; 16]), channel: sent.channel, sequence: sent.sequence };
        let length = self.payload.len() as u32;
        let request = UpdateRequest {
            chain: chain.id,
            chain_version: chain.version,
            chunk: Some(ChunkId {
                inode: u64::from(sent.client),
                index: u64::from(sent.channel % self.chains),
            }),
            tag: Some(tag.into()),
            // Each channel of a client writes bytes of its own.
            offset: sent.channel / self.chains * length,
            length,
            crc: crc32c::crc32c(&self.payload),
            chunk_size: 2 << 20,
            ..Default::default()
        };
        let load = self.clone();
        let connection = sent.connections[&head.node].clone();
        // All of them are to be in the air: none waits for room in the queue of its connection.
        transport::never_wait(|| {
            call(&*connection, request, vec![self.payload.clone()], ATTEMPT, move |result| {
                load.answered(sent, result.map(|_| ()));
            });
        });
    }

    fn answered(&self, sent: Sent, result: wire::Result<()>) {
        let mut progress = self.progress.lock();
        match result {
            Ok(()) => {
                progress.answered += 1;
                self.changed.notify_all();
            }
            Err(error) if error.code.retryable() => progress.again.push(sent),
            Err(error) => progress.failed = Some(error),
        }
    }
}

//! Three storage servers in this process on directories of their own, and a client without names.

use crate::manager::TestManager;
use bytes::Bytes;
use client::{Caller, Chunks, Client, Config};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::StorageServer;
use tempfile::TempDir;
use transport::{TcpTransport, Transport};
use wire::message::Layout;
use wire::{Code, Result};

pub const CHAINS: u32 = 4;
/// The smallest chunks, so that little data makes many of them.
pub const CHUNK: u32 = 64 << 10;
pub const INODE: u64 = 7;

pub fn layout() -> Layout {
    Layout { table: 1, table_version: 1, chunk_size: CHUNK, stripe: 16, first: 1, flush_each_write: false }
}

pub struct Cluster {
    pub manager: TestManager,
    pub servers: BTreeMap<u32, StorageServer>,
    pub transport: Arc<dyn Transport>,
    /// Another one is another boot of all machines: what was not flushed counts as lost (P10).
    pub boot_id: String,
    folder: TempDir,
}

impl Cluster {
    pub fn start() -> Cluster {
        let transport: Arc<dyn Transport> = Arc::new(TcpTransport::new());
        let manager = TestManager::start(&*transport, CHAINS);
        let folder = TempDir::new().unwrap();
        let mut cluster =
            Cluster { manager, servers: BTreeMap::new(), transport, boot_id: "boot-1".into(), folder };
        (1..=3).for_each(|node| cluster.start_server(node));
        cluster.wait_serving();
        cluster
    }

    pub fn disk(&self, node: u32) -> PathBuf {
        self.folder.path().join(format!("storage-{node}")).join("disk-0")
    }

    pub fn start_server(&mut self, node: u32) {
        // The threads of a server that was dropped may need a moment to let go of its directory.
        let server = loop {
            let mut config = storage::Config::new(node, "test");
            config.managers = vec![self.manager.address.clone()];
            config.disks = vec![self.disk(node)];
            config.boot_id = self.boot_id.clone();
            config.engine.reserve_bytes = 1 << 20;
            config.engine.segment_bytes = 1 << 30;
            match StorageServer::start_on(config, self.transport.clone()) {
                Ok(server) => break server,
                Err(error) if error.code == Code::AlreadyRunning => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("{error}"),
            }
        };
        self.servers.insert(node, server);
    }

    /// As kill -9 with a parent that sees it.
    pub fn kill(&mut self, node: u32) {
        let server = self.servers.remove(&node).unwrap();
        let incarnation = server.incarnation();
        drop(server);
        self.manager.exited(node, incarnation);
    }

    /// Until every member of every chain serves.
    pub fn wait_serving(&self) {
        while self.manager.serving() != 3 * CHAINS as usize {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn config(&self) -> Config {
        Config {
            managers: vec![self.manager.address.clone()],
            cluster: "test".into(),
            io_timeout: Duration::from_secs(30),
            without_names: true,
            ..Config::default()
        }
    }

    pub fn client(&self) -> Arc<Client> {
        Client::connect_over(self.transport.clone(), self.config()).unwrap()
    }
}

/// Bytes that differ at every position and for every seed.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A file of the client, and what it must hold.
pub struct Mirror {
    pub chunks: Chunks,
    pub inode: u64,
    pub bytes: Vec<u8>,
}

impl Mirror {
    pub fn new(client: &Client, inode: u64) -> Mirror {
        Mirror { chunks: client.chunks(), inode, bytes: Vec::new() }
    }

    pub fn write(&mut self, offset: usize, data: Vec<u8>) {
        self.keep(offset, &data);
        let data = vec![Bytes::from(data)];
        self.chunks.write_wait(&Caller::default(), self.inode, &layout(), offset as u64, data).unwrap();
    }

    /// Notes bytes that were or will be written.
    pub fn keep(&mut self, offset: usize, data: &[u8]) {
        if self.bytes.len() < offset + data.len() {
            self.bytes.resize(offset + data.len(), 0);
        }
        self.bytes[offset..offset + data.len()].copy_from_slice(data);
    }

    pub fn read(&self, offset: usize, length: usize) -> Result<Vec<u8>> {
        let caller = Caller::default();
        let rope = self.chunks.read_wait(&caller, self.inode, &layout(), offset as u64, length as u64)?;
        Ok(rope.concat())
    }

    pub fn check(&self) {
        let bytes = self.read(0, self.bytes.len()).unwrap();
        let differs = bytes.iter().zip(&self.bytes).position(|(one, other)| one != other);
        assert_eq!((bytes.len(), differs), (self.bytes.len(), None));
    }
}

//! Three storage servers in this process, over one transport, on directories of their own.

use crate::client::{Change, TestClient};
use crate::hanging_disk::{Gate, HangingDisk};
use crate::manager::{TestManager, new_chains};
use bytes::Bytes;
use chunk_engine::MemoryDisk;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use storage::{Config, DiskOpener, StorageServer};
use tempfile::TempDir;
use transport::{TcpTransport, Transport};
use wire::{ChunkId, Code};

pub const CHAINS: u32 = 4;

pub type MemoryDisks = Arc<Mutex<BTreeMap<PathBuf, MemoryDisk>>>;

pub struct Cluster {
    pub manager: Arc<TestManager>,
    pub servers: BTreeMap<u32, StorageServer>,
    pub transport: Arc<dyn Transport>,
    folder: TempDir,
    pub boot_id: String,
    /// Nodes whose targets lie on disks in memory, by folder.
    pub memory_disks: BTreeMap<u32, MemoryDisks>,
    pub disks: u32,
    /// A disk in memory that can be made to hang, by data directory.
    pub gates: BTreeMap<PathBuf, Arc<Gate>>,
    /// Changes what the servers are started with.
    pub adjust: fn(&mut Config),
}

impl Cluster {
    pub fn start() -> Cluster {
        Cluster::start_on(Arc::new(TcpTransport::new()))
    }

    pub fn start_on(transport: Arc<dyn Transport>) -> Cluster {
        Cluster::start_with(transport, BTreeMap::new())
    }

    pub fn start_with(transport: Arc<dyn Transport>, memory_disks: BTreeMap<u32, MemoryDisks>) -> Cluster {
        let mut cluster = Cluster::prepare(transport, 1);
        cluster.memory_disks = memory_disks;
        cluster.start_servers();
        cluster
    }

    /// Nothing runs yet but the manager.
    pub fn prepare(transport: Arc<dyn Transport>, disks: u32) -> Cluster {
        Cluster {
            manager: Arc::new(TestManager::start(&*transport, new_chains(CHAINS, disks), 300)),
            servers: BTreeMap::new(),
            transport,
            folder: TempDir::new().unwrap(),
            boot_id: "boot-1".to_string(),
            memory_disks: BTreeMap::new(),
            disks,
            gates: BTreeMap::new(),
            adjust: |_| {},
        }
    }

    pub fn start_servers(&mut self) {
        (1..=3).for_each(|node| self.start_server(node));
        self.wait_serving(3 * CHAINS as usize);
    }

    /// The first data directory of a node.
    pub fn disk(&self, node: u32) -> PathBuf {
        self.disk_at(node, 0)
    }

    pub fn disk_at(&self, node: u32, disk: u32) -> PathBuf {
        self.folder.path().join(format!("storage-{node}")).join(format!("disk-{disk}"))
    }

    pub fn config(&self, node: u32) -> Config {
        let mut config = Config::new(node, "test");
        config.managers = vec![self.manager.address.clone()];
        config.disks = (0..self.disks).map(|disk| self.disk_at(node, disk)).collect();
        config.boot_id = self.boot_id.clone();
        config.flush_interval = Duration::from_millis(500);
        config.engine.reserve_bytes = 1 << 20;
        config.engine.segment_bytes = 1 << 30;
        if let Some(disks) = self.memory_disks.get(&node).cloned() {
            config.open_disk = DiskOpener::new(move |folder| {
                let mut disks = disks.lock();
                let disk = disks.entry(folder.to_path_buf()).or_insert_with(|| MemoryDisk::new(1 << 30));
                Ok(Arc::new(disk.clone()))
            });
        }
        let gates = self.gates.clone();
        if gates.keys().any(|path| config.disks.contains(path)) {
            let disks = MemoryDisks::default();
            config.open_disk = DiskOpener::new(move |folder| {
                let mut disks = disks.lock();
                let gate = gates.iter().find(|(path, _)| folder.starts_with(path));
                let gate = gate.map(|(_, gate)| gate.clone()).unwrap_or_default();
                let disk = disks.entry(folder.to_path_buf()).or_insert_with(|| {
                    let disk = MemoryDisk::new(1 << 30);
                    gate.disks.lock().push(disk.clone());
                    disk
                });
                Ok(Arc::new(HangingDisk { disk: disk.clone(), gate }))
            });
        }
        (self.adjust)(&mut config);
        config
    }

    pub fn start_server(&mut self, node: u32) {
        // The threads of a server that was dropped may need a moment to let go of its directory.
        let server = loop {
            match StorageServer::start_on(self.config(node), self.transport.clone()) {
                Ok(server) => break server,
                Err(error) if error.code == Code::AlreadyRunning => {
                    std::thread::sleep(Duration::from_millis(5))
                }
                Err(error) => panic!("{error}"),
            }
        };
        self.servers.insert(node, server);
    }

    /// As kill -9; with `reported` its parent sees it.
    pub fn kill(&mut self, node: u32, reported: bool) {
        let server = self.servers.remove(&node).unwrap();
        let incarnation = server.incarnation();
        drop(server);
        if reported {
            self.manager.exited(node, incarnation);
        }
    }

    pub fn wait_serving(&self, count: usize) {
        while self.manager.serving() != count {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the servers; their directories stay until this is dropped.
    pub fn into_folder(self) -> TempDir {
        drop(self.servers);
        self.folder
    }

    pub fn client(&self, number: u8) -> TestClient {
        TestClient::new(number, self.transport.clone(), self.manager.clone())
    }

    pub fn metric(&self, node: u32, name: &str) -> u64 {
        let metrics = self.servers[&node].metrics();
        metrics.iter().find(|(known, _, _)| *known == name).unwrap().2
    }
}

pub fn chunk(index: u64) -> ChunkId {
    ChunkId { inode: 7, index }
}

/// Chunk i lives on chain i modulo the number of chains.
pub fn chain_of(index: u64) -> u32 {
    (index % u64::from(CHAINS)) as u32 + 1
}

/// Bytes that differ at every position and for every seed.
pub fn pattern(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    Bytes::from(bytes)
}

/// What was acknowledged, by chunk index.
#[derive(Default)]
pub struct Model(pub BTreeMap<u64, Vec<u8>>);

impl Model {
    pub fn change(&mut self, client: &TestClient, index: u64, change: &Change) {
        client.update(chain_of(index), 0, chunk(index), change).unwrap();
        change.apply_to(self.0.entry(index).or_default());
    }

    /// Every serving member returns exactly what was acknowledged, and all copies are equal, byte for byte.
    pub fn check(&self, client: &TestClient) {
        for (&index, expected) in &self.0 {
            let chain = chain_of(index);
            for member in 0..client.serving(chain).1.len() {
                let (reply, payload) = client.read_from(member, chain, chunk(index)).unwrap();
                assert!(payload == expected[..], "chunk {index} of member {member}");
                assert_eq!(reply.chunk_length as usize, expected.len());
            }
        }
        check_copies(client);
    }
}

pub fn check_copies(client: &TestClient) {
    for chain in 1..=CHAINS {
        let first = client.copy(chain, 0).unwrap();
        assert!(first.iter().all(|row| !row.pending && !row.corrupt), "{first:?}");
        for member in 1..client.serving(chain).1.len() {
            assert_eq!(client.copy(chain, member).unwrap(), first, "chain {chain}, member {member}");
        }
    }
}

/// Changes one bit of the stored bytes where `wanted` lies on this disk; how many places it had.
pub fn flip_bit(folder: &Path, wanted: &[u8]) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found += flip_bit(&path, wanted);
            continue;
        }
        found += usize::from(flip_in_file(&path, wanted));
    }
    found
}

fn flip_in_file(path: &Path, wanted: &[u8]) -> bool {
    use rustix::fs::{SeekFrom, seek};
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    // Segment files are sparse: only what is written is looked at.
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        let end = seek(&file, SeekFrom::Hole(start)).unwrap_or(length);
        let mut bytes = vec![0; (end - start) as usize];
        file.read_exact_at(&mut bytes, start).unwrap();
        if let Some(place) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            let place = start + place as u64;
            file.write_all_at(&[wanted[0] ^ 1], place).unwrap();
            return true;
        }
        at = end;
    }
    false
}

//! Flow (P24): many clients with many updates in the air against a slow disk. Nothing stands still, and the
//! memory of the servers is that of their budgets, however much the clients want. In a process of its own,
//! whose memory is the servers'.

#[path = "../cluster/manager.rs"]
#[allow(dead_code)]
mod manager;

mod clients;
mod slow_disk;

use bytes::Bytes;
use clients::Load;
use manager::{TestManager, new_chains};
use slow_disk::SlowDisk;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::{Config, DiskOpener, StorageServer};
use transport::{TcpTransport, Transport};

const CHAINS: u32 = 3;
const CLIENTS: usize = 64;
const DEPTH: u32 = 64;
const PAYLOAD_BYTES: usize = 64 << 10;

/// Of each pool: a two-hundredth of what the clients have in the air.
const BUDGET_BYTES: usize = 1 << 20;

/// What everything but payloads may take: journaled blocks until their checkpoint (2 MiB a target), layouts of
/// chunks, tables of requests, and what the allocator keeps for each thread.
const REST_BYTES: usize = 96 << 20;

fn config(node: u32, folder: &Path, manager: &TestManager) -> Config {
    let mut config = Config::new(node, "flow");
    config.managers = vec![manager.address.clone()];
    config.disks = vec![folder.join(format!("storage-{node}"))];
    config.update_bytes = BUDGET_BYTES;
    config.engine.reserve_bytes = 1 << 20;
    // Journaled blocks stay in memory until a checkpoint.
    config.engine.journal_bytes_max = 1 << 20;
    if node == 2 {
        config.open_disk = DiskOpener::new(|folder| {
            let failed = |error: std::io::Error| wire::Error::new(wire::Code::Io, error.to_string());
            Ok(Arc::new(SlowDisk::open(folder).map_err(failed)?))
        });
    }
    config
}

/// Of this process: `VmRSS` is what it has now, `VmHWM` the most that it has had since `forget_peak`.
fn resident_bytes(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim_end_matches("kB").trim().parse::<usize>().unwrap() << 10
}

/// What was queued and is free again afterwards counts as well.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// The peak knows what was given back long ago.
fn check_peak() {
    forget_peak();
    let before = resident_bytes("VmRSS");
    drop(std::hint::black_box(vec![1u8; 64 << 20]));
    assert!(resident_bytes("VmHWM") >= before + (60 << 20));
    forget_peak();
    assert!(resident_bytes("VmHWM") < before + (30 << 20));
}

#[test]
fn sixty_four_clients_at_depth_sixty_four_neither_deadlock_nor_grow_memory() {
    let transport: Arc<dyn Transport> = Arc::new(TcpTransport::new());
    let manager = Arc::new(TestManager::start(&*transport, new_chains(CHAINS, 1), 300));
    let folder = tempfile::tempdir().unwrap();
    let start =
        |node| StorageServer::start_on(config(node, folder.path(), &manager), transport.clone()).unwrap();
    // Each node is the head of one chain, in the middle of another, and the tail of the third: with one pool
    // for all roles they would wait for each other in a circle.
    let servers: Vec<StorageServer> = (1..=3).map(start).collect();
    while manager.serving() != 3 * CHAINS as usize {
        std::thread::sleep(Duration::from_millis(10));
    }
    let load = Load::new(manager.clone(), CHAINS, Bytes::from(vec![7; PAYLOAD_BYTES]));
    let clients: Vec<_> = (0..CLIENTS).map(|_| load.connect(&*transport)).collect();
    check_peak();
    let before = resident_bytes("VmRSS");
    load.run(&clients, DEPTH, 1);
    load.run(&clients, DEPTH, 2);
    let peak = resident_bytes("VmHWM");
    // The clients' payloads are one buffer; every copy is a server's.
    let pools = servers.len() * CHAINS as usize * BUDGET_BYTES;
    let wanted = CLIENTS * DEPTH as usize * PAYLOAD_BYTES;
    assert!(pools + REST_BYTES < wanted / 2, "else this shows nothing");
    let grown = peak.saturating_sub(before);
    assert!(grown < pools + REST_BYTES, "{grown} bytes more for {wanted} in the air");
    for server in &servers {
        server.stop().unwrap();
    }
}

//! Servers that die, come back, fall silent; bytes that rot.

use crate::client::{Change, TestClient};
use crate::hanging_disk::Gate;
use crate::harness::{CHAINS, Cluster, MemoryDisks, Model, chain_of, chunk, pattern};
use chunk_engine::disk::{Crash, Fault};
use chunk_engine::{Engine, MemoryDisk};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use transport::TcpTransport;
use wire::Code;

#[test]
fn each_server_may_die_under_load_and_comes_back_equal() {
    let mut cluster = Cluster::start();
    let client = cluster.client(1);
    let mut model = Model::default();
    let mut round = 0u64;
    let mut work = |model: &mut Model, count: u64| {
        for _ in 0..count {
            round += 1;
            let index = round % 23;
            let change = match round % 11 {
                0 => Change::remove(),
                1 => Change::truncate((round * 977 % 200_000) as u32),
                2 => Change::punch((round * 313 % 100_000) as u32, 20_000),
                3..6 => Change::write((round * 131 % 60_000) as u32, pattern(round, 4096)),
                _ => Change::write((round * 7919 % 300_000) as u32, pattern(round, 150_000)),
            };
            model.change(&client, index, &change);
        }
    };
    work(&mut model, 60);
    for node in 1..=3 {
        cluster.kill(node, true);
        work(&mut model, 60);
        model.check(&client);
        assert_eq!(cluster.manager.serving(), 2 * CHAINS as usize);
        cluster.start_server(node);
        // Traffic goes on during the resync.
        work(&mut model, 60);
        cluster.wait_serving(3 * CHAINS as usize);
        model.check(&client);
        assert!(cluster.metric(node, "storage_stored_bytes_total") > 0);
    }
}

#[test]
fn a_server_that_dies_unseen_leaves_when_its_lease_ends() {
    let mut cluster = Cluster::start();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 10_000))));
    cluster.kill(2, false);
    (0..8).for_each(|index| model.change(&client, index, &Change::write(500, pattern(index + 50, 10_000))));
    assert_eq!(cluster.manager.serving(), 2 * CHAINS as usize);
    assert!(cluster.manager.suspected() > 0, "its neighbours noticed");
    model.check(&client);
}

#[test]
fn a_server_cut_off_from_the_manager_stops_serving_and_returns() {
    let cluster = Cluster::start();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 10_000))));
    let (version, before) = client.serving(1);
    cluster.manager.be_deaf_to(&[1]);
    cluster.wait_serving(2 * CHAINS as usize);
    // It still runs, and is asked under the version of the chain that it knows: it must not answer.
    let address = cluster.servers[&1].address();
    let handler = std::sync::Arc::new(transport::EchoHandler::new());
    let timeout = std::time::Duration::from_secs(5);
    let connection = cluster.transport.connect(address, timeout, handler).unwrap();
    let request = wire::message::ReadRequest {
        chain: 1,
        chain_version: version,
        chunk: Some(chunk(0).into()),
        length: 10,
        ..Default::default()
    };
    let answer = transport::call_wait(&*connection, request, Vec::new(), timeout);
    assert!(matches!(answer.unwrap_err().code, Code::NotServing | Code::WrongChainVersion));
    (0..8).for_each(|index| model.change(&client, index, &Change::write(100, pattern(index + 50, 10_000))));
    cluster.manager.be_deaf_to(&[]);
    cluster.wait_serving(3 * CHAINS as usize);
    assert_eq!(client.serving(1).1.len(), before.len());
    model.check(&client);
}

#[test]
fn a_server_with_an_empty_disk_gets_everything_back() {
    let mut cluster = Cluster::start();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..40).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 100_000))));
    cluster.kill(3, true);
    std::fs::remove_dir_all(cluster.disk(3)).unwrap();
    cluster.start_server(3);
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
}

#[test]
fn a_disk_that_fails_leaves_its_chains_and_returns_verified() {
    let disks = MemoryDisks::default();
    let cluster = Cluster::start_with(Arc::new(TcpTransport::new()), BTreeMap::from([(2, disks.clone())]));
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 50_000))));
    // Whatever operation it is: a write of bytes, of the journal, a flush.
    for round in 0..6u64 {
        let failed = cluster.metric(2, "storage_targets_offline_total");
        for disk in disks.lock().values() {
            disk.fail_at(1 + round, Fault::Io);
        }
        let mut number = 0;
        while cluster.metric(2, "storage_targets_offline_total") == failed {
            number += 1;
            let index = number % 8;
            model.change(
                &client,
                index,
                &Change::write(number as u32 * 100, pattern(number + round, 50_000)),
            );
            client.flush(chain_of(index)).unwrap();
        }
        disks.lock().values().for_each(MemoryDisk::heal);
        cluster.wait_serving(3 * CHAINS as usize);
        model.check(&client);
    }
}

#[test]
fn a_disk_that_nobody_uses_is_noticed_when_it_takes_no_writes_any_more() {
    let cluster = Cluster::start();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 50_000))));
    // What the check writes cannot be written; nobody else asks for anything.
    let probe = cluster.disk(2).join("probe");
    while !probe.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::fs::remove_file(&probe).unwrap();
    std::fs::create_dir(&probe).unwrap();
    cluster.wait_serving(2 * CHAINS as usize);
    assert_eq!(cluster.metric(2, "storage_targets_offline_total"), u64::from(CHAINS));
    // It does not try to come back as long as it is so.
    model.check(&client);
    assert_eq!(cluster.manager.serving(), 2 * CHAINS as usize);
    assert_eq!(cluster.metric(2, "storage_targets_offline_total"), u64::from(CHAINS));
    std::fs::remove_dir(&probe).unwrap();
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
}

/// After a failed flush the page cache shows what the medium does not have. All versions are equal, so the resync
/// copies nothing; all the same the medium has everything when the target serves again.
#[test]
fn what_a_failed_flush_lost_is_on_the_medium_when_the_target_serves_again() {
    for (file, fault) in [
        ("segment-", Fault::Io),
        ("segment-", Fault::IoDropsPages),
        ("journal-", Fault::Io),
        ("journal-", Fault::IoDropsPages),
    ] {
        let disks = MemoryDisks::default();
        let cluster =
            Cluster::start_with(Arc::new(TcpTransport::new()), BTreeMap::from([(2, disks.clone())]));
        let client = cluster.client(1);
        let mut model = Model::default();
        (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 90_000))));
        disks.lock().values().for_each(|disk| disk.fail_flush(file, fault));
        // Large and small: past the journal, and through it.
        (0..8).for_each(|index| model.change(&client, index, &Change::write(80_000, pattern(index, 90_000))));
        (0..8).for_each(|index| model.change(&client, index, &Change::write(7, pattern(index, 500))));
        (1..=CHAINS).for_each(|chain| assert!(client.flush(chain).is_ok()));
        while cluster.metric(2, "storage_targets_offline_total") < u64::from(CHAINS) {
            std::thread::sleep(Duration::from_millis(5));
        }
        cluster.wait_serving(3 * CHAINS as usize);
        let lost: Vec<(PathBuf, MemoryDisk)> =
            disks.lock().iter().map(|(folder, disk)| (folder.clone(), disk.after(Crash::LoseAll))).collect();
        let mut found = 0;
        for (folder, disk) in lost {
            let (engine, opened) = Engine::open(Arc::new(disk), cluster.config(2).engine).unwrap();
            assert!(opened.complete, "{folder:?}, {file}, {fault:?}: {opened:?}");
            for row in engine.list(chunk(0), None, 100) {
                let (_, bytes) = engine.read_all(row.chunk).unwrap();
                assert!(bytes == model.0[&row.chunk.index], "{:?}, {file}, {fault:?}", row.chunk);
                found += 1;
            }
        }
        assert_eq!(found, model.0.len());
    }
}

/// Servers of two disks and so many chunks; the gate is that of node 2's disk 0.
fn with_a_gate(chunks: u64) -> (Cluster, Arc<Gate>, TestClient, Model) {
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 2);
    let gate = Arc::new(Gate::default());
    cluster.gates.insert(cluster.disk_at(2, 0), gate.clone());
    cluster.adjust = |config| config.disk_timeout = Duration::from_secs(2);
    cluster.start_servers();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..chunks).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 50_000))));
    (cluster, gate, client, model)
}

#[test]
fn a_disk_that_hangs_stops_its_own_targets_and_nothing_else() {
    let (cluster, gate, client, mut model) = with_a_gate(16);
    // Chains with an even number lie on disk 0.
    let versions = |cluster: &Cluster| [1, 3].map(|chain| cluster.manager.chain(chain).version);
    let before = versions(&cluster);
    // In the middle of traffic, so that something holds the targets' locks.
    let traffic = std::thread::scope(|scope| {
        let changed = scope.spawn(|| {
            let client = cluster.client(2);
            let mut changed = Model(model.0.clone());
            for round in 0..40u64 {
                let index = round % 16;
                changed.change(&client, index, &Change::write(round as u32 * 10, pattern(round, 30_000)));
            }
            changed
        });
        gate.close();
        changed.join().unwrap()
    });
    model = traffic;
    cluster.wait_serving(3 * CHAINS as usize - 2);
    let heartbeats = cluster.metric(2, "storage_heartbeats_total");
    while cluster.metric(2, "storage_heartbeats_total") < heartbeats + 30 {
        std::thread::sleep(Duration::from_millis(10));
    }
    (0..16).for_each(|index| model.change(&client, index, &Change::write(7, pattern(index + 70, 5000))));
    assert_eq!(versions(&cluster), before, "the node's other disk never left its chains");
    assert_eq!(cluster.manager.serving(), 3 * CHAINS as usize - 2);
    assert_eq!(cluster.metric(2, "storage_targets_hung_total"), 2);
    let offline = cluster.servers[&2].targets().into_iter().filter(|report| report.disk_error).count();
    assert_eq!(offline, 2);
    gate.open();
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
}

/// The members of a chain on each disk share the links to their neighbours with those of the other disk: whoever
/// reads from a link must not wait for either.
#[test]
fn while_a_disk_hangs_in_the_middle_of_much_traffic_updates_of_the_healthy_one_are_answered() {
    let (cluster, gate, client, mut model) = with_a_gate(64);
    // Chain 4 lies on the disk that hangs, chain 1 on the other one; node 2 is the head of both.
    assert_eq!([1, 4].map(|chain| client.serving(chain).1[0].node), [2, 2]);
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..16u64 {
            let (cluster, stop, written) = (&cluster, &stop, &written);
            scope.spawn(move || {
                let client = cluster.client(20 + thread as u8);
                let change = |round: u64| Change::write(round as u32 % 40 * 1000, pattern(round, 3000));
                for round in 0.. {
                    let tag = client.tag(4, 0);
                    // Others may be waiting for the end.
                    while client.try_update(tag, 4, chunk(thread * 4 + 3), &change(round)).is_err() {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    written.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        while written.load(Ordering::Relaxed) < 500 {
            std::thread::sleep(Duration::from_millis(1));
        }
        gate.close();
        let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..500u64 {
                let change = Change::write(round as u32 % 40 * 1000, pattern(round, 3000));
                model.change(&client, round % 16 * 4, &change);
            }
        }));
        gate.open();
        stop.store(true, Ordering::Relaxed);
        answered.expect("they are answered while the other disk hangs");
    });
    cluster.wait_serving(3 * CHAINS as usize);
    for index in (3..64).step_by(4) {
        model.0.insert(index, client.read(4, chunk(index)).unwrap().to_vec());
    }
    model.check(&client);
}

#[test]
fn a_disk_that_cannot_be_used_at_a_start_leaves_the_others_serving() {
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 2);
    cluster.start_servers();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 50_000))));
    cluster.kill(2, true);
    // A file stands where the directory was.
    let (path, aside) = (cluster.disk_at(2, 0), cluster.disk_at(2, 9));
    std::fs::rename(&path, &aside).unwrap();
    std::fs::write(&path, b"").unwrap();
    cluster.start_server(2);
    cluster.wait_serving(3 * CHAINS as usize - 2);
    (0..8).for_each(|index| model.change(&client, index, &Change::write(9, pattern(index + 9, 50_000))));
    cluster.kill(2, true);
    std::fs::remove_file(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    cluster.start_server(2);
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
}

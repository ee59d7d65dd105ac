//! A full disk is not an outage (P8): writes are refused before they have a version, everything else goes on.

use crate::client::{Change, PATIENCE};
use crate::hanging_disk::Gate;
use crate::harness::{CHAINS, Cluster, MemoryDisks, Model, chain_of, chunk, pattern};
use chunk_engine::Disk;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use transport::TcpTransport;
use wire::Code;
use wire::message::TargetReport;

fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

fn full_on(nodes: &[u32]) {
    let disks: Vec<MemoryDisks> = nodes.iter().map(|_| MemoryDisks::default()).collect();
    let by_node = nodes.iter().copied().zip(disks.iter().cloned()).collect();
    let cluster = Cluster::start_with(Arc::new(TcpTransport::new()), by_node);
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 500_000))));
    for chain in 1..=CHAINS {
        client.flush(chain).unwrap();
    }
    for disk in disks.iter().flat_map(|disks| disks.lock().values().cloned().collect::<Vec<_>>()) {
        // Full to the last page; the reserve is all that is left.
        let space = disk.space().unwrap();
        disk.set_capacity(space.capacity - space.free);
    }
    let reports =
        || nodes.iter().flat_map(|node| cluster.servers[node].targets()).collect::<Vec<TargetReport>>();
    while !reports().iter().all(|report| report.no_allocate && report.low_space) {
        pause();
    }
    // The head learns with the next answers how little room its successors have.
    let mut refused = 0;
    for index in 8..40 {
        let change = Change::write(0, pattern(index, 100_000));
        match client.update(chain_of(index), 1, chunk(index), &change) {
            Ok(_) => drop(model.0.insert(index, pattern(index, 100_000).to_vec())),
            Err(error) => {
                assert_eq!(error.code, Code::NoSpace);
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    model.check(&client);
    // What was there can be cut, within a block and to a length that it does not have, as the service does of which
    // a write was refused; what is not there stays so.
    model.change(&client, 2, &Change::truncate(500_001));
    model.change(&client, 2, &Change::truncate(300_001));
    model.change(&client, 2, &Change::truncate(400_000));
    model.change(&client, 50, &Change::truncate(12_345));
    model.check(&client);
    // It can be punched, block by block, and removed, and then there is room. A block of which something stays goes
    // through the journal: that takes room.
    model.change(&client, 0, &Change::punch(0, 400 << 10));
    model.change(&client, 1, &Change::punch(8192, 65_536));
    model.change(&client, 1, &Change::punch(0, 1 << 20));
    model.check(&client);
    (0..8).for_each(|index| model.change(&client, index, &Change::remove()));
    for index in 100..108 {
        let change = Change::write(0, pattern(index, 200_000));
        while let Err(error) = client.update(chain_of(index), 2, chunk(index), &change) {
            assert_eq!(error.code, Code::NoSpace);
            pause();
        }
        model.0.insert(index, pattern(index, 200_000).to_vec());
    }
    for node in 1..=3 {
        assert_eq!(cluster.metric(node, "storage_targets_offline_total"), 0, "refused in time");
    }
    assert_eq!(cluster.manager.serving(), 3 * CHAINS as usize);
    model.check(&client);
}

/// The last member's disk is asked for its free space, and does not answer; meanwhile it is filled.
#[test]
fn what_was_stored_since_a_disk_told_its_free_space_is_gone() {
    const FREE_BYTES: u64 = 16 << 20;
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    let gate = Arc::new(Gate::default());
    cluster.gates.insert(cluster.disk(2), gate.clone());
    cluster.adjust = |config| config.disk_timeout = Duration::from_secs(60);
    cluster.start_servers();
    let client = cluster.client(1);
    let mut model = Model::default();
    model.change(&client, 1, &Change::write(0, pattern(1, 100_000)));
    assert_eq!(chain_of(1), 2);
    // On a busy machine one may have been away, and be last until the preferred order is back.
    while client.serving(2).1.get(2).map(|member| member.node) != Some(2) {
        pause();
    }
    for disk in gate.disks.lock().iter() {
        let space = disk.space().unwrap();
        disk.set_capacity(space.capacity - space.free + FREE_BYTES);
    }
    gate.wait_for_space();
    gate.hold_space();
    // Its acknowledgements say what room is left.
    let refused = (1..2 * FREE_BYTES / 100_000).map(|number| 1 + number * u64::from(CHAINS)).find(|&index| {
        let change = Change::write(0, pattern(index, 100_000));
        match client.update(2, 0, chunk(index), &change) {
            Ok(_) => {
                change.apply_to(model.0.entry(index).or_default());
                false
            }
            Err(error) => {
                assert_eq!(error.code, Code::NoSpace);
                true
            }
        }
    });
    gate.tell_space();
    assert!(refused.is_some(), "all of it was taken twice");
    assert!(model.0.len() > 20, "{} chunks of it were used", model.0.len());
    assert_eq!(cluster.metric(2, "storage_targets_offline_total"), 0, "refused in time");
    model.check(&client);
}

/// What placement and people go by, and from when on removed bytes are back without the periodic flush.
#[test]
fn a_disk_that_fills_says_so_and_gives_removed_bytes_back_at_once() {
    let disks = MemoryDisks::default();
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    cluster.memory_disks = BTreeMap::from([(2, disks.clone())]);
    cluster.adjust = |config| config.flush_interval = Duration::from_secs(3600);
    cluster.start_servers();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 500_000))));
    for chain in 1..=CHAINS {
        client.flush(chain).unwrap();
    }
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
            pause();
        }
    };
    let marks =
        || cluster.servers[&2].targets().into_iter().map(|report| (report.low_space, report.no_allocate));
    // Each is another state than the one before, of 98.5 %, 96.5 %, 94.5 % used.
    let fill = |per_mille: u64| {
        for disk in disks.lock().values() {
            let space = disk.space().unwrap();
            disk.set_capacity((space.capacity - space.free) * 1000 / per_mille);
        }
    };
    for (per_mille, expected) in [(985, (true, true)), (965, (true, false)), (945, (false, false))] {
        fill(per_mille);
        until("the marks", &|| marks().all(|found| found == expected));
    }
    fill(955);
    let free = || disks.lock().values().map(|disk| disk.space().unwrap().free).sum::<u64>();
    let before = free();
    // One of each target: with its bytes the disk is not full any more.
    (0..4).for_each(|index| model.change(&client, index, &Change::remove()));
    until("the bytes are back", &|| free() >= before + 4 * 500_000);
    model.check(&client);
}

#[test]
fn one_full_member() {
    (1..=3).for_each(|node| full_on(&[node]));
}

#[test]
fn two_full_members() {
    full_on(&[1, 2]);
}

#[test]
fn all_members_full() {
    full_on(&[1, 2, 3]);
}

//! Servers that die, come back, fall silent; bytes that rot.

use crate::client::Change;
use crate::harness::{CHAINS, Cluster, MemoryDisks, Model, chain_of, chunk, flip_bit, pattern};
use chunk_engine::disk::Fault;
use chunk_engine::{Disk, MemoryDisk};
use std::collections::BTreeMap;
use std::sync::Arc;
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
                2..6 => Change::write((round * 131 % 60_000) as u32, pattern(round, 4096)),
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
fn a_flipped_bit_is_found_and_another_copy_is_read() {
    let cluster = Cluster::start();
    let client = cluster.client(1);
    let bytes = pattern(42, 500_000);
    client.update(chain_of(3), 0, chunk(3), &Change::write(0, bytes.clone())).unwrap();
    client.flush(chain_of(3)).unwrap();
    assert_eq!(flip_bit(&cluster.disk(2), &bytes[100_000..100_064]), 1);
    let (_, serving) = client.serving(chain_of(3));
    for (place, member) in serving.iter().enumerate() {
        let read = client.read_from(place, chain_of(3), chunk(3)).map(|(_, payload)| payload);
        if member.node == 2 {
            assert_eq!(read.unwrap_err().code, Code::Corrupt);
        } else {
            assert_eq!(read.unwrap(), bytes);
        }
    }
    assert_eq!(cluster.metric(2, "storage_read_corrupt_total"), 1);
    assert_eq!(client.read(chain_of(3), chunk(3)).unwrap(), bytes);
    let bad =
        (0..3).filter(|&member| client.copy(chain_of(3), member).unwrap().iter().any(|row| row.corrupt));
    assert_eq!(bad.count(), 1);
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
fn a_full_disk_refuses_writes_before_they_have_a_version() {
    let disks = MemoryDisks::default();
    let cluster = Cluster::start_with(Arc::new(TcpTransport::new()), BTreeMap::from([(3, disks.clone())]));
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 500_000))));
    for disk in disks.lock().values() {
        // Full to the last page; the reserve is all that is left.
        let space = disk.space().unwrap();
        disk.set_capacity(space.capacity - space.free);
    }
    let full = |report: &wire::message::TargetReport| report.no_allocate;
    while !cluster.servers[&3].targets().iter().all(full) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // The head learns with the next answers how little room its successors have (P8).
    let mut refused = 0;
    for index in 8..40 {
        let answer =
            client.update(chain_of(index), 1, chunk(index), &Change::write(0, pattern(index, 100_000)));
        match answer {
            Ok(_) => drop(model.0.insert(index, pattern(index, 100_000).to_vec())),
            Err(error) => {
                assert_eq!(error.code, Code::NoSpace);
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    assert_eq!(cluster.metric(3, "storage_targets_offline_total"), 0, "refused in time");
    for disk in disks.lock().values() {
        disk.set_capacity(1 << 30);
    }
    // Once there is room again, writes go on.
    while client
        .update(1, 2, chunk(100), &Change::write(0, pattern(100, 100_000)))
        .is_err_and(|error| error.code == Code::NoSpace)
    {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
}

//! Bytes that rot on a disk: never returned, found by reads and by the scrub, put right from other copies.

use crate::client::{Change, TestClient};
use crate::hanging_disk::Gate;
use crate::harness::{CHAINS, Cluster, MemoryDisks, Model, chain_of, check_copies, chunk, flip_bit, pattern};
use chunk_engine::Disk;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IoSlice, IoSliceMut};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use transport::TcpTransport;
use wire::Code;
use wire::message::{ScrubRequest, TargetReport};

const PAGE: usize = 4096;

/// A page of a segment of a target's disk.
pub type Place = (PathBuf, String, u64);

pub fn places(disks: &MemoryDisks) -> Vec<Place> {
    let mut places = Vec::new();
    for (folder, disk) in &*disks.lock() {
        for name in disk.list().unwrap().into_iter().filter(|name| name.starts_with("segment-")) {
            let pages = disk.written_pages(&name);
            places.extend(pages.into_iter().map(|page| (folder.clone(), name.clone(), page)));
        }
    }
    places
}

pub fn page(disks: &MemoryDisks, (folder, name, at): &Place) -> Vec<u8> {
    let mut bytes = vec![0; PAGE];
    let file = disks.lock()[folder].open(name).unwrap().unwrap();
    file.read_at(&mut [IoSliceMut::new(&mut bytes)], *at).unwrap();
    bytes
}

pub fn overwrite(disks: &MemoryDisks, (folder, name, at): &Place, bytes: &[u8]) {
    let file = disks.lock()[folder].open(name).unwrap().unwrap();
    file.write_at(&[IoSlice::new(bytes)], *at).unwrap();
}

/// On every disk of the cluster's node: nothing waits for its place, so that the pages are the chunks.
fn settle(client: &TestClient) {
    for chain in 1..=CHAINS {
        client.flush(chain).unwrap();
    }
}

fn reports(client: &TestClient, nodes: &[u32], start: bool) -> Vec<TargetReport> {
    let of = |node: &u32| client.ask(*node, ScrubRequest { start, ..Default::default() }).unwrap().targets;
    nodes.iter().flat_map(of).collect()
}

fn scrub(client: &TestClient, nodes: &[u32], finished: impl Fn(&TargetReport) -> bool) {
    let before = reports(client, nodes, true);
    while !reports(client, nodes, false).iter().zip(&before).all(|(report, before)| {
        let (scrub, before) = (report.scrub.unwrap(), before.scrub.unwrap());
        !scrub.running && scrub.finished_ms > before.finished_ms && finished(report)
    }) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_flipped_bit_is_found_another_copy_is_read_and_the_bad_one_is_repaired() {
    let cluster = Cluster::start();
    let client = cluster.client(1);
    let bytes = pattern(42, 500_000);
    client.update(chain_of(3), 0, chunk(3), &Change::write(0, bytes.clone())).unwrap();
    client.flush(chain_of(3)).unwrap();
    assert_eq!(flip_bit(&cluster.disk(2), &bytes[100_000..100_064]), 1);
    let (_, serving) = client.serving(chain_of(3));
    let place = serving.iter().position(|member| member.node == 2).unwrap();
    let read = client.read_from(place, chain_of(3), chunk(3)).map(|(_, payload)| payload);
    assert_eq!(read.unwrap_err().code, Code::Corrupt);
    assert_eq!(client.read(chain_of(3), chunk(3)).unwrap(), bytes);
    while cluster.metric(2, "storage_repaired_chunks_total") == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(client.read_from(place, chain_of(3), chunk(3)).unwrap().1, bytes);
    check_copies(&client);
}

#[test]
fn two_hundred_damaged_blocks_of_one_copy_are_all_found_and_repaired() {
    let disks = MemoryDisks::default();
    let cluster = Cluster::start_with(Arc::new(TcpTransport::new()), BTreeMap::from([(2, disks.clone())]));
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..40).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 300_000))));
    settle(&client);
    let all = places(&disks);
    assert!(all.len() >= 40 * 73, "{} pages", all.len());
    // Every 13th page, so that chunks have one bad block and many, and neighbours.
    let chosen: Vec<&Place> = (0..220).map(|number| &all[number * 13 % all.len()]).collect();
    assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 220);
    let good: Vec<Vec<u8>> = chosen.iter().map(|place| page(&disks, place)).collect();
    for (number, place) in chosen.iter().enumerate() {
        let bad = match number % 3 {
            0 => {
                let mut flipped = good[number].clone();
                // Also the last byte that a page may hold.
                flipped[number * 19 % 900] ^= 1 << (number % 8);
                flipped
            }
            1 => vec![0; PAGE],
            // Bytes that belong elsewhere: right in themselves.
            _ => good[(number + 1) % 220].clone(),
        };
        assert!(bad != good[number]);
        overwrite(&disks, place, &bad);
    }
    // Reads of a part return the right bytes or say that they cannot, never wrong ones.
    let mut refused = 0;
    for (&index, expected) in model.0.iter().filter(|(index, _)| **index < 20) {
        let (_, serving) = client.serving(chain_of(index));
        let place = serving.iter().position(|member| member.node == 2).unwrap();
        for (number, part) in expected.chunks(20_000).enumerate() {
            let range = (number as u32 * 20_000, part.len() as u32);
            match client.read_range_from(place, chain_of(index), chunk(index), range) {
                Ok((_, payload)) => assert!(payload == part, "chunk {index} at {}", range.0),
                Err(error) => {
                    assert_eq!(error.code, Code::Corrupt);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0);
    scrub(&client, &[2], |report| report.damaged_chunks == 0);
    for (place, good) in chosen.iter().zip(&good) {
        // Behind the end of a chunk a page may hold anything.
        let used = good.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        assert!(page(&disks, place)[..used] == good[..used], "{place:?}");
    }
    let repaired = cluster.metric(2, "storage_repaired_chunks_total");
    assert_eq!(repaired, cluster.metric(2, "storage_damaged_chunks_total"));
    assert_eq!(cluster.metric(2, "storage_targets_offline_total"), 0);
    model.check(&client);
}

/// Whoever waits for the end of a pass wants to know what is damaged then.
#[test]
fn a_pass_is_over_when_what_it_found_was_repaired() {
    let disks = MemoryDisks::default();
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    cluster.memory_disks = BTreeMap::from([(2, disks.clone())]);
    let gates: Vec<Arc<Gate>> = (0..2).map(|_| Arc::default()).collect();
    for (node, gate) in [1, 3].into_iter().zip(&gates) {
        cluster.gates.insert(cluster.disk(node), gate.clone());
    }
    cluster.start_servers();
    let client = cluster.client(1);
    let mut model = Model::default();
    model.change(&client, 0, &Change::write(0, pattern(0, 100_000)));
    settle(&client);
    let [place, ..] = &places(&disks)[..] else { panic!("nothing was written") };
    overwrite(&disks, place, &[0x5a; PAGE]);
    // Nobody who has good bytes can read them.
    gates.iter().for_each(|gate| gate.close());
    reports(&client, &[2], true);
    while cluster.metric(2, "storage_damaged_chunks_total") == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut early = 0;
    for _ in 0..100 {
        let running = reports(&client, &[2], false).iter().any(|report| report.scrub.unwrap().running);
        // On a machine that stood still they were asked in vain.
        early += u32::from(!running && cluster.metric(2, "storage_repairs_failed_total") == 0);
        std::thread::sleep(Duration::from_millis(5));
    }
    gates.iter().for_each(|gate| gate.open());
    assert_eq!(early, 0, "it was over before");
    while reports(&client, &[2], false).iter().any(|report| report.scrub.unwrap().running) {
        std::thread::sleep(Duration::from_millis(1));
    }
    scrub(&client, &[2], |report| report.damaged_chunks == 0);
    model.check(&client);
}

/// All three nodes on disks in memory; block 2 of chunk 0 is bad on each of them, each in its own way.
fn damaged_everywhere() -> (Cluster, Vec<MemoryDisks>, TestClient, Model) {
    let disks: Vec<MemoryDisks> = (0..3).map(|_| MemoryDisks::default()).collect();
    let by_node = (1..=3).zip(disks.iter().cloned()).collect();
    let cluster = Cluster::start_with(Arc::new(TcpTransport::new()), by_node);
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 100_000))));
    settle(&client);
    let wanted = &model.0[&0][2 * PAGE..3 * PAGE];
    for (number, disks) in disks.iter().enumerate() {
        let place = places(disks).into_iter().find(|place| page(disks, place) == wanted).unwrap();
        let mut bad = wanted.to_vec();
        bad[number * 7] ^= 1 << number;
        overwrite(disks, &place, &bad);
    }
    (cluster, disks, client, model)
}

fn check_all_but_one_block(client: &TestClient, model: &Model) {
    let expected = &model.0[&0];
    for member in 0..3 {
        for block in 0..expected.len().div_ceil(PAGE) {
            let part = &expected[block * PAGE..expected.len().min((block + 1) * PAGE)];
            let range = ((block * PAGE) as u32, part.len() as u32);
            let read = client.read_range_from(member, chain_of(0), chunk(0), range);
            if block == 2 {
                assert_eq!(read.unwrap_err().code, Code::Corrupt, "member {member}");
            } else {
                assert!(read.unwrap().1 == part, "block {block} of member {member}");
            }
        }
    }
}

#[test]
fn damage_of_every_copy_costs_that_range_alone_and_is_reported() {
    let (mut cluster, _disks, client, mut model) = damaged_everywhere();
    scrub(&client, &[1, 2, 3], |report| report.damaged_chunks == u64::from(report.chain == chain_of(0)));
    check_all_but_one_block(&client, &model);
    // An update of a part of the block is stored (nothing may be refused after it has a version), and the
    // block stays unreadable: its other bytes are lost.
    model.change(&client, 0, &Change::write(2 * PAGE as u32 + 50, pattern(77, 100)));
    model.change(&client, 0, &Change::write(5 * PAGE as u32 + 50, pattern(78, 100)));
    check_all_but_one_block(&client, &model);
    // A resync copies what there is, and says what there is not.
    cluster.kill(3, true);
    model.change(&client, 0, &Change::write(9 * PAGE as u32, pattern(79, 100)));
    cluster.start_server(3);
    cluster.wait_serving(3 * CHAINS as usize);
    check_all_but_one_block(&client, &model);
    for node in 1..=3 {
        assert_eq!(cluster.metric(node, "storage_targets_offline_total"), 0);
    }
    // The whole block anew: nothing is missing any more.
    model.change(&client, 0, &Change::write(2 * PAGE as u32, pattern(80, PAGE)));
    model.check(&client);
    scrub(&client, &[1, 2, 3], |report| report.damaged_chunks == 0);
}

#[test]
fn an_update_of_a_part_of_a_damaged_block_repairs_it_first() {
    for node in 1..=3usize {
        let disks: Vec<MemoryDisks> = (0..3).map(|_| MemoryDisks::default()).collect();
        let by_node = (1..=3).zip(disks.iter().cloned()).collect();
        let cluster = Cluster::start_with(Arc::new(TcpTransport::new()), by_node);
        let client = cluster.client(1);
        let mut model = Model::default();
        (0..4).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 100_000))));
        settle(&client);
        let damaged = &disks[node - 1];
        let all = places(damaged);
        all.iter().for_each(|place| overwrite(damaged, place, &[0x5a; PAGE]));
        for round in 0..20u64 {
            let (index, offset) = (round % 4, (round * 4900 % 90_000) as u32);
            model.change(&client, index, &Change::write(offset, pattern(round + 9, 300)));
        }
        scrub(&client, &[node as u32], |report| report.damaged_chunks == 0);
        model.check(&client);
        assert_eq!(cluster.metric(node as u32, "storage_targets_offline_total"), 0);
    }
}

/// Many small updates at once are stored, and their messages sent, together: the question for good bytes is among
/// them, and its answer comes while they wait.
#[test]
fn small_updates_of_damaged_blocks_at_once_repair_them_first() {
    const WRITERS: u64 = 32;
    let disks: Vec<MemoryDisks> = (0..3).map(|_| MemoryDisks::default()).collect();
    let by_node = (1..=3).zip(disks.iter().cloned()).collect();
    let cluster = Cluster::start_with(Arc::new(TcpTransport::new()), by_node);
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..2 * WRITERS)
        .for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 100_000))));
    settle(&client);
    let damaged = &disks[1];
    places(damaged).iter().for_each(|place| overwrite(damaged, place, &[0x5a; PAGE]));
    // Of two chunks each, of one block of the one and of two of the other.
    let change = |round: u64| Change::write((round * 20_000 + 700) as u32, pattern(round, 300));
    let of = |writer: u64, round: u64| writer * 2 + round % 2;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let client = cluster.client(10 + writer as u8);
            scope.spawn(move || {
                for round in 0..3 {
                    let index = of(writer, round);
                    client.update(chain_of(index), 0, chunk(index), &change(round)).unwrap();
                }
            });
        }
    });
    for (writer, round) in (0..WRITERS).flat_map(|writer| (0..3).map(move |round| (writer, round))) {
        change(round).apply_to(model.0.get_mut(&of(writer, round)).unwrap());
    }
    assert_eq!(cluster.metric(2, "storage_damaged_chunks_total"), 0, "none was stored over damage");
    assert_eq!(cluster.metric(2, "storage_repairs_failed_total"), 0);
    scrub(&client, &[2], |report| report.damaged_chunks == 0);
    assert_eq!(cluster.metric(2, "storage_repairs_failed_total"), 0);
    model.check(&client);
}

#[test]
fn a_resync_from_a_damaged_source_repairs_it_or_passes_the_damage_on() {
    let disks = MemoryDisks::default();
    let mut cluster =
        Cluster::start_with(Arc::new(TcpTransport::new()), BTreeMap::from([(2, disks.clone())]));
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..12).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 100_000))));
    settle(&client);
    // Node 3 comes back empty: every chunk is copied to it, by node 2 where that is its predecessor.
    cluster.kill(3, true);
    std::fs::remove_dir_all(cluster.disk(3)).unwrap();
    let pages = places(&disks);
    pages.iter().step_by(5).for_each(|place| overwrite(&disks, place, &[0x11; PAGE]));
    cluster.start_server(3);
    cluster.wait_serving(3 * CHAINS as usize);
    scrub(&client, &[2, 3], |report| report.damaged_chunks == 0);
    model.check(&client);
}

#[test]
fn a_scrub_goes_on_where_the_last_process_was() {
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    // 100 KB a second, at a quarter of that while clients write: it cannot end before the process does.
    cluster.adjust = |config| config.scrub_bytes_per_second = 100_000;
    cluster.start_servers();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..40).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 100_000))));
    client.ask(1, ScrubRequest { start: true, ..Default::default() }).unwrap();
    let read = |cluster: &Cluster| -> u64 {
        cluster.servers[&1].targets().iter().map(|report| report.scrub.unwrap().chunks).sum()
    };
    while read(&cluster) < 3 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = cluster.servers[&1].targets();
    assert!(before.iter().any(|report| report.scrub.unwrap().running));
    cluster.servers[&1].stop().unwrap();
    cluster.kill(1, false);
    cluster.adjust = |config| config.scrub_bytes_per_second = 1 << 30;
    cluster.start_server(1);
    cluster.wait_serving(3 * CHAINS as usize);
    loop {
        let now = cluster.servers[&1].targets();
        let over = |target: u64| {
            let report = now.iter().find(|report| report.target == target).unwrap();
            report.scrub.filter(|scrub| !scrub.running && scrub.finished_ms > 0).map(|scrub| scrub.chunks)
        };
        let ended: Vec<Option<u64>> = before
            .iter()
            .map(|report| if report.scrub.unwrap().running { over(report.target) } else { Some(10) })
            .collect();
        if ended.iter().all(Option::is_some) {
            // Ten chunks on each chain: counted over both processes, none twice.
            assert!(ended.iter().all(|chunks| *chunks == Some(10)), "{ended:?}");
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

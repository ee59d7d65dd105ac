//! Scrub and repair of a chunk of 64 MiB: piece by piece, also while it is written to.

use crate::client::Change;
use crate::damage::{overwrite, page, places};
use crate::harness::{Cluster, MemoryDisks, chunk, pattern};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use storage::Config;
use transport::TcpTransport;
use wire::message::ScrubRequest;

const CHUNK_SIZE: u32 = 64 << 20;
const MIB: u32 = 1 << 20;
const PAGE: usize = 4096;
const WRITERS: u32 = 8;

/// Of chunk 0, which has pattern `i` at MiB `i`.
const CHAIN: u32 = 1;

fn write(offset: u32, data: bytes::Bytes) -> Change {
    Change { chunk_size: CHUNK_SIZE, ..Change::write(offset, data) }
}

fn with_a_large_chunk(adjust: fn(&mut Config)) -> (Cluster, MemoryDisks) {
    let disks = MemoryDisks::default();
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    cluster.memory_disks = BTreeMap::from([(2, disks.clone())]);
    cluster.adjust = adjust;
    cluster.start_servers();
    let client = cluster.client(1);
    for number in 0..CHUNK_SIZE / MIB {
        let change = write(number * MIB, pattern(u64::from(number), MIB as usize));
        client.update(CHAIN, 0, chunk(0), &change).unwrap();
    }
    client.flush(CHAIN).unwrap();
    (cluster, disks)
}

fn start_scrub(cluster: &Cluster) {
    cluster.client(2).ask(2, ScrubRequest { start: true, ..Default::default() }).unwrap();
}

#[test]
fn a_scrub_pays_for_each_piece_of_a_chunk() {
    let (cluster, _disks) = with_a_large_chunk(|config| config.scrub_bytes_per_second = 1);
    start_scrub(&cluster);
    let scrubbed = || cluster.metric(2, "storage_scrubbed_bytes_total");
    // The first one is not waited for, and the second one not before it was read.
    let allowed = u64::from(2 * MIB);
    while scrubbed() < allowed {
        std::thread::sleep(Duration::from_millis(5));
    }
    let client = cluster.client(3);
    for number in 0..100 {
        client.update(CHAIN, 0, chunk(0), &write(number * MIB / 2, pattern(9, 500))).unwrap();
    }
    assert_eq!(scrubbed(), allowed, "the next one is to be read in days");
}

#[test]
fn a_chunk_that_is_written_all_the_time_is_scrubbed_and_repaired() {
    let (cluster, disks) = with_a_large_chunk(|config| {
        config.disk_timeout = Duration::from_secs(1);
        config.scrub_bytes_per_second = 1 << 30;
    });
    // Where nobody writes: the first block of the last MiB, and one in the middle of another.
    for (number, block) in [(63u64, 0usize), (40, 100)] {
        let wanted = pattern(number, MIB as usize).slice(block * PAGE..(block + 1) * PAGE);
        let place = places(&disks).into_iter().find(|place| page(&disks, place) == wanted).unwrap();
        overwrite(&disks, &place, &[0x77; PAGE]);
    }
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (cluster, stop, written) = (&cluster, &stop, &written);
            scope.spawn(move || {
                let client = cluster.client(10 + writer as u8);
                for number in (writer..).step_by(WRITERS as usize) {
                    // Blocks of the first half, far from each other.
                    let block = number.wrapping_mul(7919) % (CHUNK_SIZE / 2 / PAGE as u32);
                    let change = write(block * PAGE as u32, pattern(u64::from(number), PAGE));
                    client.update(CHAIN, 0, chunk(0), &change).unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while written.load(Ordering::Relaxed) < 10 {
                std::thread::sleep(Duration::from_millis(5));
            }
            start_scrub(&cluster);
            let over = || {
                let reports = cluster.servers[&2].targets();
                let report = reports.iter().find(|report| report.chain == CHAIN).unwrap();
                report.scrub.filter(|scrub| !scrub.running && scrub.finished_ms > 0)
            };
            let (mut scrub, mut repaired) = (None, 0);
            while scrub.is_none() || repaired == 0 {
                assert_eq!(cluster.metric(2, "storage_targets_hung_total"), 0);
                std::thread::sleep(Duration::from_millis(10));
                scrub = over();
                repaired = cluster.metric(2, "storage_repaired_chunks_total");
            }
            let scrub = scrub.unwrap();
            assert_eq!((scrub.chunks, scrub.bytes, scrub.damaged), (1, u64::from(CHUNK_SIZE), 1));
        }));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
    let client = cluster.client(4);
    assert_eq!(cluster.metric(2, "storage_damaged_chunks_total"), 1);
    let member = client.serving(CHAIN).1.iter().position(|member| member.node == 2).unwrap();
    for number in 32..CHUNK_SIZE / MIB {
        let (_, bytes) = client.read_range_from(member, CHAIN, chunk(0), (number * MIB, MIB)).unwrap();
        assert!(bytes == pattern(u64::from(number), MIB as usize), "MiB {number}");
    }
}

//! Without faults: files on chunks read back as they were written, whatever the boundaries.

use crate::harness::{CHAINS, CHUNK, Cluster, INODE, Mirror, layout, pattern};
use bytes::Bytes;
use client::Caller;
use std::sync::mpsc;
use wire::Code;

#[test]
fn ranges_over_chunks_and_holes_read_as_written() {
    let cluster = Cluster::start();
    let client = cluster.client();
    let mut file = Mirror::new(&client, INODE);
    let chunk = CHUNK as usize;
    // Within a chunk, over boundaries, far behind the end, over a hole's edge, over everything.
    let writes =
        [(10, 100), (chunk - 5, 10), (3 * chunk + 7, 2 * chunk), (9 * chunk, 1), (chunk, 3 * chunk), (0, 1)];
    for (seed, (offset, length)) in writes.into_iter().enumerate() {
        file.write(offset, pattern(seed as u64, length));
        file.check();
    }
    assert_eq!(file.read(9 * chunk - 3, 9).unwrap()[..3], [0, 0, 0]);
    assert_eq!(file.read(20 * chunk, 5).unwrap(), [0; 5], "nothing is stored there");
    assert_eq!(file.read(5, 0).unwrap(), []);
    let length = client.chunks().query_length(&Caller::default(), INODE, &layout()).unwrap();
    assert_eq!(length, 9 * u64::from(CHUNK) + 1);
    // Another client, which has never heard of these bytes.
    let second = cluster.client();
    let other = Mirror { chunks: second.chunks(), inode: INODE, bytes: file.bytes.clone() };
    other.check();
    assert_eq!(client.figures().write_bytes_in_flight, 0);
}

#[test]
fn shrinking_then_growing_reads_zeros_and_removal_leaves_nothing() {
    let cluster = Cluster::start();
    let client = cluster.client();
    let caller = Caller::default();
    let chunks = client.chunks();
    for (inode, chunk_count) in [(1u64, 6usize), (2, 40)] {
        let mut file = Mirror::new(&client, inode);
        let length = chunk_count * CHUNK as usize;
        file.write(0, pattern(inode, length));
        let cut = 2 * CHUNK as usize + 1000;
        chunks.truncate(&caller, inode, &layout(), Some(length as u64), cut as u64).unwrap();
        assert_eq!(chunks.query_length(&caller, inode, &layout()).unwrap(), cut as u64);
        file.bytes[cut..].fill(0);
        file.check();
        // At a boundary, and not knowing how long the file was.
        chunks.truncate(&caller, inode, &layout(), None, u64::from(CHUNK)).unwrap();
        file.bytes[CHUNK as usize..].fill(0);
        file.check();
        file.write(cut, pattern(9, 500));
        file.check();
        assert!(chunks.remove(&caller, inode, &layout(), length as u64).unwrap() < 0, "blocks came back");
        assert_eq!(chunks.query_length(&caller, inode, &layout()).unwrap(), 0);
        assert_eq!(chunks.remove(&caller, inode, &layout(), length as u64).unwrap(), 0, "it may be repeated");
    }
}

/// The service knows of a refused write, and of no hole: it cuts to a length that the chunk there does not have.
#[test]
fn cutting_makes_no_chunk_and_none_longer() {
    let cluster = Cluster::start();
    let client = cluster.client();
    let (caller, chunks) = (Caller::default(), client.chunks());
    let mut file = Mirror::new(&client, 3);
    file.write(0, pattern(3, 1000));
    let known = 9 * u64::from(CHUNK);
    for new_length in [1001, 5000, u64::from(CHUNK) + 1, 7 * u64::from(CHUNK) + 5000] {
        let delta = chunks.truncate(&caller, 3, &layout(), Some(known), new_length).unwrap();
        assert_eq!(
            (delta, chunks.query_length(&caller, 3, &layout()).unwrap()),
            (0, 1000),
            "to {new_length}"
        );
    }
    file.check();
}

#[test]
fn a_punched_range_reads_zeros_and_gives_its_room_back() {
    let cluster = Cluster::start();
    let client = cluster.client();
    let (caller, chunks, chunk) = (Caller::default(), client.chunks(), CHUNK as usize);
    for (inode, chunk_count) in [(1u64, 5usize), (2, 40)] {
        let mut file = Mirror::new(&client, inode);
        let length = chunk_count * chunk - 100;
        file.write(0, pattern(inode, length));
        let punch = |from: usize, count: usize| {
            chunks.punch(&caller, inode, &layout(), from as u64, count as u64).unwrap()
        };
        // Inside a block, a block, over a boundary of chunks, nearly everything, and what is punched already.
        let ranges =
            [(10, 20), (8192, 4096), (chunk - 5000, 10_000), (4097, length - 8200), (4097, length - 8200)];
        for (place, (from, count)) in ranges.into_iter().enumerate() {
            let given_back = -punch(from, count);
            file.bytes[from..from + count].fill(0);
            file.check();
            let first_time = place + 1 < ranges.len();
            assert_eq!(given_back > 0, first_time && count >= 4096, "{given_back} of {from}+{count}");
        }
        // The first and the last two blocks are left: the range touches each of them in part.
        let kept = 2 * 4096 + 2 * 4096;
        assert_eq!(-punch(0, length), kept);
        file.bytes.fill(0);
        assert_eq!(
            chunks.query_length(&caller, inode, &layout()).unwrap(),
            length as u64,
            "the length stays"
        );
        file.write(3 * chunk + 5, pattern(9, 500));
        file.check();
        // Where nothing is, nothing is made.
        let behind = (100 * chunk, 30 * chunk);
        assert_eq!((punch(behind.0, 10), punch(behind.0, behind.1)), (0, 0));
        assert_eq!(chunks.query_length(&caller, inode, &layout()).unwrap(), length as u64);
    }
    let refused = chunks.punch(&caller, 1, &layout(), u64::MAX, 2).unwrap_err();
    assert_eq!(refused.code, Code::FileTooLarge);
}

#[test]
fn overlapping_writes_apply_in_the_order_of_their_calls() {
    let cluster = Cluster::start();
    let client = cluster.client();
    let mut file = Mirror::new(&client, INODE);
    let (sender, done) = mpsc::channel();
    let count = 400;
    for number in 0..count {
        let offset = (number * 997) % (3 * CHUNK as usize);
        let data = pattern(number as u64, 20_000);
        file.keep(offset, &data);
        let sender = sender.clone();
        let told = move |result| sender.send(result).unwrap();
        file.chunks.write(INODE, &layout(), offset as u64, vec![Bytes::from(data)], told);
    }
    for _ in 0..count {
        done.recv().unwrap().unwrap();
    }
    file.check();
}

#[test]
fn more_writes_than_channels_and_memory_all_arrive() {
    let cluster = Cluster::start();
    let config = client::Config { write_bytes_max: 100_000, ..cluster.config() };
    let client = client::Client::connect_over(cluster.transport.clone(), config).unwrap();
    let mut file = Mirror::new(&client, INODE);
    let (sender, done) = mpsc::channel();
    // One chunk in CHAINS, so that all go to one chain: 300 small ones for 64 channels, and one larger than
    // the budget.
    let stride = (CHUNK * CHAINS) as usize;
    let mut writes: Vec<(usize, Vec<u8>)> = (0..300).map(|n| (n * stride, pattern(n as u64, 1000))).collect();
    writes.push((0, pattern(5, 150_000)));
    let count = writes.len();
    for (offset, data) in writes {
        file.keep(offset, &data);
        let sender = sender.clone();
        let told = move |result| sender.send(result).unwrap();
        // Of one chain half of all; the large one alone.
        let most = if data.len() > 100_000 { 150_000 } else { 50_000 };
        file.chunks.write(INODE, &layout(), offset as u64, vec![Bytes::from(data)], told);
        assert!(client.figures().write_bytes_in_flight <= most);
    }
    for _ in 0..count {
        done.recv().unwrap().unwrap();
    }
    file.check();
    assert_eq!(client.figures().write_bytes_in_flight, 0);
}

#[test]
fn locate_names_the_nodes_of_each_chunk() {
    let cluster = Cluster::start();
    let client = cluster.client();
    let chunks = client.chunks();
    let size = u64::from(CHUNK);
    let located = chunks.locate(&Caller::default(), &layout(), size / 2, 4 * size).unwrap();
    let ranges: Vec<(u64, u64)> = located.iter().map(|place| (place.offset, place.length)).collect();
    let half = size / 2;
    assert_eq!(ranges, [(half, half), (size, size), (2 * size, size), (3 * size, size), (4 * size, half)]);
    for (index, place) in located.iter().enumerate() {
        // The layout begins on the table's second chain.
        let chain = (1 + index as u32) % CHAINS + 1;
        assert_eq!(place.nodes.len(), 3);
        assert_eq!(place.nodes[0].0, cluster.manager.head(chain));
    }
}

#[test]
fn space_counts_every_copy_once() {
    let cluster = Cluster::start();
    let client = cluster.client();
    let caller = Caller::default();
    let before = client.chunks().space(&caller).unwrap();
    let length = 40 * CHUNK as usize;
    Mirror::new(&client, INODE).write(0, pattern(1, length));
    let space = || client.chunks().space(&caller).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    // Servers answer what their disks said last, a moment ago: nobody's question waits for a disk.
    let mut after = space();
    while after.used_bytes < before.used_bytes + length as u64 && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(50));
        after = space();
    }
    let used = after.used_bytes - before.used_bytes;
    assert!(used >= length as u64 && used < 2 * length as u64, "{used}");
    assert!(after.capacity_bytes > after.used_bytes);
}

#[test]
fn a_client_of_another_cluster_or_without_a_manager_is_told_why() {
    let cluster = Cluster::start();
    let nobody = client::Config {
        managers: vec!["127.0.0.1:1".into()],
        connect_timeout: std::time::Duration::from_millis(200),
        ..cluster.config()
    };
    let error = client::Client::connect_over(cluster.transport.clone(), nobody).err().unwrap();
    assert_eq!(error.code, Code::Unreachable);
    assert!(error.detail.contains("127.0.0.1:1"), "{error}");
    // A refusal is told at once, not after half a minute.
    let other = client::Config { cluster: "other".into(), ..cluster.config() };
    let error = client::Client::connect_over(cluster.transport.clone(), other).err().unwrap();
    assert_eq!(error.code, Code::WrongCluster);
    for level in [0, wire::feature_level::FEATURE_LEVEL + 1] {
        cluster.manager.speak(level);
        let soon =
            client::Config { connect_timeout: std::time::Duration::from_millis(200), ..cluster.config() };
        let error = client::Client::connect_over(cluster.transport.clone(), soon).err().unwrap();
        assert!(error.detail.contains("feature level"), "{error}");
    }
    cluster.manager.speak(wire::feature_level::FEATURE_LEVEL);
    let names = client::Config {
        without_names: false,
        connect_timeout: std::time::Duration::from_millis(200),
        ..cluster.config()
    };
    let error = client::Client::connect_over(cluster.transport.clone(), names).err().unwrap();
    assert!(error.detail.contains("no metadata service"), "{error}");
}

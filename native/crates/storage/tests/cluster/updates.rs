//! Reading and writing without faults.

use crate::client::{CHUNK_SIZE, Change};
use crate::harness::{CHAINS, Cluster, Model, chain_of, chunk, pattern};
use std::sync::Arc;
use std::time::Duration;
use transport::{InProcessTransport, TcpTransport, Transport, call_wait};
use wire::Code;
use wire::message::ReadRequest;

fn every_kind_of_update(transport: Arc<dyn Transport>) {
    let cluster = Cluster::start_on(transport);
    let client = cluster.client(1);
    let mut model = Model::default();
    for index in 0..8 {
        model.change(&client, index, &Change::write(0, pattern(index, CHUNK_SIZE as usize)));
    }
    model.change(&client, 0, &Change::write(5000, pattern(100, 4096)));
    model.change(&client, 1, &Change::write(0, pattern(101, 300_000)));
    model.change(&client, 2, &Change::truncate(70_001));
    model.change(&client, 2, &Change::write(90_000, pattern(102, 10)));
    model.change(&client, 3, &Change::truncate(0));
    model.change(&client, 4, &Change::remove());
    model.change(&client, 5, &Change::remove());
    model.change(&client, 5, &Change::write(17, pattern(103, 100)));
    for piece in 0..20u32 {
        model.change(&client, 9, &Change::write(piece * 3001, pattern(u64::from(piece), 3001)));
    }
    model.change(&client, 10, &Change::truncate(12_345));
    model.change(&client, 11, &Change::remove());
    // A part of a block, whole blocks, over the chunk's end; in a chunk that is gone, and in one that never was.
    model.change(&client, 6, &Change::punch(10, 100));
    model.change(&client, 6, &Change::punch(5000, 300_000));
    model.change(&client, 6, &Change::write(6000, pattern(104, 10)));
    model.change(&client, 2, &Change::punch(80_000, CHUNK_SIZE - 80_000));
    model.change(&client, 4, &Change::punch(0, 10));
    model.change(&client, 12, &Change::punch(0, CHUNK_SIZE));
    model.0.insert(99, Vec::new());
    model.check(&client);
    let answer = client.update(chain_of(9), 0, chunk(9), &Change::write(0, pattern(1, 10))).unwrap();
    assert_eq!((answer.chunk_length, answer.version.unwrap().number), (60_020, 21));
}

#[test]
fn every_kind_of_update_over_tcp() {
    every_kind_of_update(Arc::new(TcpTransport::new()));
}

#[test]
fn every_kind_of_update_in_process() {
    every_kind_of_update(Arc::new(InProcessTransport::new()));
}

#[test]
fn a_flush_reaches_every_member() {
    let cluster = Cluster::start();
    let client = cluster.client(1);
    client.update(1, 0, chunk(0), &Change::write(0, pattern(1, 100_000))).unwrap();
    let before: Vec<u64> = (1..=3).map(|node| cluster.metric(node, "storage_flushes_total")).collect();
    for _ in 0..20 {
        client.flush(1).unwrap();
    }
    for node in 1..=3u32 {
        let flushes = cluster.metric(node, "storage_flushes_total") - before[node as usize - 1];
        assert!(flushes >= 20, "node {node} flushed {flushes} times");
    }
}

#[test]
fn an_update_that_says_so_is_flushed_on_every_member_before_the_answer() {
    let cluster = Cluster::start();
    let client = cluster.client(1);
    let flushes = || (1..=3).map(|node| cluster.metric(node, "storage_flushes_total")).collect::<Vec<u64>>();
    client.update(1, 0, chunk(0), &Change::write(0, pattern(1, 10_000))).unwrap();
    let before = flushes();
    for round in 0..20u64 {
        let change = Change { flush: true, ..Change::write(0, pattern(round, 10_000)) };
        client.update(1, 0, chunk(0), &change).unwrap();
    }
    let after = flushes();
    assert!(before.iter().zip(&after).all(|(before, after)| after - before >= 20), "{before:?} {after:?}");
}

#[test]
fn requests_that_nobody_may_send_are_refused() {
    let cluster = Cluster::start();
    let client = cluster.client(1);
    let tag = client.tag(1, 0);
    // On a slow machine a lease of a second may run out, and come back; perhaps with a new version.
    let passes =
        |error: &wire::Error| matches!(error.code, Code::NotServing | Code::TimedOut | Code::Unreachable);
    let attempt = |change: &Change| loop {
        match client.try_update(tag, 1, chunk(0), change) {
            // Its servers came one after another, so the chain may come into its preferred order just now, too.
            Err(error) if error.code.retryable() => {}
            result => return result.map(drop),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let code = |change: &Change| attempt(change).unwrap_err().code;
    let good = Change::write(0, pattern(1, 100));
    let too_long = Change { length: 200, ..good.clone() };
    assert_eq!(code(&too_long), Code::InvalidArgument);
    let beyond = Change { offset: CHUNK_SIZE - 99, ..good.clone() };
    assert_eq!(code(&beyond), Code::InvalidArgument);
    let odd = Change::truncate(CHUNK_SIZE + 1);
    assert_eq!(code(&odd), Code::InvalidArgument);
    attempt(&good).unwrap();
    assert_eq!(client.read(1, chunk(0)).unwrap(), pattern(1, 100));

    // The wrong version of the chain, no such chain, a read longer than any chunk.
    let address = cluster.servers[&1].address();
    let handler = Arc::new(transport::EchoHandler::new());
    let connection = cluster.transport.connect(address, Duration::from_secs(5), handler).unwrap();
    // Under a version of the chain that is `older` by so much than the current one.
    let read = |chain: u32, older: u64, length: u32| loop {
        let (version, chunk) = (client.serving(1).0, Some(chunk(0).into()));
        let request =
            ReadRequest { chain, chain_version: version - older, chunk, length, ..Default::default() };
        let result = call_wait(&*connection, request, Vec::new(), Duration::from_secs(5));
        if client.serving(1).0 == version && !result.as_ref().is_err_and(passes) {
            return result.map(drop).map_err(|error| error.code);
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(read(1, 0, 10), Ok(()));
    assert_eq!(read(1, 1, 10), Err(Code::WrongChainVersion));
    assert_eq!(read(CHAINS + 1, 0, 10), Err(Code::NoChain));
    assert_eq!(read(1, 0, u32::MAX), Err(Code::InvalidArgument));
}

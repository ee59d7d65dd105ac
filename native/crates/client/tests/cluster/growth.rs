//! Files that were made before a chain table grew and after: each is found by the version of its own layout, also by a
//! client that has not heard of the growth.

use crate::harness::{CHUNK, Cluster, INODE, layout, pattern};
use bytes::Bytes;
use client::{Caller, Chunks, Client, Config};
use std::time::Duration;
use wire::message::{ChainTable, Layout};
use wire::{Code, Result};

/// The table after `version - 1` growths: two chains at first, then four.
fn table(version: u32) -> ChainTable {
    let lengths = (1..version).map(|earlier| if earlier == 1 { 2 } else { 4 }).collect();
    let chains = if version == 1 { vec![1, 2] } else { vec![1, 2, 3, 4] };
    ChainTable { id: 1, version, chains, lengths }
}

fn made_with(table_version: u32) -> Layout {
    Layout { table_version, ..layout() }
}

const LENGTH: usize = 7 * CHUNK as usize + 100;

fn write(chunks: &Chunks, inode: u64, layout: &Layout) -> Result<()> {
    let data = vec![Bytes::from(pattern(inode, LENGTH))];
    chunks.write_wait(&Caller::default(), inode, layout, 0, data)
}

fn flush(chunks: &Chunks, layout: &Layout, length: u64) -> Result<()> {
    let (told, flushed) = std::sync::mpsc::channel();
    chunks.flush(layout, length, move |result| told.send(result).expect("it is waited for"));
    flushed.recv().expect("a flush ends")
}

fn check(chunks: &Chunks, inode: u64, layout: &Layout) {
    let rope = chunks.read_wait(&Caller::default(), inode, layout, 0, LENGTH as u64).unwrap();
    assert!(rope.concat() == pattern(inode, LENGTH), "inode {inode} of version {}", layout.table_version);
}

/// Two clients, and a file that was made before the table grew.
fn grown() -> (Cluster, [std::sync::Arc<Client>; 2]) {
    let cluster = Cluster::start();
    cluster.manager.list(table(1));
    let clients = [cluster.client(), cluster.client()];
    write(&clients[0].chunks(), INODE, &made_with(1)).unwrap();
    cluster.manager.list(table(2));
    (cluster, clients)
}

#[test]
fn files_of_both_versions_are_read_written_cut_and_removed_by_every_client() {
    let (cluster, [one, other]) = grown();
    let (old, new) = (made_with(1), made_with(2));
    write(&one.chunks(), INODE + 1, &new).unwrap();
    let late = cluster.client();
    for client in [&one, &other, &late] {
        check(&client.chunks(), INODE, &old);
        check(&client.chunks(), INODE + 1, &new);
    }
    let caller = Caller::default();
    let chunks = other.chunks();
    for (inode, layout) in [(INODE, &old), (INODE + 1, &new)] {
        // An overwrite lands where the bytes are, not beside them.
        let more = pattern(99, CHUNK as usize);
        let at = 3 * u64::from(CHUNK) + 17;
        chunks.write_wait(&caller, inode, layout, at, vec![Bytes::from(more.clone())]).unwrap();
        let rope = late.chunks().read_wait(&caller, inode, layout, at, more.len() as u64).unwrap();
        assert!(rope.concat() == more);
        flush(&chunks, layout, LENGTH as u64).unwrap();
        assert_eq!(chunks.query_length(&caller, inode, layout), Ok(LENGTH as u64));
        let places = chunks.locate(&caller, layout, 0, LENGTH as u64).unwrap();
        assert!(places.len() == 8 && places.iter().all(|place| place.nodes.len() == 3));
        chunks.truncate(&caller, inode, layout, Some(LENGTH as u64), 5).unwrap();
        assert_eq!(chunks.query_length(&caller, inode, layout), Ok(5));
        chunks.remove(&caller, inode, layout, LENGTH as u64).unwrap();
        assert_eq!(chunks.query_length(&caller, inode, layout), Ok(0));
    }
}

#[test]
fn a_client_that_has_not_heard_of_a_version_asks_for_it_whatever_it_does() {
    let (cluster, [client, _other]) = grown();
    let (chunks, caller) = (client.chunks(), Caller::default());
    let mut version = 2;
    // Only who asks hears of the next version.
    let mut unheard = || {
        version += 1;
        cluster.manager.list_when_asked(table(version));
        assert!(!client.routing().knows(&made_with(version)));
        made_with(version)
    };
    let inode = INODE + 1;
    let before = cluster.manager.asked();
    write(&chunks, inode, &unheard()).unwrap();
    check(&chunks, inode, &unheard());
    flush(&chunks, &unheard(), LENGTH as u64).unwrap();
    assert_eq!(chunks.query_length(&caller, inode, &unheard()), Ok(LENGTH as u64));
    assert_eq!(chunks.locate(&caller, &unheard(), 0, LENGTH as u64).unwrap().len(), 8);
    chunks.truncate(&caller, inode, &unheard(), Some(LENGTH as u64), 5).unwrap();
    chunks.punch(&caller, inode, &unheard(), 0, 5).unwrap();
    chunks.remove(&caller, inode, &unheard(), LENGTH as u64).unwrap();
    assert!(cluster.manager.asked() >= before + 8, "each of them asked");
    assert_eq!(chunks.query_length(&caller, inode, &made_with(2)), Ok(0));
    check(&chunks, INODE, &made_with(1));
}

#[test]
fn a_version_that_nobody_knows_is_given_up_when_the_time_of_the_operation_is_over() {
    let (cluster, _clients) = grown();
    let config = Config { io_timeout: Duration::from_millis(300), ..cluster.config() };
    let client = Client::connect_over(cluster.transport.clone(), config).unwrap();
    let (chunks, caller) = (client.chunks(), Caller::default());
    let wrong = made_with(9);
    let code = |result: Result<()>| result.unwrap_err().code;
    assert_eq!(code(write(&chunks, INODE, &wrong)), Code::NoChain);
    assert_eq!(code(chunks.read_wait(&caller, INODE, &wrong, 0, 10).map(drop)), Code::NoChain);
    assert_eq!(code(flush(&chunks, &wrong, 10)), Code::NoChain);
    assert_eq!(client.figures().write_bytes_in_flight, 0);
    check(&chunks, INODE, &made_with(1));
}

#[test]
fn writes_that_overlap_apply_in_order_though_their_table_comes_between_them() {
    let (cluster, [client, _other]) = grown();
    cluster.manager.list_when_asked(table(3));
    let (chunks, caller, layout) = (client.chunks(), Caller::default(), made_with(3));
    let (sender, told) = std::sync::mpsc::channel();
    for seed in 0..8 {
        let sender = sender.clone();
        let data = vec![Bytes::from(pattern(seed, LENGTH))];
        chunks.write(INODE + 2, &layout, 0, data, move |done| sender.send(done).unwrap());
    }
    (0..8).for_each(|_| told.recv().unwrap().unwrap());
    let rope = chunks.read_wait(&caller, INODE + 2, &layout, 0, LENGTH as u64).unwrap();
    assert!(rope.concat() == pattern(7, LENGTH));
}

//! A lease is counted from the heartbeat that earned it, and comes with the routing or not at all (P2, R4): when it
//! is over, the server answers nobody, although nobody told it anything.

use crate::client::Change;
use crate::harness::{Cluster, chunk, pattern};
use crate::manager::{LEASE_MS, now};
use chain::Time;
use std::time::Duration;
use wire::Code;
use wire::message::ReadRequest;

const CHAIN: u32 = 1;

/// Reads from one server until its lease must be over by this time and for half a lease more. It answered at first.
fn answers_until(cluster: &Cluster, node: u32, read: &ReadRequest, over: Time) {
    let client = cluster.client(2);
    let mut refused = 0;
    loop {
        let begun = now();
        match client.ask(node, read.clone()) {
            // On a busy machine the answer may be late, the question not.
            Ok(_) => assert!(begun < over, "{} µs after its lease", begun.0 - over.0),
            Err(error) => {
                assert_eq!(error.code, Code::NotServing, "{error}");
                refused += u32::from(begun >= over);
            }
        }
        if begun >= over.plus_ms(LEASE_MS / 2) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(refused > 0);
}

/// A server that answers reads, and what is read.
fn prepared() -> (Cluster, u32, ReadRequest) {
    let cluster = Cluster::start();
    let client = cluster.client(1);
    client.update(CHAIN, 0, chunk(0), &Change::write(0, pattern(1, 1000))).unwrap();
    let (chain_version, members) = client.serving(CHAIN);
    let (chunk, length) = (Some(chunk(0).into()), 1000);
    let read = ReadRequest { chain: CHAIN, chain_version, chunk, length, verify: true, ..Default::default() };
    client.ask(members[1].node, read.clone()).unwrap();
    (cluster, members[1].node, read)
}

#[test]
fn a_lease_counts_from_the_heartbeat_and_not_from_its_answer() {
    let (cluster, node, read) = prepared();
    let late = Duration::from_millis(LEASE_MS * 3 / 4);
    let heard = cluster.manager.grant_once_more(node, late);
    answers_until(&cluster, node, &read, heard.plus_ms(LEASE_MS));
}

#[test]
fn a_lease_without_the_routing_that_belongs_to_it_is_none() {
    let (cluster, node, read) = prepared();
    let since = cluster.manager.grant_unfit(node);
    // The last one that counts was earned before.
    answers_until(&cluster, node, &read, since.plus_ms(LEASE_MS));
}

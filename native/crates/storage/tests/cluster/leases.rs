//! A lease is counted from the heartbeat that earned it, and comes with the routing or not at all (P2, R4): when it
//! is over, the server answers nobody, although nobody told it anything.

use crate::client::Change;
use crate::hanging_disk::Gate;
use crate::harness::{Cluster, chunk, pattern};
use crate::manager::{LEASE_MS, now};
use chain::Time;
use std::sync::Arc;
use std::time::Duration;
use transport::TcpTransport;
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
fn prepared(cluster: &Cluster) -> (u32, ReadRequest) {
    let client = cluster.client(1);
    client.update(CHAIN, 0, chunk(0), &Change::write(0, pattern(1, 1000))).unwrap();
    let (chain_version, members) = client.serving(CHAIN);
    let (chunk, length) = (Some(chunk(0).into()), 1000);
    let read = ReadRequest { chain: CHAIN, chain_version, chunk, length, verify: true, ..Default::default() };
    client.ask(members[1].node, read.clone()).unwrap();
    (members[1].node, read)
}

#[test]
fn a_lease_counts_from_the_heartbeat_and_not_from_its_answer() {
    let cluster = Cluster::start();
    let (node, read) = prepared(&cluster);
    let late = Duration::from_millis(LEASE_MS * 3 / 4);
    let heard = cluster.manager.grant_once_more(node, late);
    answers_until(&cluster, node, &read, heard.plus_ms(LEASE_MS));
}

#[test]
fn a_lease_without_the_routing_that_belongs_to_it_is_none() {
    let cluster = Cluster::start();
    let (node, read) = prepared(&cluster);
    let since = cluster.manager.grant_unfit(node);
    // The last one that counts was earned before.
    answers_until(&cluster, node, &read, since.plus_ms(LEASE_MS));
}

/// The disk answers only when the lease is over, and others may have written by then.
#[test]
fn a_read_that_took_longer_than_the_lease_is_not_answered() {
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    let gates: Vec<Arc<Gate>> = (1..=3).map(|_| Arc::default()).collect();
    for (node, gate) in (1..).zip(&gates) {
        cluster.gates.insert(cluster.disk(node), gate.clone());
    }
    cluster.start_servers();
    let (node, read) = prepared(&cluster);
    let gate = &gates[node as usize - 1];
    cluster.manager.freeze(true);
    std::thread::scope(|scope| {
        let client = cluster.client(2);
        gate.close();
        let asked = scope.spawn(move || client.ask(node, read));
        cluster.manager.be_deaf_to(&[node]);
        let over = now().plus_ms(LEASE_MS);
        while now() < over {
            std::thread::sleep(Duration::from_millis(10));
        }
        gate.open();
        assert_eq!(asked.join().unwrap().map(drop).unwrap_err().code, Code::NotServing);
    });
}

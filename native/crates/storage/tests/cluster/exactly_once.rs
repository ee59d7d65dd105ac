//! Retries, and several attempts at once, change a chunk exactly once: its version's number counts what was
//! applied.

use crate::client::Change;
use crate::harness::{Cluster, check_copies, chunk, pattern};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wire::Code;
use wire::message::UpdateReply;

const ROUNDS: u64 = 120;

#[test]
fn concurrent_attempts_of_one_update_apply_once() {
    let mut cluster = Cluster::start();
    let clients: Vec<_> = (1..=3).map(|number| cluster.client(number)).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (first, stop) = (&clients[0], &stop);
        for client in &clients {
            for channel in 0..2u32 {
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let tag = client.tag(1, channel);
                        let change = Change::write((round * 64) as u32, pattern(round, 64));
                        // Three attempts at a time, each repeated until it is answered.
                        std::thread::scope(|attempts| {
                            for _ in 0..3 {
                                attempts.spawn(|| {
                                    let answer = client.update_as(tag, 1, chunk(0), &change);
                                    // An attempt may come after a later update of its channel only if it was
                                    // slow.
                                    assert!(answer.is_ok(), "{answer:?}");
                                });
                            }
                        });
                    }
                    if channel == 0 && std::ptr::eq(client, first) {
                        stop.store(true, Ordering::SeqCst);
                    }
                });
            }
        }
        // The head goes, another one is the head until it is back, and then whoever it is goes.
        let head = || first.serving(1).1[0].node;
        while !stop.load(Ordering::SeqCst) {
            let node = head();
            cluster.kill(node, true);
            assert_ne!(head(), node, "a new head");
            std::thread::sleep(Duration::from_millis(100));
            cluster.start_server(node);
            cluster.wait_serving(12);
        }
    });
    for member in 0..3 {
        let (reply, payload) = clients[0].read_from(member, 1, chunk(0)).unwrap();
        assert_eq!(reply.version.unwrap().number, 3 * 2 * ROUNDS);
        for round in 0..ROUNDS {
            let at = (round * 64) as usize;
            assert!(payload[at..at + 64] == pattern(round, 64), "round {round}");
        }
    }
    check_copies(&clients[0]);
}

#[test]
fn a_number_is_never_used_for_something_else() {
    let cluster = Cluster::start();
    let client = cluster.client(1);
    let (first, second) = (client.tag(1, 0), client.tag(1, 0));
    let one = Change::write(0, pattern(1, 10));
    let answer = client.update_as(first, 1, chunk(0), &one).unwrap();
    let again = client.update_as(first, 1, chunk(0), &one).unwrap();
    // The room on the disks may have changed meanwhile.
    let result = |reply: UpdateReply| (reply.version, reply.chunk_length, reply.allocated_delta);
    assert_eq!(result(again), result(answer));
    let other = Change::write(0, pattern(2, 10));
    let refused = client.update_as(first, 1, chunk(0), &other).unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    client.update_as(second, 1, chunk(0), &other).unwrap();
    let stale = client.try_update(first, 1, chunk(0), &one).unwrap_err();
    assert_eq!(stale.code, Code::StaleSequence);
    assert_eq!(client.read(1, chunk(0)).unwrap(), pattern(2, 10));
}

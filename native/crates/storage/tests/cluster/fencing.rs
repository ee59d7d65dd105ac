//! A fenced client changes nothing any more (P4): heads refuse it, also those that were not there when it was
//! fenced, and a fence counts as held only when everything that was assigned before is committed.

use crate::client::{Change, TestClient};
use crate::harness::{CHAINS, Cluster, chunk, pattern};
use std::time::Duration;
use wire::{Code, Result};

const PAUSE: Duration = Duration::from_millis(5);

fn wait_held(cluster: &Cluster, chains: std::ops::RangeInclusive<u32>, version: u64) {
    while !chains.clone().all(|chain| cluster.manager.fence_holds(chain, version)) {
        std::thread::sleep(PAUSE);
    }
}

/// What the client's late write gets. Whoever is told to come back for another reason does.
fn late_write(client: &TestClient, chain: u32, refusal: Code) -> Result<()> {
    let late = Change::write(0, pattern(2, 100));
    let tag = client.tag(chain, 0);
    loop {
        match client.try_update(tag, chain, chunk(u64::from(chain)), &late) {
            Err(error) if error.code == refusal => return Err(error),
            Err(error) if error.code.retryable() => std::thread::sleep(PAUSE),
            result => return result.map(drop),
        }
    }
}

#[test]
fn heads_refuse_a_fenced_client_also_when_they_did_not_hear_of_the_fence() {
    let mut cluster = Cluster::start();
    let (client, other) = (cluster.client(1), cluster.client(2));
    for chain in 1..=CHAINS {
        client.update(chain, 0, chunk(u64::from(chain)), &Change::write(0, pattern(1, 100))).unwrap();
    }
    let version = cluster.manager.fence(1);
    wait_held(&cluster, 1..=CHAINS, version);
    let refused = |refusal: Code| {
        for chain in 1..=CHAINS {
            assert_eq!(late_write(&client, chain, refusal).unwrap_err().code, refusal);
            assert_eq!(other.read(chain, chunk(u64::from(chain))).unwrap(), pattern(1, 100));
        }
    };
    refused(Code::Fenced);
    // Every server starts again: none of them has ever seen the client live.
    (1..=3).for_each(|node| cluster.kill(node, true));
    (1..=3).for_each(|node| cluster.start_server(node));
    cluster.wait_serving(3 * CHAINS as usize);
    wait_held(&cluster, 1..=CHAINS, version);
    refused(Code::Busy);
    other.update(1, 0, chunk(1), &Change::write(0, pattern(3, 100))).unwrap();
    assert_eq!(other.read(1, chunk(1)).unwrap(), pattern(3, 100));
}

#[test]
fn a_fence_holds_when_what_the_head_assigned_is_committed() {
    let mut cluster = Cluster::start();
    let (client, other) = (cluster.client(1), cluster.client(2));
    client.update(1, 0, chunk(0), &Change::write(0, pattern(1, 100))).unwrap();
    let (_, members) = client.serving(1);
    let (head, tail) = (members[0], members[2]);
    // Nobody takes the tail out: what the head assigns from now on cannot be committed.
    cluster.manager.freeze(true);
    cluster.kill(tail.node, false);
    let tag = client.tag(1, 1);
    let answer = client.try_update(tag, 1, chunk(0), &Change::write(0, pattern(2, 100)));
    assert_eq!(answer.unwrap_err().code, Code::TimedOut);
    let version = cluster.manager.fence(1);
    let before = cluster.manager.reports(head.target);
    while cluster.manager.reports(head.target) < before + 5 {
        assert!(!cluster.manager.fence_holds(1, version));
        std::thread::sleep(PAUSE);
    }
    cluster.manager.freeze(false);
    wait_held(&cluster, 1..=1, version);
    assert_eq!(other.read(1, chunk(0)).unwrap(), pattern(2, 100));
    // A retry that comes after the fence is refused, whatever became of the first attempt.
    let retry = client.try_update(tag, 1, chunk(0), &Change::write(0, pattern(2, 100)));
    assert_eq!(retry.unwrap_err().code, Code::Fenced);
}

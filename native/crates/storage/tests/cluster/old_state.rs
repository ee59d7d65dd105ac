//! The manager's state is put back from a copy that is older than a move (P3): it names the old places, which are
//! empty, and not the new ones.

use crate::change::{folders, is_whole, replace};
use crate::client::{Change, TestClient};
use crate::harness::{CHAINS, Cluster, Model, chunk, pattern};
use crate::manager::LEASE_MS;
use std::sync::Arc;
use std::time::Duration;
use transport::TcpTransport;
use wire::message::{Chain, ChainHold, ChainOrder};

/// Everything was moved from server 1 to server 4 since the copy was made, and written since.
fn moved() -> (Cluster, TestClient, Model, Vec<Chain>) {
    let mut cluster = Cluster::start();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..40).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 30_000))));
    let copy = cluster.manager.chains();
    cluster.start_server(4);
    replace(&cluster, 1, 4, 1);
    while !is_whole(&cluster, [2, 3, 4]) || !folders(&cluster, 1).is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    (0..40).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index + 50, 30_000))));
    (cluster, client, model, copy)
}

fn wait_whole(cluster: &Cluster) {
    while !is_whole(cluster, [2, 3, 4]) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn all(cluster: &Cluster, hold: ChainHold) -> bool {
    cluster.manager.holds().iter().all(|found| *found == hold)
}

#[test]
fn what_running_servers_know_is_adopted_and_nothing_is_lost() {
    let (cluster, client, mut model, copy) = moved();
    cluster.manager.restore(copy);
    wait_whole(&cluster);
    while !all(&cluster, ChainHold::HoldNone) {
        std::thread::sleep(Duration::from_millis(10));
    }
    (0..40).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index + 90, 30_000))));
    model.check(&client);
    // It was told to be a member, and is none.
    while !folders(&cluster, 1).is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nothing_is_removed_or_served_until_all_who_may_know_more_are_there() {
    let (mut cluster, client, model, copy) = moved();
    // As old as their last role was what they knew if it was not stored at once.
    (1..=4).for_each(|node| cluster.kill(node, false));
    cluster.manager.restore(copy);
    for node in [1, 2, 3] {
        cluster.start_server(node);
        std::thread::sleep(Duration::from_millis(50));
    }
    while !all(&cluster, ChainHold::HoldFrozen) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Longer than server 4 is waited for where it cannot know more, and than the grace of an outage.
    let frozen = cluster.manager.chains();
    std::thread::sleep(Duration::from_millis(3 * LEASE_MS));
    assert_eq!(cluster.manager.chains(), frozen, "no version is given while one is known that is newer");
    for node in [2, 3] {
        assert_eq!(folders(&cluster, node).len(), CHAINS as usize, "node {node}");
    }
    for member in 0..3 {
        let read = client.try_read_from(member, 1, chunk(0), (0, 4096));
        assert!(read.is_err(), "nobody may serve: {read:?}");
    }
    cluster.start_server(4);
    wait_whole(&cluster);
    model.check(&client);
    while !folders(&cluster, 1).is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// It has counted up, with nobody there who knew better, to the very numbers that others know and beyond.
#[test]
fn the_same_number_of_another_history_is_not_believed() {
    let (mut cluster, client, model, copy) = moved();
    (1..=4).for_each(|node| cluster.kill(node, false));
    let newest = cluster.manager.chains().iter().map(|chain| chain.version).max().unwrap();
    cluster.manager.restore(copy);
    // Of those that serve in the old state only the emptied one is heard, and the others count as gone.
    cluster.start_server(1);
    while !all(&cluster, ChainHold::HoldNone) {
        std::thread::sleep(Duration::from_millis(10));
    }
    for chain in cluster.manager.chains() {
        let mut preferred = chain.preferred.clone();
        while cluster.manager.chain(chain.id).version <= newest + 2 {
            preferred.rotate_left(1);
            cluster
                .manager
                .order(chain.id, ChainOrder { preferred: preferred.clone(), ..ChainOrder::default() });
        }
    }
    for node in [4, 3, 2] {
        cluster.start_server(node);
        std::thread::sleep(Duration::from_millis(LEASE_MS / 2));
        assert_eq!(folders(&cluster, node).len(), CHAINS as usize, "node {node}");
    }
    wait_whole(&cluster);
    model.check(&client);
}

/// A disk that a target left still knows its chain as it was then.
#[test]
fn of_a_target_that_cannot_be_opened_the_newest_is_told_that_any_disk_knows() {
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 2);
    cluster.start_servers();
    // Chain 1 lies on disk 1.
    let known = |cluster: &Cluster, disk| cluster.disk_at(2, disk).join("chains");
    let old = std::fs::read(known(&cluster, 1)).unwrap();
    cluster.kill(3, true);
    cluster.start_server(3);
    cluster.wait_serving(3 * CHAINS as usize);
    let chain = cluster.manager.chain(1);
    let member = chain.members.iter().find(|member| member.node == 2).unwrap();
    let folder = cluster.disk_at(2, 1).join(format!("target-{}", member.target));
    let server = cluster.servers.remove(&2).unwrap();
    server.stop().unwrap();
    drop(server);
    std::fs::write(known(&cluster, 0), old).unwrap();
    std::fs::write(folder.join("data/catalog.redb"), b"no catalogue").unwrap();
    cluster.start_server(2);
    let told = |cluster: &Cluster| {
        let told = cluster.manager.told(2);
        told.iter().find(|told| told.id == 1).map_or(0, |told| told.version)
    };
    cluster.wait_serving(3 * CHAINS as usize - 1);
    assert!(told(&cluster) >= chain.version, "{} and not {}", told(&cluster), chain.version);
    let reports = cluster.servers[&2].targets();
    let report = reports.iter().find(|report| report.target == member.target).unwrap();
    assert!(report.disk_error && report.known_version >= chain.version, "{report:?}");
}

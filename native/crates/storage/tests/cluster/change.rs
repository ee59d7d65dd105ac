//! Members change by order, under load: the new one gets everything, the old one's data go.

use crate::client::Change;
use crate::harness::{CHAINS, Cluster, Model, chunk, pattern};
use std::time::Duration;
use wire::message::{ChainOrder, Member, PublicState};

/// The target on this node takes the place of that one, in every chain.
pub fn replace(cluster: &Cluster, leaves: u32, joins: u32, number: u32) {
    for chain in 1..=CHAINS {
        let member = cluster.manager.chain(chain).members.into_iter().find(|member| member.node == leaves);
        let target = u64::from(number * 1000 + chain * 10 + joins);
        let join = Member { target, node: joins, ..Member::default() };
        let leaves = vec![member.expect("a member to replace").target];
        cluster.manager.order(chain, ChainOrder { joins: vec![join], leaves, ..ChainOrder::default() });
    }
}

pub fn is_whole(cluster: &Cluster, nodes: [u32; 3]) -> bool {
    cluster.manager.chains().iter().all(|chain| {
        let mut found: Vec<u32> = chain.members.iter().map(|member| member.node).collect();
        found.sort_unstable();
        let serves = chain.members.iter().all(|member| member.state() == PublicState::PublicServing);
        serves && found == nodes
    })
}

pub fn folders(cluster: &Cluster, node: u32) -> Vec<String> {
    let entries = std::fs::read_dir(cluster.disk(node)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("target-") || name.starts_with("removed-")).collect()
}

#[test]
fn members_move_to_a_new_server_under_load_and_nothing_is_left_behind() {
    let mut cluster = Cluster::start();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..40).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 60_000))));
    cluster.start_server(4);
    replace(&cluster, 1, 4, 1);
    let mut round = 0u64;
    while !is_whole(&cluster, [2, 3, 4]) {
        round += 1;
        let change = Change::write((round * 131 % 60_000) as u32, pattern(round, 4096));
        model.change(&client, round % 40, &change);
        let serving = |chain: &wire::message::Chain| {
            chain.members.iter().filter(|member| member.state() == PublicState::PublicServing).count()
        };
        assert!(cluster.manager.chains().iter().all(|chain| serving(chain) >= 3), "never fewer copies");
    }
    model.check(&client);
    while !folders(&cluster, 1).is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // And back, to a server that has nothing left, while the one that leaves is dead.
    cluster.kill(4, true);
    replace(&cluster, 4, 1, 2);
    while !is_whole(&cluster, [1, 2, 3]) {
        round += 1;
        model.change(&client, round % 40, &Change::write(0, pattern(round, 9000)));
    }
    model.check(&client);
    assert_eq!(folders(&cluster, 4).len(), CHAINS as usize, "a dead server keeps its files");
    cluster.start_server(4);
    while !folders(&cluster, 4).is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    model.check(&client);
}

#[test]
fn an_emptied_disk_in_its_old_place_is_filled_again() {
    let mut cluster = Cluster::start();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..40).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 30_000))));
    // The server dies with its disk, and comes back with an empty one: as other targets, by order.
    let disk = cluster.disk(2);
    cluster.kill(2, true);
    std::fs::rename(&disk, disk.with_extension("failed")).unwrap();
    replace(&cluster, 2, 2, 1);
    cluster.start_server(2);
    while !is_whole(&cluster, [1, 2, 3]) {
        model.change(&client, 3, &Change::write(0, pattern(3, 9000)));
    }
    model.check(&client);
    assert!(client.read_from(0, 1, chunk(0)).is_ok());
    // What it holds now is found by its next process.
    cluster.kill(2, true);
    cluster.start_server(2);
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
}

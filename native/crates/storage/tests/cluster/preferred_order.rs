//! After failures the members come back into their preferred order by themselves, under load: nothing is lost
//! or copied for it, and all copies serve all the time.

use crate::client::{Change, PATIENCE};
use crate::harness::{CHAINS, Cluster, Model, pattern};
use std::time::Instant;
use wire::message::{Chain, PublicState};

fn order(chain: &Chain) -> Vec<u64> {
    chain.members.iter().map(|member| member.target).collect()
}

fn all_serve(chain: &Chain) -> bool {
    chain.members.iter().all(|member| member.state() == PublicState::PublicServing)
}

fn resync_bytes(cluster: &Cluster) -> u64 {
    cluster.servers.keys().map(|node| cluster.metric(*node, "storage_resync_bytes_total")).sum()
}

#[test]
fn after_each_death_of_a_head_the_heads_are_where_they_were_placed() {
    let mut cluster = Cluster::start();
    let client = cluster.client(1);
    let mut model = Model::default();
    let mut round = 0u64;
    let mut change = |model: &mut Model| {
        round += 1;
        // Every chunk is changed again and again, and those of one chain one right after the other.
        let index = round / 8 % 10 * u64::from(CHAINS) + round % u64::from(CHAINS);
        model.change(&client, index, &Change::write((round * 131 % 50_000) as u32, pattern(round, 4096)));
    };
    (0..200).for_each(|_| change(&mut model));
    for node in 1..=3 {
        let heads: Vec<u32> = cluster.manager.chains().iter().map(|chain| chain.members[0].node).collect();
        cluster.kill(node, true);
        (0..50).for_each(|_| change(&mut model));
        let moved = cluster.manager.chains().iter().filter(|chain| chain.members[0].node == node).count();
        assert_eq!(moved, 0, "a dead server is no head");
        cluster.start_server(node);
        let mut copied = None;
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "the chains come back into their order");
            change(&mut model);
            let chains = cluster.manager.chains();
            let serving = chains.iter().all(all_serve);
            assert!(chains.iter().all(|chain| !chain.reordering || all_serve(chain)));
            if serving && copied.is_none() {
                copied = Some(resync_bytes(&cluster));
            }
            if serving && chains.iter().all(|chain| order(chain) == chain.preferred) {
                break;
            }
        }
        assert_eq!(Some(resync_bytes(&cluster)), copied, "nothing is copied to change places");
        let now: Vec<u32> = cluster.manager.chains().iter().map(|chain| chain.members[0].node).collect();
        assert_eq!(now, heads);
        (0..50).for_each(|_| change(&mut model));
        model.check(&client);
    }
}

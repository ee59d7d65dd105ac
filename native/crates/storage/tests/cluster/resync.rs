//! What a returning member is sent: what changed, not more, however often it is interrupted.

use crate::client::{Change, TestClient};
use crate::harness::{CHAINS, Cluster, Model, pattern};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use transport::TcpTransport;
use wire::message::PublicState;

fn sent_bytes(cluster: &Cluster) -> u64 {
    cluster.servers.keys().map(|node| cluster.metric(*node, "storage_resync_bytes_total")).sum()
}

/// Changes about half of the chunks; the bytes of those that are there afterwards.
fn change_some(model: &mut Model, client: &TestClient, salt: u64) -> u64 {
    let mut changed = BTreeSet::new();
    for round in 0..200u64 {
        let index = (round * 37 + salt) % 400;
        let change = match round % 9 {
            0 => Change::remove(),
            1 => Change::truncate((round * 500 % 40_000) as u32),
            2 => Change::punch((round * 300 % 20_000) as u32, 9000),
            3 => Change::write(100, pattern(round, 4096)),
            _ => Change::write(0, pattern(round + salt, 60_000)),
        };
        model.change(client, index, &change);
        changed.insert(index);
    }
    assert!(changed.len() >= 150);
    changed.iter().map(|index| model.0[index].len() as u64).sum()
}

#[test]
fn only_changed_chunks_are_copied_also_with_kills_in_between() {
    let mut cluster = Cluster::start();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..400).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 30_000))));
    cluster.kill(2, true);
    let changed_bytes = change_some(&mut model, &client, 1000);
    let before = sent_bytes(&cluster);
    cluster.start_server(2);
    cluster.wait_serving(3 * CHAINS as usize);
    let sent = sent_bytes(&cluster) - before;
    assert!(sent > 0 && sent as f64 <= 1.2 * changed_bytes as f64, "{sent} for {changed_bytes}");
    model.check(&client);

    cluster.kill(2, true);
    let changed_bytes = change_some(&mut model, &client, 2000);
    let before = sent_bytes(&cluster);
    // Three lives end in the middle of the resync, the fourth one ends it.
    for part in 1..=3 {
        cluster.start_server(2);
        let begun = || sent_bytes(&cluster) - before >= changed_bytes * part / 5;
        while !begun() && cluster.manager.serving() < 3 * CHAINS as usize {
            std::thread::sleep(Duration::from_millis(1));
        }
        cluster.kill(2, true);
    }
    cluster.start_server(2);
    cluster.wait_serving(3 * CHAINS as usize);
    let sent = sent_bytes(&cluster) - before;
    // What was on its way to a life that ended is sent again: a few chunks of each chain each time.
    let interrupted = 3 * u64::from(CHAINS) * 4 * 60_000;
    assert!(sent as f64 <= 1.2 * changed_bytes as f64 + interrupted as f64, "{sent} for {changed_bytes}");
    model.check(&client);
    let before = sent_bytes(&cluster);
    cluster.kill(2, true);
    cluster.start_server(2);
    cluster.wait_serving(3 * CHAINS as usize);
    assert_eq!(sent_bytes(&cluster), before, "nothing changed, nothing is sent");
}

const LARGE: usize = 1 << 20;

/// All chains have one chunk of 1 MiB that node 3 does not have; nothing else is written. It starts again with an
/// empty disk.
fn large_chunks(adjust: fn(&mut storage::Config)) -> (Cluster, TestClient, Model) {
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    cluster.adjust = adjust;
    cluster.start_servers();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..4 * u64::from(CHAINS))
        .for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, LARGE))));
    cluster.kill(3, true);
    std::fs::remove_dir_all(cluster.disk(3)).unwrap();
    (cluster, client, model)
}

fn is_syncing(cluster: &Cluster, chain: u32) -> bool {
    let members = cluster.manager.chain(chain).members;
    members.iter().any(|member| member.state() == PublicState::PublicSyncing)
}

#[test]
fn a_resync_keeps_to_its_rate_however_large_the_chunks_are() {
    const RATE: usize = 2 * LARGE;
    let (mut cluster, client, model) = large_chunks(|config| config.resync_bytes_per_second = RATE as u64);
    let begun = Instant::now();
    cluster.start_server(3);
    cluster.wait_serving(3 * CHAINS as usize);
    // Of each disk that sends, all but the first chunk is paid for before it goes. Two disks send: the less there
    // is to wait for, the more evenly they share it.
    let paid = 4 * CHAINS as usize * LARGE / 2 - LARGE;
    let least = Duration::from_secs_f64(paid as f64 / RATE as f64) - Duration::from_millis(200);
    assert!(begun.elapsed() >= least, "{:?} is less than {least:?}", begun.elapsed());
    model.check(&client);
}

#[test]
fn a_copy_that_waits_for_its_turn_goes_at_once_when_an_update_waits_for_it() {
    // Longer than any test: a chunk for each day or two.
    let (mut cluster, client, mut model) = large_chunks(|config| config.resync_bytes_per_second = 10);
    cluster.start_server(3);
    while !(1..=CHAINS).all(|chain| is_syncing(&cluster, chain)) {
        std::thread::sleep(Duration::from_millis(10));
    }
    for round in 0..2 {
        (0..4 * u64::from(CHAINS)).for_each(|index| {
            model.change(&client, index, &Change::write(7, pattern(index + 100 + round, 50)));
        });
    }
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
}

#[test]
fn an_update_of_a_chunk_that_the_syncing_member_has_is_sent_as_it_is() {
    // One chunk of each chain is not written to: it is copied in days, and until then its member is syncing.
    let (mut cluster, client, mut model) = large_chunks(|config| config.resync_bytes_per_second = 10);
    let (written, all) = (3 * u64::from(CHAINS), 4 * u64::from(CHAINS));
    cluster.start_server(3);
    while !(1..=CHAINS).all(|chain| is_syncing(&cluster, chain)) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let change = |model: &mut Model, index: u64, round: u64| {
        model.change(&client, index, &Change::write(round as u32 * 5000, pattern(index + round, 50)));
    };
    (0..written).for_each(|index| change(&mut model, index, 0));
    let before = sent_bytes(&cluster);
    assert!(before > 0);
    (1..=10).for_each(|round| (0..written).for_each(|index| change(&mut model, index, round)));
    assert!((1..=CHAINS).all(|chain| is_syncing(&cluster, chain)));
    // The first copy of each of two disks goes unpaid, perhaps just then.
    let more = sent_bytes(&cluster) - before;
    assert!(more <= 4 * LARGE as u64, "{more} bytes of copies for updates of 50");
    (written..all).for_each(|index| change(&mut model, index, 0));
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
}

//! What is only restored, on a full disk (P8): refused with a reason, done when there is room, and the reserve is left
//! to updates.

use crate::client::{Change, TestClient};
use crate::damage::{overwrite, page, places};
use crate::hanging_disk::Gate;
use crate::harness::{CHAINS, Cluster, MemoryDisks, Model, chain_of, chunk, pattern};
use chunk_engine::{Disk, MemoryDisk};
use std::sync::Arc;
use std::time::Duration;
use transport::TcpTransport;
use wire::message::LocalState;

const PAGE: usize = 4096;

fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

fn free_of(disks: &MemoryDisks) -> Vec<u64> {
    disks.lock().values().map(|disk| disk.space().unwrap().free).collect()
}

fn set_free(disks: &MemoryDisks, bytes: u64) {
    for disk in disks.lock().values() {
        let space = disk.space().unwrap();
        disk.set_capacity(space.capacity - space.free + bytes);
    }
}

fn check_reserves(disks: &MemoryDisks) {
    for (folder, disk) in disks.lock().iter() {
        let reserve = disk.open("reserve").unwrap().unwrap();
        assert_eq!(reserve.length().unwrap(), 1 << 20, "of {folder:?}");
    }
}

/// The disk of node 2 can be looked at, those of the others can be made to hang. There is something on them.
fn with_gates() -> (Cluster, MemoryDisks, TestClient, Model) {
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    cluster.adjust = |config| config.disk_timeout = Duration::from_secs(60);
    let disks = MemoryDisks::default();
    cluster.memory_disks.insert(2, disks.clone());
    for node in [1, 3] {
        cluster.gates.insert(cluster.disk(node), Arc::<Gate>::default());
    }
    cluster.start_servers();
    let (client, mut model) = (cluster.client(1), Model::default());
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 20_000))));
    for chain in 1..=CHAINS {
        client.flush(chain).unwrap();
    }
    (cluster, disks, client, model)
}

fn damaged_chunks(cluster: &Cluster) -> u64 {
    cluster.servers[&2].targets().iter().map(|report| report.damaged_chunks).sum()
}

/// Node 2 stores an update over a damaged block of chunk 0, since nobody answers it in time: its books do not name the
/// right bytes any more. Then `meanwhile` lets the others go on.
fn store_over_damage(
    (cluster, disks, client): (&Cluster, &MemoryDisks, &TestClient),
    model: &mut Model,
    meanwhile: impl FnOnce([&Arc<Gate>; 2]),
) {
    let serving = client.serving(chain_of(0)).1;
    assert_eq!(serving[0].node, 2);
    let wanted = &model.0[&0][2 * PAGE..3 * PAGE];
    let place = places(disks).into_iter().find(|place| page(disks, place) == wanted).unwrap();
    overwrite(disks, &place, &[0x5a; PAGE]);
    // In their order.
    let others = [1, 2].map(|place| &cluster.gates[&cluster.disk(serving[place].node)]);
    others.iter().for_each(|gate| gate.close());
    std::thread::scope(|scope| {
        let change = Change::write(2 * PAGE as u32 + 50, pattern(77, 100));
        let updated = scope.spawn(move || model.change(client, 0, &change));
        while cluster.metric(2, "storage_damaged_chunks_total") == 0 {
            pause();
        }
        meanwhile(others);
        updated.join().unwrap();
    });
}

/// The version that is committed is repaired while the one that was stored over damage pends.
#[test]
fn a_chunk_is_repaired_when_the_version_is_that_was_stored_over_damage() {
    let (cluster, disks, client, mut model) = with_gates();
    let mut damaged = 0;
    store_over_damage((&cluster, &disks, &client), &mut model, |[next, last]| {
        // It answers, and stores nothing.
        last.writes.close();
        next.open();
        last.open();
        while client.try_read_from(0, chain_of(0), chunk(0), (2 * PAGE as u32, PAGE as u32)).is_err() {
            pause();
        }
        damaged = damaged_chunks(&cluster);
        last.writes.open();
    });
    assert_eq!(damaged, 1, "of what pends nobody knows anything yet");
    while damaged_chunks(&cluster) > 0 {
        pause();
    }
    model.check(&client);
}

#[test]
fn a_damaged_chunk_is_written_anew_when_there_is_room_without_the_reserve() {
    let (cluster, disks, client, mut model) = with_gates();
    store_over_damage((&cluster, &disks, &client), &mut model, |others| {
        set_free(&disks, 0);
        others.iter().for_each(|gate| gate.open());
    });
    let failed = || cluster.metric(2, "storage_repairs_failed_total");
    // The first attempt may have found nobody who answers.
    let before = failed();
    while failed() < before + 2 {
        pause();
    }
    assert_eq!((damaged_chunks(&cluster), cluster.metric(2, "storage_repaired_chunks_total")), (1, 0));
    assert!(free_of(&disks).iter().all(|free| *free == 0), "nobody has given anything back");
    check_reserves(&disks);
    set_free(&disks, 1 << 20);
    while damaged_chunks(&cluster) > 0 {
        pause();
    }
    check_reserves(&disks);
    model.check(&client);
    assert_eq!(cluster.metric(2, "storage_targets_offline_total"), 0);
}

/// Chunks of each chain, of 200,000 bytes: five of them find room on node 3.
const CHUNKS: u64 = 16;
const ROOM_BYTES: u64 = 5 << 18;

const ALL: u64 = CHUNKS * CHAINS as u64;

/// Node 3 comes back with empty disks that are too small, tries to be synced, and is out of all chains. Nobody who
/// writes meanwhile is refused anything: of chunks that it has, that it was not sent yet, and new ones.
fn without_room(
    cluster: &mut Cluster,
    disks: &MemoryDisks,
    empty_bytes: u64,
    (client, model): (&TestClient, &mut Model),
) {
    cluster.kill(3, true);
    for disk in disks.lock().values_mut() {
        *disk = MemoryDisk::new(empty_bytes + ROOM_BYTES);
    }
    cluster.start_server(3);
    let waits = |cluster: &Cluster| {
        let reports = cluster.servers[&3].targets();
        reports.len() == CHAINS as usize && reports.iter().all(|report| report.missing_bytes > 0)
    };
    let mut rounds = 0;
    while !waits(cluster) {
        // One after another of those that are there, and one of each chain that comes and goes.
        model.change(client, rounds % ALL, &Change::write(4096, pattern(rounds, 1000)));
        let new = ALL + rounds % u64::from(CHAINS);
        model.change(client, new, &Change::write(0, pattern(rounds, 50_000)));
        model.change(client, new, &Change::remove());
        rounds += 1;
    }
    assert!(rounds > 0);
    cluster.wait_serving(2 * CHAINS as usize);
    for report in cluster.servers[&3].targets() {
        assert_eq!(report.state(), LocalState::LocalOffline);
        assert!(!report.disk_error, "it is only full");
    }
    check_reserves(disks);
}

fn versions(cluster: &Cluster) -> u64 {
    cluster.manager.chains().iter().map(|chain| chain.version).sum()
}

/// Each chain syncs it, lets it serve, and comes back into its order at most.
const VERSIONS_OF_A_RETURN: u64 = 4 * CHAINS as u64;

#[test]
fn a_member_whose_copy_does_not_fit_stays_away_until_it_does() {
    let disks = MemoryDisks::default();
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    cluster.memory_disks.insert(3, disks.clone());
    cluster.start_servers();
    let used = |disk: &MemoryDisk| disk.space().map(|space| space.capacity - space.free).unwrap();
    let empty_bytes = disks.lock().values().map(used).max().unwrap();
    let (client, mut model) = (cluster.client(1), Model::default());
    let fill = |model: &mut Model, salt: u64| {
        (0..ALL).for_each(|index| {
            model.change(&client, index, &Change::write(0, pattern(index + salt, 200_000)))
        });
    };
    fill(&mut model, 0);

    // Somebody makes room on its disks.
    without_room(&mut cluster, &disks, empty_bytes, (&client, &mut model));
    let before = versions(&cluster);
    fill(&mut model, 1000);
    model.check(&client);
    set_free(&disks, 64 << 20);
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
    assert!(versions(&cluster) <= before + VERSIONS_OF_A_RETURN, "it came back once");

    // Chunks are removed, among them all that it has: it hears of that before it gets the others.
    without_room(&mut cluster, &disks, empty_bytes, (&client, &mut model));
    let before = versions(&cluster);
    (0..ALL * 3 / 4).for_each(|index| model.change(&client, index, &Change::remove()));
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
    assert!(versions(&cluster) <= before + VERSIONS_OF_A_RETURN, "a removal does not send it away again");
    check_reserves(&disks);
}

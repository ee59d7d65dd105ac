//! Everything dies, or stops, and comes back (P10).

use crate::client::{Change, TestClient};
use crate::harness::{CHAINS, Cluster, MemoryDisks, Model, chain_of, check_copies, chunk, pattern};
use chunk_engine::disk::Fault;
use chunk_engine::{Disk, Engine, MemoryDisk};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::StorageServer;
use transport::TcpTransport;
use wire::Code;
use wire::feature_level::FEATURE_LEVEL;
use wire::message::{LocalState, TargetReport};

fn filled(cluster: &Cluster) -> (TestClient, Model) {
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..12).for_each(|index| model.change(&client, index, &Change::write(9, pattern(index, 200_000))));
    (client, model)
}

fn epochs(cluster: &Cluster) -> Vec<u64> {
    cluster.manager.chains().iter().map(|chain| chain.durability_epoch).collect()
}

/// All targets of the node have heard that they serve, which the manager may know before.
fn until_complete(cluster: &Cluster, node: u32) {
    while !cluster.servers[&node].targets().iter().all(|report| report.complete) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn after_the_death_of_all_processes_everything_acknowledged_is_there() {
    let mut cluster = Cluster::start();
    let (client, mut model) = filled(&cluster);
    let before = epochs(&cluster);
    (1..=3).for_each(|node| cluster.kill(node, true));
    (1..=3).for_each(|node| cluster.start_server(node));
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
    assert_eq!(epochs(&cluster), before, "nothing was lost, and nobody is told so");
    model.change(&client, 0, &Change::write(0, pattern(99, 5000)));
    model.check(&client);
}

#[test]
fn an_orderly_stop_is_as_good_in_another_boot() {
    let mut cluster = Cluster::start();
    let (client, model) = filled(&cluster);
    let before = epochs(&cluster);
    cluster.servers.values().for_each(|server| server.stop().unwrap());
    cluster.servers.clear();
    cluster.boot_id = "boot-2".into();
    (1..=3).for_each(|node| cluster.start_server(node));
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
    assert_eq!(epochs(&cluster), before);
}

#[test]
fn after_a_power_loss_service_resumes_and_says_so() {
    let mut cluster = Cluster::start();
    let (client, model) = filled(&cluster);
    let before = epochs(&cluster);
    (1..=CHAINS).for_each(|chain| {
        client.flush(chain).unwrap();
    });
    (1..=3).for_each(|node| cluster.kill(node, true));
    cluster.boot_id = "boot-2".into();
    (1..=3).for_each(|node| cluster.start_server(node));
    cluster.wait_serving(3 * CHAINS as usize);
    // What was flushed is there; the higher epoch tells who did not flush.
    model.check(&client);
    assert!(epochs(&cluster).iter().zip(&before).all(|(after, before)| after > before));
}

/// Node 2 has its disks in memory, and nothing is flushed by itself.
fn with_memory_disks() -> (Cluster, MemoryDisks) {
    let disks = MemoryDisks::default();
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    cluster.memory_disks = BTreeMap::from([(2, disks.clone())]);
    cluster.adjust = |config| config.flush_interval = Duration::from_secs(3600);
    cluster.start_servers();
    (cluster, disks)
}

/// Stops all three in order, node 2 with this flush of its targets failing; then node 2 alone comes back, in
/// the same boot.
fn failed_stop(flush_of: &str, fault: Fault) {
    // The stop meets the failure.
    let (mut cluster, disks) = with_memory_disks();
    let (client, model) = filled(&cluster);
    (1..=CHAINS).for_each(|chain| assert!(client.flush(chain).is_ok()));
    let before = epochs(&cluster);
    // All three stay serving in the last version of every chain (P10), or node 2 would not be asked at all.
    cluster.manager.freeze(true);
    // Something to flush that nobody is promised.
    let mut newer = Model(model.0.clone());
    (0..12).for_each(|index| newer.change(&client, index, &Change::write(9, pattern(index + 50, 200_000))));
    disks.lock().values().for_each(|disk| disk.fail_flush(flush_of, fault));
    assert_eq!(cluster.metric(2, "storage_targets_offline_total"), 0);
    for (node, server) in &cluster.servers {
        assert_eq!(server.stop().is_err(), *node == 2, "{flush_of}");
    }
    cluster.servers.clear();
    disks.lock().values().for_each(|disk| disk.heal());
    cluster.start_server(2);
    let reports = cluster.servers[&2].targets();
    assert_eq!(reports.len(), CHAINS as usize);
    assert!(reports.iter().all(|report| !report.complete), "{flush_of}, {fault:?}: {reports:?}");
    cluster.manager.freeze(false);
    // It goes on alone when the others did not come within the grace of an outage, and not without saying so.
    cluster.wait_serving(CHAINS as usize);
    assert!(epochs(&cluster).iter().zip(&before).all(|(after, before)| after > before), "{flush_of}");
    // What it shows then is on its medium, and what was flushed before is among it.
    for index in 0..12 {
        let bytes = client.read(chain_of(index), chunk(index)).unwrap();
        assert!(bytes == model.0[&index][..] || bytes == newer.0[&index][..], "chunk {index}, {flush_of}");
    }
    (1..=3).filter(|node| *node != 2).for_each(|node| cluster.start_server(node));
    cluster.wait_serving(3 * CHAINS as usize);
    check_copies(&client);
}

#[test]
fn a_stop_that_could_not_flush_is_no_clean_one_and_ends_the_mark_of_the_boot() {
    // The last flush of an orderly stop, and the catalogue's when the target is closed.
    for flush_of in ["segment-", "journal-", "catalog"] {
        failed_stop(flush_of, Fault::Io);
        failed_stop(flush_of, Fault::IoDropsPages);
    }
}

/// Bytes that no flush covered are gone, and the process that finds that dies before the record of the target says so.
/// The next one, in the same boot, opens an engine that misses nothing any more.
#[test]
fn an_opening_that_was_cut_off_does_not_make_the_next_one_complete() {
    let (mut cluster, disks) = with_memory_disks();
    let (client, model) = filled(&cluster);
    let before = epochs(&cluster);
    // All three stay serving in the last version of every chain (P10), or node 2 would not be asked at all.
    cluster.manager.freeze(true);
    (1..=3).for_each(|node| cluster.kill(node, false));
    let options = cluster.config(2).engine;
    for disk in disks.lock().values_mut() {
        // What is left of the process that died changes nothing any more.
        *disk = disk.fork();
        let segments = disk.list().unwrap().into_iter().filter(|name| name.starts_with("segment-"));
        let flipped = segments.filter(|name| disk.flip_bit(name, 100, 0)).count();
        let (_, opened) = Engine::open(Arc::new(disk.clone()), options.clone()).unwrap();
        assert!(flipped > 0 && !opened.complete, "{flipped}: {opened:?}");
    }
    (1..=3).for_each(|node| cluster.start_server(node));
    let reports = cluster.servers[&2].targets();
    assert_eq!(reports.len(), CHAINS as usize);
    assert!(reports.iter().all(|report| !report.complete), "{reports:?}");
    cluster.manager.freeze(false);
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
    assert_eq!(epochs(&cluster), before, "the others had everything");
    // It has everything again, and may say so: also to the process after it, once it has heard that it serves.
    until_complete(&cluster, 2);
    cluster.manager.freeze(true);
    cluster.kill(2, false);
    cluster.start_server(2);
    let reports = cluster.servers[&2].targets();
    assert!(reports.iter().all(|report| report.complete), "{reports:?}");
}

/// All die while they serve, and the first one back has lost its disk: by then the others are not heard of for longer
/// than the grace of an outage. Whatever becomes of the emptied one, it is filled from those that have everything.
fn first_back_is_empty(empty: impl Fn(&mut Cluster)) {
    let mut cluster = Cluster::start();
    let (client, model) = filled(&cluster);
    let before = epochs(&cluster);
    // All three stay serving in the last version of every chain (P10), or node 1 would not be asked at all.
    cluster.manager.freeze(true);
    (1..=3).for_each(|node| cluster.kill(node, true));
    empty(&mut cluster);
    let made = cluster.servers[&1].incarnation();
    cluster.manager.freeze(false);
    // The process that found nothing, and those after it.
    for process in 1..=3 {
        let heard = cluster.manager.heard();
        while cluster.servers[&1].targets().len() != CHAINS as usize || cluster.manager.heard() < heard + 3 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let reports = cluster.servers[&1].targets();
        assert!(reports.iter().all(|report| report.begun_by == made && !report.complete), "{reports:?}");
        // Several times the grace.
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(cluster.manager.serving(), 0, "process {process} resumed");
        cluster.kill(1, true);
        cluster.start_server(1);
    }
    (2..=3).for_each(|node| cluster.start_server(node));
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
    assert_eq!(epochs(&cluster), before, "the others had everything");
    // It is as good as they are now, and its next process says so.
    until_complete(&cluster, 1);
    cluster.manager.freeze(true);
    (1..=3).for_each(|node| cluster.kill(node, true));
    cluster.start_server(1);
    let reports = cluster.servers[&1].targets();
    assert!(reports.iter().all(|report| report.begun_by == 0 && report.complete), "{reports:?}");
    cluster.manager.freeze(false);
    cluster.wait_serving(CHAINS as usize);
    model.check(&client);
}

#[test]
fn an_emptied_disk_never_resumes_however_often_its_server_restarts() {
    first_back_is_empty(|cluster| {
        std::fs::remove_dir_all(cluster.disk(1)).unwrap();
        cluster.start_server(1);
    });
}

#[test]
fn a_target_whose_data_are_gone_under_its_record_never_resumes() {
    first_back_is_empty(|cluster| {
        for entry in std::fs::read_dir(cluster.disk(1)).unwrap() {
            let data = entry.unwrap().path().join("data");
            if data.exists() {
                std::fs::remove_dir_all(data).unwrap();
            }
        }
        cluster.start_server(1);
    });
}

/// An empty disk is mounted over the one that failed, under the server that runs: what is begun there would belong to
/// a process that the chain takes for one that had everything.
#[test]
fn a_process_whose_data_are_gone_begins_none_until_its_server_restarts() {
    let (mut cluster, disks) = with_memory_disks();
    let (client, mut model) = filled(&cluster);
    (1..=CHAINS).for_each(|chain| assert!(client.flush(chain).is_ok()));
    let process = cluster.servers[&2].incarnation();
    (0..12).for_each(|index| model.change(&client, index, &Change::write(9, pattern(index + 50, 200_000))));
    disks.lock().values().for_each(|disk| disk.fail_flush("journal-", Fault::Io));
    // The next opening finds an empty one.
    let failed: Vec<MemoryDisk> =
        disks.lock().values_mut().map(|disk| std::mem::replace(disk, MemoryDisk::new(1 << 30))).collect();
    (1..=CHAINS).for_each(|chain| _ = client.flush(chain));
    while cluster.metric(2, "storage_targets_offline_total") < u64::from(CHAINS) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // It looks every second.
    std::thread::sleep(Duration::from_millis(2500));
    let reports = cluster.servers[&2].targets();
    let offline = |report: &TargetReport| report.state() == LocalState::LocalOffline && !report.complete;
    assert!(reports.len() == CHAINS as usize && reports.iter().all(offline), "{reports:?}");
    assert!(disks.lock().values().all(|disk| disk.list().unwrap().is_empty()), "nothing is begun there");
    drop(failed);
    cluster.kill(2, true);
    cluster.start_server(2);
    let reports = cluster.servers[&2].targets();
    assert!(reports.iter().all(|report| report.begun_by > process && !report.complete), "{reports:?}");
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
}

#[test]
fn a_server_that_is_too_old_for_its_cluster_serves_nothing() {
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    cluster.manager.speak(FEATURE_LEVEL + 1);
    (1..=3).for_each(|node| cluster.start_server(node));
    // It keeps asking: a manager of its own release may come back.
    for node in 1..=3 {
        while cluster.metric(node, "storage_heartbeats_failed_total") < 2 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    assert_eq!(cluster.manager.heard(), 0);
    cluster.manager.speak(FEATURE_LEVEL);
    cluster.wait_serving(3 * CHAINS as usize);
}

#[test]
fn directories_are_refused_by_others() {
    let cluster = Cluster::start();
    let code = |config: storage::Config| StorageServer::start(config).err().map(|error| error.code);
    assert_eq!(code(cluster.config(1)), Some(Code::AlreadyRunning));
    let mut foreign = cluster.config(9);
    foreign.disks = vec![cluster.disk(1)];
    cluster.servers.values().for_each(|server| server.stop().unwrap());
    let transport = cluster.transport.clone();
    let configs = (cluster.config(1), foreign);
    let folder = cluster.into_folder();
    let code = |config: storage::Config| loop {
        match StorageServer::start_on(config.clone(), transport.clone()).err().map(|error| error.code) {
            Some(Code::AlreadyRunning) => std::thread::yield_now(),
            other => break other,
        }
    };
    assert_eq!(code(configs.1), Some(Code::WrongCluster));
    let mut other_cluster = configs.0.clone();
    other_cluster.cluster = "other".into();
    assert_eq!(code(other_cluster), Some(Code::WrongCluster));
    let mut no_disk = configs.0;
    no_disk.disks.clear();
    assert_eq!(code(no_disk), Some(Code::BadConfig));
    drop(folder);
}

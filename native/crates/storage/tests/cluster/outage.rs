//! Everything dies, or stops, and comes back (P10).

use crate::client::{Change, TestClient};
use crate::harness::{CHAINS, Cluster, Model, pattern};
use storage::StorageServer;
use wire::Code;

fn filled(cluster: &Cluster) -> (TestClient, Model) {
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..12).for_each(|index| model.change(&client, index, &Change::write(9, pattern(index, 200_000))));
    (client, model)
}

fn epochs(cluster: &Cluster) -> Vec<u64> {
    cluster.manager.chains().iter().map(|chain| chain.durability_epoch).collect()
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

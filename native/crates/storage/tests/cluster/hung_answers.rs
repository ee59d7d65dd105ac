//! A target that is found to hang in the middle of a step: whoever it was about to answer is told to ask elsewhere.

use crate::client::Change;
use crate::hanging_disk::Gate;
use crate::harness::{CHAINS, Cluster, Model, chain_of, pattern};
use chunk_engine::disk::Fault;
use std::sync::Arc;
use std::time::Duration;
use transport::TcpTransport;

/// A flush fails, the record that says so cannot be written for a while, and that is noticed as a hang.
#[test]
fn whoever_waits_for_a_target_that_hangs_in_a_step_is_served_by_others() {
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    let gate = Arc::new(Gate::default());
    cluster.gates.insert(cluster.disk(2), gate.clone());
    cluster.adjust = |config| {
        config.disk_timeout = Duration::from_secs(1);
        // Nobody else meets the failure first.
        config.flush_interval = Duration::from_secs(600);
    };
    cluster.start_servers();
    let (client, mut model) = (cluster.client(1), Model::default());
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 50_000))));
    let chain = (1..=CHAINS).find(|chain| client.serving(*chain).1[0].node == 2).unwrap();
    let target = client.serving(chain).1[0].target;
    let index = (0..8).find(|index| chain_of(*index) == chain).unwrap();
    model.change(&client, index, &Change::write(9, pattern(77, 50_000)));
    // Whoever opens it to write waits until somebody reads.
    let pipe = cluster.disk(2).join(format!("target-{target}")).join("target.new");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    gate.disks.lock().iter().for_each(|disk| disk.fail_flush("segment-", Fault::Io));
    std::thread::scope(|scope| {
        let flushed = scope.spawn(|| client.flush(chain));
        while cluster.metric(2, "storage_targets_hung_total") == 0 && !flushed.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
        }
        gate.disks.lock().iter().for_each(|disk| disk.heal());
        // Opened for both it does not wait itself, and nobody else does as long as it is open.
        let reader = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let _ = std::fs::remove_file(&pipe);
        flushed.join().unwrap().unwrap();
        drop(reader);
    });
    model.change(&client, index, &Change::write(20_000, pattern(78, 50_000)));
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
}

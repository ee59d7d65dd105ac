//! A disk that hangs, and is not called so yet: whoever serves other disks too waits for nothing of it. So these
//! tests let a disk hang for long before it counts, and look that it does not yet when the others have answered.

use crate::client::{Change, TestClient};
use crate::hanging_disk::{Gate, OpensAtLast};
use crate::harness::{Cluster, Model, pattern};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::Config;
use transport::TcpTransport;
use wire::message::PublicState;

/// Node 2 has the gate before its disk 0, where the chains with even numbers lie. Of chain 2 it is the last member,
/// behind node 1, and of chain 4 the head; of chain 1, on the other disk, it is the head, and of chain 3 it comes
/// behind node 1.
pub struct Held {
    _opens: OpensAtLast,
    pub cluster: Cluster,
    pub gate: Arc<Gate>,
    pub client: TestClient,
    pub model: Model,
}

pub fn held(adjust: fn(&mut Config)) -> Held {
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 2);
    let gate = Arc::new(Gate::default());
    cluster.gates.insert(cluster.disk_at(2, 0), gate.clone());
    cluster.adjust = adjust;
    cluster.start_servers();
    let client = cluster.client(1);
    let mut model = Model::default();
    (0..16).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 50_000))));
    let nodes = |chain| client.serving(chain).1.iter().map(|member| member.node).collect::<Vec<u32>>();
    assert_eq!([1, 2, 3, 4].map(nodes), [[2, 3, 1], [3, 1, 2], [1, 2, 3], [2, 3, 1]]);
    Held { _opens: OpensAtLast(gate.clone()), cluster, gate, client, model }
}

/// Nothing is written by itself.
pub fn patient(config: &mut Config) {
    config.disk_timeout = Duration::from_secs(25);
    config.flush_interval = Duration::from_secs(600);
}

impl Held {
    pub fn state(&self, chain: u32) -> PublicState {
        let chain = self.cluster.manager.chain(chain);
        chain.members.iter().find(|member| member.node == 2).expect("it stays a member").state()
    }

    /// On both links that node 2 has from node 1, and as a head.
    pub fn the_other_disk_answers(&mut self) {
        for round in 0..20u64 {
            for index in [0, 2] {
                let change = Change::write(round as u32 * 10, pattern(round + index, 5000));
                self.model.change(&self.client, index, &change);
                self.client.flush(index as u32 + 1).unwrap();
            }
        }
        assert_eq!(self.cluster.metric(2, "storage_targets_hung_total"), 0, "it waited until the disk hung");
    }

    fn targets_fail(&self, chains: &[u32]) {
        self.gate
            .disks
            .lock()
            .iter()
            .for_each(|disk| disk.fail_flush("segment-", chunk_engine::disk::Fault::Io));
        chains.iter().for_each(|chain| assert!(self.client.flush(*chain).is_ok()));
        while self.cluster.metric(2, "storage_targets_offline_total") < chains.len() as u64 {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.gate.disks.lock().iter().for_each(|disk| disk.heal());
    }

    pub fn ends_well(mut self) {
        self.gate.open_all();
        self.cluster.wait_serving(12);
        (0..16)
            .for_each(|index| self.model.change(&self.client, index, &Change::write(9, pattern(index, 500))));
        self.model.check(&self.client);
    }

    fn record_of(&self, chain: u32) -> PathBuf {
        let chain = self.cluster.manager.chain(chain);
        let member = chain.members.iter().find(|member| member.node == 2).expect("it is a member");
        self.cluster.disk_at(2, 0).join(format!("target-{}", member.target)).join("target.new")
    }
}

/// Whoever opens it to write waits until somebody reads, or this goes.
pub struct Pipe(PathBuf);

impl Pipe {
    pub fn at(path: PathBuf) -> Pipe {
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        Pipe(path)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Opened for both it does not wait itself, and nobody else does as long as it is open.
        let reader = std::fs::File::options().read(true).write(true).open(&self.0).unwrap();
        let _ = std::fs::remove_file(&self.0);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(1));
            drop(reader);
        });
    }
}

#[test]
fn the_beginning_of_a_resync_that_cannot_be_written_holds_up_no_other_disk() {
    let mut held = held(patient);
    held.gate.records.close();
    held.targets_fail(&[2, 4]);
    held.gate.records.wait_for(1);
    assert_eq!(held.state(2).max(held.state(4)), PublicState::PublicSyncing);
    held.the_other_disk_answers();
    held.ends_well();
}

#[test]
fn the_records_of_a_fenced_client_that_cannot_be_dropped_hold_up_no_other_disk() {
    let mut held = held(patient);
    let fenced = held.cluster.client(2);
    held.model.change(&fenced, 1, &Change::write(100, pattern(1, 5000)));
    held.gate.records.close();
    held.cluster.manager.fence(2);
    held.gate.records.wait_for(1);
    std::thread::scope(|scope| {
        let client = held.cluster.client(3);
        // Over the link that chain 3 uses, too.
        let flushed = scope.spawn(move || client.flush(2).unwrap());
        held.the_other_disk_answers();
        held.gate.records.open();
        flushed.join().unwrap();
    });
    held.ends_well();
}

#[test]
fn a_failure_that_cannot_be_recorded_holds_up_nobody() {
    let mut held = held(patient);
    let pipe = Pipe::at(held.record_of(2));
    held.gate.disks.lock().iter().for_each(|disk| disk.fail_flush("segment-", chunk_engine::disk::Fault::Io));
    held.cluster.manager.freeze(true);
    std::thread::scope(|scope| {
        let first = held.cluster.client(3);
        let first = scope.spawn(move || first.flush(2).unwrap());
        while held.cluster.metric(2, "storage_targets_offline_total") == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let second = held.cluster.client(4);
        let second = scope.spawn(move || second.flush(2).unwrap());
        held.the_other_disk_answers();
        // Whoever waits for the target is served by the others.
        held.cluster.manager.freeze(false);
        first.join().unwrap();
        second.join().unwrap();
    });
    assert_eq!(held.cluster.metric(2, "storage_targets_hung_total"), 0);
    held.gate.disks.lock().iter().for_each(|disk| disk.heal());
    drop(pipe);
    held.ends_well();
}

/// A process that cannot say in its record which role it has does not act in it, and says nothing at all soon: that
/// must be noticed.
#[test]
fn a_role_that_cannot_be_recorded_is_a_disk_that_hangs() {
    let mut held = held(|config| {
        patient(config);
        config.disk_timeout = Duration::from_secs(1);
    });
    held.targets_fail(&[2, 4]);
    held.cluster.manager.freeze(true);
    assert_ne!(held.state(2), PublicState::PublicServing);
    let pipe = Pipe::at(held.record_of(2));
    held.cluster.manager.freeze(false);
    while held.cluster.metric(2, "storage_targets_hung_total") == 0 {
        (0..16).for_each(|index| {
            held.model.change(&held.client, index, &Change::write(0, pattern(index, 5000)))
        });
    }
    drop(pipe);
    held.ends_well();
}

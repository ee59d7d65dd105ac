//! Servers that start and end while one of their disks hangs.

use crate::client::{Change, PATIENCE};
use crate::hanging_disk::Gate;
use crate::harness::pattern;
use crate::held_up::{Held, Pipe, held, patient};
use std::time::{Duration, Instant};
use storage::Config;
use wire::Code;
use wire::message::PublicState;

fn impatient(config: &mut Config) {
    patient(config);
    config.disk_timeout = Duration::from_secs(1);
}

/// Whether it ends while the disk hangs; only a fault of ours lasts so long.
fn ends<T: Send>(gate: &Gate, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        let begun = Instant::now();
        while !working.is_finished() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let waits = !working.is_finished();
        if waits {
            gate.open_all();
        }
        let outcome = working.join().unwrap();
        assert!(!waits, "it waits for the disk");
        outcome
    })
}

/// Node 2 starts, and serves what lies on its other disk alone.
fn starts_without_disk_0(held: &mut Held) {
    let gate = held.gate.clone();
    ends(&gate, || held.cluster.start_server(2));
    held.cluster.wait_serving(10);
    let serves = |chain| held.state(chain) == PublicState::PublicServing;
    assert_eq!([1, 2, 3, 4].map(serves), [true, false, true, false]);
    (0..16).for_each(|index| held.model.change(&held.client, index, &Change::write(9, pattern(index, 5000))));
}

#[test]
fn a_server_ends_in_order_while_a_disk_hangs() {
    let mut held = held(impatient);
    let server = held.cluster.servers.remove(&2).unwrap();
    held.gate.close();
    let stopped = ends(&held.gate, || server.stop());
    assert_eq!(stopped.unwrap_err().code, Code::Io);
    // It gave its lease back.
    held.cluster.wait_serving(8);
    ends(&held.gate, || drop(server));
    held.gate.open_all();
    held.cluster.start_server(2);
    held.ends_well();
}

#[test]
fn a_server_dies_at_once_while_a_disk_hangs() {
    let mut held = held(impatient);
    held.gate.close();
    let gate = held.gate.clone();
    ends(&gate, || held.cluster.kill(2, true));
    held.cluster.wait_serving(8);
    held.gate.open_all();
    held.cluster.start_server(2);
    held.ends_well();
}

#[test]
fn a_server_starts_while_the_files_of_a_disk_hang() {
    let mut held = held(impatient);
    held.cluster.kill(2, true);
    held.gate.close();
    starts_without_disk_0(&mut held);
    held.cluster.kill(2, true);
    held.gate.open_all();
    held.cluster.start_server(2);
    held.ends_well();
}

#[test]
fn a_server_starts_while_the_records_of_a_disk_hang() {
    let mut held = held(impatient);
    held.cluster.kill(2, true);
    let pipe = Pipe::at(held.cluster.disk_at(2, 0).join("identity.new"));
    starts_without_disk_0(&mut held);
    held.cluster.kill(2, true);
    drop(pipe);
    held.cluster.start_server(2);
    held.ends_well();
}

//! What the service is told of open files, and what fsync answers for.

use crate::harness::{CHUNK, Cluster, pattern};
use crate::held::{Hold, Holder};
use crate::meta::TestMeta;
use crate::names::{WRITE, caller, create, start, write};
use client::{Client, Config};
use rustix::fs::OFlags;
use std::sync::Arc;
use std::time::Duration;
use wire::Code;
use wire::message::MessageKind;

/// With a network that can hold something back.
fn start_holding() -> (Cluster, TestMeta, Holder, Arc<Client>) {
    let (cluster, meta, _) = start();
    let (holder, network) = Holder::over(cluster.transport.clone());
    let config = Config { without_names: false, ..cluster.config() };
    let client = Client::connect_over(network, config).unwrap();
    (cluster, meta, holder, client)
}

#[test]
fn reports_go_before_what_depends_on_them() {
    let (_cluster, meta, client) = start();
    let file = create(&client, "a");
    for round in 1..=20u64 {
        write(&file, round * 10, b"x".to_vec());
        assert_eq!(client.stat(&caller(), file.inode()).unwrap().length, round * 10 + 1);
    }
    // Nobody asks: others learn of it all the same, soon.
    write(&file, 1000, b"x".to_vec());
    while meta.inode(file.inode()).length != 1001 {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Perhaps again: that report may not be answered yet.
    file.report(&caller()).unwrap();
    let reports = meta.executed(MessageKind::KindReport);
    file.report(&caller()).unwrap();
    assert_eq!(meta.executed(MessageKind::KindReport), reports, "nothing new, nothing to tell");
}

#[test]
fn a_report_is_told_through_a_handle_that_is_open() {
    let (_cluster, meta, holder, client) = start_holding();
    let reader = client.open(&caller(), create(&client, "a").inode(), OFlags::RDONLY.bits()).unwrap();
    let closed = client.open(&caller(), reader.inode(), WRITE).unwrap();
    let file = client.open(&caller(), reader.inode(), WRITE).unwrap();
    holder.hold(Hold::Answers(MessageKind::KindClose));
    closed.close(&caller(), drop);
    holder.wait_held(1);
    write(&file, 0, b"abc".to_vec());
    client.stat(&caller(), file.inode()).unwrap();
    assert_eq!(meta.inode(file.inode()).length, 3);
    holder.hold(Hold::Nothing);
    holder.release();
    file.close_wait(&caller()).unwrap();
    drop(reader);
}

#[test]
fn fsync_flushes_then_reports_and_tells_a_loss_once() {
    let (mut cluster, meta, client) = start();
    let file = create(&client, "a");
    let second = client.open(&caller(), file.inode(), WRITE).unwrap();
    let data = pattern(1, 2 * CHUNK as usize);
    write(&file, 0, data.clone());
    file.fsync(&caller()).unwrap();
    assert_eq!(meta.inode(file.inode()).length, data.len() as u64);
    assert_eq!(meta.state.lock().durable_reports, 1);
    write(&file, 5, b"acknowledged".to_vec());
    // Every process dies, no machine does: nothing is lost.
    (1..=3).for_each(|node| cluster.kill(node));
    (1..=3).for_each(|node| cluster.start_server(node));
    cluster.wait_serving();
    file.fsync(&caller()).unwrap();
    write(&file, 5, b"acknowledged again".to_vec());
    // Every machine dies: what was not flushed may be gone, so the next fsync says so on each handle, once
    // (P11).
    (1..=3).for_each(|node| cluster.kill(node));
    cluster.boot_id = "boot-2".into();
    (1..=3).for_each(|node| cluster.start_server(node));
    cluster.wait_serving();
    assert_eq!(file.fsync(&caller()).unwrap_err().code, Code::DurabilityLost);
    file.fsync(&caller()).unwrap();
    assert_eq!(second.fsync(&caller()).unwrap_err().code, Code::DurabilityLost);
    second.fsync(&caller()).unwrap();
    let third = client.open(&caller(), file.inode(), WRITE).unwrap();
    third.fsync(&caller()).unwrap();
}

#[test]
fn of_two_fsyncs_at_a_time_both_tell_a_loss() {
    let (mut cluster, _meta, holder, client) = start_holding();
    let file = create(&client, "a");
    let second = client.open(&caller(), file.inode(), WRITE).unwrap();
    write(&file, 0, pattern(1, 2 * CHUNK as usize));
    (1..=3).for_each(|node| cluster.kill(node));
    cluster.boot_id = "boot-2".into();
    (1..=3).for_each(|node| cluster.start_server(node));
    cluster.wait_serving();
    holder.hold(Hold::Answers(MessageKind::KindFlush));
    let first = std::thread::spawn({
        let file = file.clone();
        move || file.fsync(&caller())
    });
    // Both chunks' chains have flushed for the first one, which does not know yet.
    holder.wait_held(2);
    holder.hold(Hold::Nothing);
    assert_eq!(second.fsync(&caller()).unwrap_err().code, Code::DurabilityLost);
    holder.release();
    assert_eq!(first.join().unwrap().unwrap_err().code, Code::DurabilityLost);
    second.fsync(&caller()).unwrap();
    file.fsync(&caller()).unwrap();
}

#[test]
fn a_stopped_client_reports_what_is_open_and_ends_what_waits() {
    let (cluster, meta, client) = start();
    // The service takes reports from writers only.
    let inode = create(&client, "a").inode();
    let _reader = client.open(&caller(), inode, OFlags::RDONLY.bits()).unwrap();
    let file = client.open(&caller(), inode, WRITE).unwrap();
    write(&file, 0, b"last words".to_vec());
    client.stop();
    assert_eq!(meta.inode(file.inode()).length, 10);
    assert_eq!(client.stat(&caller(), file.inode()).unwrap_err().code, Code::Unreachable);
    assert!(file.read_wait(&caller(), 0, 1).is_err());
    drop(cluster);
}

//! Updates that wait for a flush of their disk, or for a checkpoint: the disk does not hang as long as the flush is
//! within its own limit, and does when it is not, whoever began it.

use crate::client::Change;
use crate::hanging_disk::Gate;
use crate::harness::{CHAINS, Cluster, Model, chain_of, pattern};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use storage::Config;
use transport::TcpTransport;

/// A flush may take three times as long.
const DISK_TIMEOUT: Duration = Duration::from_secs(2);

/// So many updates of one chunk cannot all be stored while nothing is flushed.
const UPDATES: u64 = 32;

/// Node 2 does not flush for a while that is allowed, in which updates of one chunk wait for it, and then for good.
fn held(adjust: fn(&mut Config), change: fn(u64) -> Change) {
    let mut cluster = Cluster::prepare(Arc::new(TcpTransport::new()), 1);
    let gate = Arc::new(Gate::default());
    cluster.gates.insert(cluster.disk(2), gate.clone());
    cluster.adjust = adjust;
    cluster.start_servers();
    let (client, mut model) = (cluster.client(1), Model::default());
    (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index, 1 << 20))));
    client.flush(chain_of(0)).unwrap();
    let hung = || cluster.metric(2, "storage_targets_hung_total");
    let stored = AtomicU64::new(0);
    gate.flushes.close();
    std::thread::scope(|scope| {
        let model = &mut model;
        let (client, stored) = (&client, &stored);
        scope.spawn(move || {
            for number in 0..UPDATES {
                model.change(client, 0, &change(number));
                stored.fetch_add(1, Ordering::SeqCst);
            }
        });
        std::thread::sleep(DISK_TIMEOUT * 7 / 4);
        let (hung, stored) = (hung(), stored.load(Ordering::SeqCst));
        gate.flushes.open();
        assert!(stored < UPDATES, "all of them were stored without a flush");
        assert_eq!(hung, 0, "{stored} updates were stored");
    });
    assert_eq!(hung(), 0);
    assert_eq!(cluster.metric(2, "storage_targets_offline_total"), 0);
    model.check(&client);
    gate.flushes.close();
    // Whoever flushes: nothing else of the disk is held.
    while hung() < u64::from(CHAINS) {
        (0..8).for_each(|index| model.change(&client, index, &Change::write(0, pattern(index + 9, 4096))));
    }
    cluster.wait_serving(2 * CHAINS as usize);
    (0..8).for_each(|number| model.change(&client, 0, &change(number)));
    gate.flushes.open();
    cluster.wait_serving(3 * CHAINS as usize);
    model.check(&client);
}

#[test]
fn an_update_that_waits_for_a_flush_to_have_room_is_no_hanging_disk() {
    let adjust = |config: &mut Config| config.disk_timeout = DISK_TIMEOUT;
    held(adjust, |number| Change::write(0, pattern(number, 1 << 20)));
}

#[test]
fn an_update_that_waits_for_a_checkpoint_is_no_hanging_disk() {
    let adjust = |config: &mut Config| {
        config.disk_timeout = DISK_TIMEOUT;
        config.engine.journal_bytes_max = 128 << 10;
    };
    // Through the journal, 64 KiB each.
    held(adjust, |number| Change::write(number as u32 % 8 * 100_000 + 9, pattern(number, 60_000)));
}

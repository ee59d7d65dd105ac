//! Requests of one client, over one connection, for two disks of a server: those for a disk that hangs hold up none of
//! the others, neither because they wait nor by the memory that they take.

use crate::client::Change;
use crate::harness::{chunk, pattern};
use crate::held_up::{Held, held, patient};

/// Chunks of chain 4: node 2 is its head, with the disk that hangs.
const HUNG: [u64; 4] = [3, 7, 11, 15];

/// Chunks of chain 1, on the other disk of node 2, which is its head.
const OTHER: [u64; 4] = [0, 4, 8, 12];

/// So that a few are all that a client may leave unread, or all memory there is.
const BYTES: usize = 1 << 20;

fn fill(held: &mut Held) {
    for index in HUNG.into_iter().chain(OTHER) {
        held.model.change(&held.client, index, &Change::write(0, pattern(index, BYTES)));
    }
}

#[test]
fn reads_of_a_disk_that_hangs_hold_up_no_others() {
    let mut held = held(patient);
    fill(&mut held);
    held.gate.close();
    std::thread::scope(|scope| {
        for index in HUNG.into_iter().cycle().take(16) {
            let client = &held.client;
            scope.spawn(move || client.try_read_from(0, 4, chunk(index), (0, BYTES as u32)).unwrap_err());
        }
        for index in OTHER.into_iter().cycle().take(40) {
            let (_, bytes) = held.client.read_from(0, 1, chunk(index)).unwrap();
            assert!(bytes == held.model.0[&index][..]);
        }
    });
    assert_eq!(held.cluster.metric(2, "storage_targets_hung_total"), 0, "they waited until the disk hung");
    held.ends_well();
}

#[test]
fn updates_of_a_disk_that_hangs_hold_up_no_others() {
    let mut held = held(|config| {
        patient(config);
        config.update_bytes = 2 * BYTES;
    });
    fill(&mut held);
    held.gate.close();
    let change = |index| Change::write(0, pattern(index + 70, BYTES));
    std::thread::scope(|scope| {
        for (channel, index) in (1..).zip(HUNG) {
            let client = &held.client;
            scope.spawn(move || client.update(4, channel, chunk(index), &change(index)).unwrap());
        }
        for index in OTHER.into_iter().cycle().take(40) {
            held.model.change(&held.client, index, &change(index));
        }
        let hung = held.cluster.metric(2, "storage_targets_hung_total");
        held.gate.open_all();
        assert_eq!(hung, 0, "they waited until the disk hung");
    });
    HUNG.into_iter().for_each(|index| change(index).apply_to(held.model.0.get_mut(&index).unwrap()));
    held.ends_well();
}

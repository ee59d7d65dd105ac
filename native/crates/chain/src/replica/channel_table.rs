//! The exactly-once table of one target (P7): per client and channel the last applied update and its answer,
//! and what is in the air now. Errors are never remembered; a lower sequence never replaces a higher one.

use crate::update::{Channel, Update};
use std::collections::{BTreeMap, BTreeSet};
use wire::{ChunkId, ClientId, Tag, Version};

/// What a tag means to the head before it assigns a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    New,
    /// Assigned and not yet committed: the sender waits with the others.
    InFlight(ChunkId, Version),
    Done(Channel),
    /// A later request of the channel was applied.
    Stale,
    /// The number was used for something else.
    Different,
    /// An earlier request of the channel is still in the air.
    Busy,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    sequence: u64,
    fingerprint: u32,
    chunk: ChunkId,
    version: Version,
}

#[derive(Clone, Debug, Default)]
pub struct ChannelTable {
    done: BTreeMap<(ClientId, u32), Channel>,
    in_flight: BTreeMap<(ClientId, u32), InFlight>,
}

fn key(tag: Tag) -> (ClientId, u32) {
    (tag.client, tag.channel)
}

impl ChannelTable {
    pub fn look_up(&self, update: &Update) -> Seen {
        let sequence = update.tag.sequence;
        let same = |other: u32| other == update.fingerprint();
        if let Some(flight) = self.in_flight.get(&key(update.tag)) {
            return match sequence.cmp(&flight.sequence) {
                std::cmp::Ordering::Less => Seen::Stale,
                std::cmp::Ordering::Greater => Seen::Busy,
                _ if same(flight.fingerprint) => Seen::InFlight(flight.chunk, flight.version),
                _ => Seen::Different,
            };
        }
        match self.done.get(&key(update.tag)) {
            None => Seen::New,
            Some(done) => match sequence.cmp(&done.tag.sequence) {
                std::cmp::Ordering::Less => Seen::Stale,
                std::cmp::Ordering::Greater => Seen::New,
                _ if same(done.fingerprint) => Seen::Done(*done),
                _ => Seen::Different,
            },
        }
    }

    /// An update was given its version. Of two in the air the later one is remembered: the client has given
    /// up the earlier.
    pub fn assigned(&mut self, channel: &Channel) {
        let entry = InFlight {
            sequence: channel.tag.sequence,
            fingerprint: channel.fingerprint,
            chunk: channel.chunk,
            version: channel.version,
        };
        let known = self.in_flight.entry(key(channel.tag)).or_insert(entry);
        if known.sequence <= entry.sequence {
            *known = entry;
        }
    }

    pub fn committed(&mut self, channel: Channel) {
        self.landed(&channel);
        self.learn(channel);
    }

    /// The update is no longer in the air (committed, or discarded by a resync).
    pub fn landed(&mut self, channel: &Channel) {
        if self.in_flight.get(&key(channel.tag)).is_some_and(|flight| flight.sequence == channel.tag.sequence)
        {
            self.in_flight.remove(&key(channel.tag));
        }
    }

    /// From the engine at the start, or from the predecessor.
    pub fn learn(&mut self, channel: Channel) {
        let known = self.done.entry(key(channel.tag)).or_insert(channel);
        if known.tag.sequence <= channel.tag.sequence {
            *known = channel;
        }
    }

    pub fn clear(&mut self) {
        self.done.clear();
        self.in_flight.clear();
    }

    pub fn all(&self) -> Vec<Channel> {
        self.done.values().copied().collect()
    }

    /// Everybody of whom something is remembered.
    pub fn clients(&self) -> BTreeSet<ClientId> {
        self.done.keys().chain(self.in_flight.keys()).map(|(client, _)| *client).collect()
    }

    pub fn forget(&mut self, client: ClientId) {
        self.done.retain(|(owner, _), _| *owner != client);
        self.in_flight.retain(|(owner, _), _| *owner != client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::Applied;
    use wire::message::UpdateKind;

    fn update(sequence: u64, crc: u32) -> Update {
        Update {
            chunk: ChunkId { inode: 1, index: 2 },
            tag: Tag { client: ClientId([7; 16]), channel: 3, sequence },
            kind: UpdateKind::UpdateWrite,
            offset: 0,
            length: 10,
            crc,
            chunk_size: 1 << 20,
            flush: false,
        }
    }

    fn channel(of: &Update, number: u64) -> Channel {
        Channel {
            tag: of.tag,
            chunk: of.chunk,
            version: Version { chain: 1, number },
            fingerprint: of.fingerprint(),
            applied: Applied { chunk_length: 10, allocated_delta: 4096 },
        }
    }

    #[test]
    fn a_retry_gets_the_first_answer_and_never_another_requests() {
        let mut table = ChannelTable::default();
        let (first, second) = (update(5, 1), update(6, 1));
        assert_eq!(table.look_up(&first), Seen::New);
        table.assigned(&channel(&first, 1));
        assert_eq!(table.look_up(&first), Seen::InFlight(first.chunk, Version { chain: 1, number: 1 }));
        assert_eq!(table.look_up(&update(5, 2)), Seen::Different);
        assert_eq!(table.look_up(&update(4, 1)), Seen::Stale);
        assert_eq!(table.look_up(&second), Seen::Busy);
        table.committed(channel(&first, 1));
        assert_eq!(table.look_up(&first), Seen::Done(channel(&first, 1)));
        assert_eq!(table.look_up(&update(5, 2)), Seen::Different);
        assert_eq!(table.look_up(&second), Seen::New);
        assert_eq!(table.look_up(&update(4, 1)), Seen::Stale);
    }

    #[test]
    fn a_late_commit_does_not_take_the_table_back() {
        let mut table = ChannelTable::default();
        table.assigned(&channel(&update(5, 1), 1));
        table.committed(channel(&update(6, 1), 2));
        assert_eq!(
            table.look_up(&update(5, 1)),
            Seen::InFlight(channel(&update(5, 1), 1).chunk, channel(&update(5, 1), 1).version)
        );
        table.committed(channel(&update(5, 1), 1));
        assert_eq!(table.look_up(&update(5, 1)), Seen::Stale);
        assert_eq!(table.look_up(&update(6, 1)), Seen::Done(channel(&update(6, 1), 2)));
        table.forget(ClientId([7; 16]));
        assert!(table.all().is_empty() && table.clients().is_empty());
    }

    #[test]
    fn a_fingerprint_sees_every_field_that_changes_bytes() {
        let base = update(1, 1);
        let others = [
            Update { offset: 1, ..base.clone() },
            Update { length: 11, ..base.clone() },
            Update { crc: 2, ..base.clone() },
            Update { kind: UpdateKind::UpdateRemove, ..base.clone() },
            Update { chunk: ChunkId { inode: 1, index: 3 }, ..base.clone() },
        ];
        assert!(others.iter().all(|other| other.fingerprint() != base.fingerprint()));
        assert_eq!(
            Update { flush: true, tag: update(9, 1).tag, ..base.clone() }.fingerprint(),
            base.fingerprint()
        );
    }
}

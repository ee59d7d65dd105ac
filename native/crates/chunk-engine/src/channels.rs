//! The exactly-once table (P7): per client and channel the last update that was applied, with its result.
//! It outlives the chunks it names; entries go when their client is fenced, never by age.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use wire::message::{ChannelRecord, StoredChannel};
use wire::{ChunkId, ClientId, Code, Error, Result, Tag, Version};

/// The last update of one channel of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    pub tag: Tag,
    pub chunk: ChunkId,
    pub version: Version,
    pub chunk_length: u32,
    pub allocated_delta: i64,
    /// Tells a retry from another request under the same number.
    pub request_crc: u32,
}

pub(crate) type ChannelKey = (ClientId, u32);

#[derive(Debug, Default)]
struct State {
    /// With the journal record that set it.
    entries: BTreeMap<ChannelKey, (u64, Channel)>,
    /// Changed since the catalogue saw them.
    dirty: BTreeSet<ChannelKey>,
}

#[derive(Debug, Default)]
pub(crate) struct Channels(Mutex<State>);

/// What a checkpoint does with one dirty entry.
pub(crate) enum Save {
    Put(StoredChannel),
    Remove,
}

impl Channel {
    pub(crate) fn key(&self) -> ChannelKey {
        (self.tag.client, self.tag.channel)
    }
}

impl From<&Channel> for ChannelRecord {
    fn from(channel: &Channel) -> Self {
        ChannelRecord {
            tag: Some(channel.tag.into()),
            chunk: Some(channel.chunk.into()),
            version: Some(channel.version.into()),
            chunk_length: channel.chunk_length,
            allocated_delta: channel.allocated_delta,
            request_crc: channel.request_crc,
        }
    }
}

impl TryFrom<&ChannelRecord> for Channel {
    type Error = Error;
    fn try_from(record: &ChannelRecord) -> Result<Self> {
        let tag =
            record.tag.as_ref().ok_or_else(|| Error::new(Code::BadMessage, "a channel without a tag"))?;
        Ok(Channel {
            tag: Tag::try_from(tag)?,
            chunk: record.chunk.unwrap_or_default().into(),
            version: record.version.unwrap_or_default().into(),
            chunk_length: record.chunk_length,
            allocated_delta: record.allocated_delta,
            request_crc: record.request_crc,
        })
    }
}

impl Channels {
    /// From the catalogue: not dirty.
    pub fn load(&self, record: u64, channel: Channel) {
        self.0.lock().entries.insert(channel.key(), (record, channel));
    }

    /// An update of journal record `record` was applied. Of two for one channel the later sequence stays, in whatever
    /// order they come: another member's may have got a record meanwhile.
    pub fn set(&self, record: u64, channel: Channel) {
        let newer =
            |(known, old): &(u64, Channel)| (channel.tag.sequence, record) > (old.tag.sequence, *known);
        let mut state = self.0.lock();
        let key = channel.key();
        if state.entries.get(&key).is_none_or(newer) {
            state.entries.insert(key, (record, channel));
            state.dirty.insert(key);
        }
    }

    /// From another member: the later sequence stays.
    pub fn install(&self, record: u64, channel: Channel) {
        let mut state = self.0.lock();
        let key = channel.key();
        if state.entries.get(&key).is_none_or(|(_, known)| known.tag.sequence <= channel.tag.sequence) {
            state.entries.insert(key, (record, channel));
            state.dirty.insert(key);
        }
    }

    pub fn get(&self, client: ClientId, channel: u32) -> Option<Channel> {
        self.0.lock().entries.get(&(client, channel)).map(|(_, channel)| *channel)
    }

    pub fn forget_client(&self, client: ClientId) {
        let mut state = self.0.lock();
        let keys: Vec<ChannelKey> =
            state.entries.range((client, 0)..=(client, u32::MAX)).map(|(key, _)| *key).collect();
        for key in keys {
            state.entries.remove(&key);
            state.dirty.insert(key);
        }
    }

    /// The update was dropped before it was committed; it may come again.
    pub fn forget_update(&self, tag: &Tag, chunk: ChunkId, version: Version) {
        let mut state = self.0.lock();
        let key = (tag.client, tag.channel);
        if state.entries.get(&key).is_some_and(|(_, known)| known.chunk == chunk && known.version == version)
        {
            state.entries.remove(&key);
            state.dirty.insert(key);
        }
    }

    /// Up to `limit` entries after `after`, in order.
    pub fn list(&self, after: Option<ChannelKey>, limit: usize) -> Vec<Channel> {
        let state = self.0.lock();
        let from = match after {
            Some(key) => std::ops::Bound::Excluded(key),
            None => std::ops::Bound::Unbounded,
        };
        state
            .entries
            .range((from, std::ops::Bound::Unbounded))
            .take(limit)
            .map(|(_, (_, one))| *one)
            .collect()
    }

    /// Hands the dirty entries to `save` as far as `covered(chunk, record)` says that the same checkpoint (or
    /// an earlier one) holds their chunk with the update in it; the others stay dirty. Gives what was handed
    /// over: it must be marked again if the checkpoint fails.
    pub fn save(
        &self,
        covered: impl Fn(ChunkId, u64) -> bool,
        mut save: impl FnMut(ChannelKey, Save) -> Result<()>,
    ) -> Result<Vec<ChannelKey>> {
        let mut ready = Vec::new();
        {
            let mut state = self.0.lock();
            let State { entries, dirty } = &mut *state;
            dirty.retain(|key| match entries.get(key) {
                None => {
                    ready.push((*key, Save::Remove));
                    false
                }
                Some((record, channel)) if covered(channel.chunk, *record) => {
                    ready.push((
                        *key,
                        Save::Put(StoredChannel { channel: Some(channel.into()), record: *record }),
                    ));
                    false
                }
                Some(_) => true,
            });
        }
        let keys = ready.iter().map(|(key, _)| *key).collect();
        match ready.into_iter().try_for_each(|(key, one)| save(key, one)) {
            Ok(()) => Ok(keys),
            Err(error) => {
                self.mark_dirty(keys);
                Err(error)
            }
        }
    }

    pub fn mark_dirty(&self, keys: Vec<ChannelKey>) {
        self.0.lock().dirty.extend(keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(sequence: u64) -> Channel {
        Channel {
            tag: Tag { client: ClientId([7; 16]), channel: 1, sequence },
            chunk: ChunkId { inode: 1, index: 0 },
            version: Version { chain: 1, number: sequence },
            chunk_length: sequence as u32,
            allocated_delta: 0,
            request_crc: 0,
        }
    }

    enum Event {
        Set(u64, u64),
        Install(u64, u64),
    }
    use Event::{Install, Set};

    fn after(events: &[Event]) -> (Channels, Channel) {
        let table = Channels::default();
        for event in events {
            match *event {
                Set(record, sequence) => table.set(record, one(sequence)),
                Install(record, sequence) => table.install(record, one(sequence)),
            }
        }
        let channel = table.get(ClientId([7; 16]), 1).unwrap();
        (table, channel)
    }

    /// The record's number is given before its effect shows, so memory may see two of them in either order; a replay
    /// sees them in the order of their numbers.
    #[test]
    fn the_later_sequence_stays_whatever_record_it_came_with() {
        for events in [
            [Install(101, 4), Set(100, 5)],
            [Set(100, 5), Install(101, 4)],
            [Set(101, 5), Set(100, 4)],
            [Set(100, 4), Set(101, 5)],
            [Install(100, 4), Set(101, 5)],
            [Set(101, 4), Install(100, 5)],
        ] {
            assert_eq!(after(&events).1, one(5));
        }
    }

    /// The same update again, under a later record: the checkpoint goes by that record.
    #[test]
    fn of_one_sequence_the_later_record_stays() {
        for events in [[Set(100, 5), Set(103, 5)], [Set(103, 5), Set(100, 5)]] {
            let (table, _) = after(&events);
            let mut saved = Vec::new();
            let covered = |_, record| record <= 103;
            table
                .save(covered, |_, save| {
                    if let Save::Put(stored) = save {
                        saved.push(stored.record);
                    }
                    Ok(())
                })
                .unwrap();
            assert_eq!(saved, [103]);
        }
    }

    /// Another member's entry that lost is not what the checkpoint waits for.
    #[test]
    fn a_checkpoint_saves_what_memory_says_with_the_record_that_said_it() {
        let (table, _) = after(&[Install(101, 4), Set(100, 5)]);
        let mut saved = Vec::new();
        let save = |_: ChannelKey, save: Save| {
            if let Save::Put(stored) = save {
                saved.push((stored.record, stored.channel.unwrap().tag.unwrap().sequence));
            }
            Ok(())
        };
        table.save(|_, record| record <= 100, save).unwrap();
        assert_eq!(saved, [(100, 5)]);
    }
}

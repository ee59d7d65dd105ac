//! Storing an update, on a lane of its chunk. One that needs old bytes which are damaged waits for their repair,
//! beside the lane's thread, which the updates of other chunks need. Without a repair it is stored all the same
//! (P8), and its block stays damaged here.

use super::Target;
use super::repair::MEND_PATIENCE;
use super::store::{OldDamage, Store};
use crate::disk::room::Promise;
use crate::lanes::Turn;
use crate::metrics::add;
use bytes::Bytes;
use chain::{Applied, Channel, Input, Update};
use std::sync::Arc;
use std::time::Instant;
use wire::{Code, Result, Version};

/// What the replica wants stored.
pub(super) struct StagedUpdate {
    pub generation: u64,
    /// Its own and that of its base.
    pub versions: (Version, Version),
    pub update: Update,
    pub channel: Channel,
    pub payload: Bytes,
    /// Of the room that it needs; none for a member that is synced and has none (`if_room`).
    pub promise: Result<Promise>,
    pub if_room: bool,
}

fn is_damaged(stored: &Option<Result<Applied>>) -> bool {
    matches!(stored, Some(Err(error)) if error.code == Code::Corrupt)
}

impl Target {
    pub(super) fn store_update(self: &Arc<Self>, update: StagedUpdate, turn: &Turn<'_>) {
        let stored = self.stage(&update, OldDamage::Refused);
        if !is_damaged(&stored) {
            return self.update_stored(update, stored);
        }
        let (target, lane, until) = (self.clone(), turn.keep(), Instant::now() + MEND_PATIENCE);
        self.disk.mends.push(move || {
            target.mend_in_the_way(update.update.chunk, until);
            target.store_mended(update);
            drop(lane);
        });
    }

    fn store_mended(self: &Arc<Self>, update: StagedUpdate) {
        let mut stored = self.stage(&update, OldDamage::Refused);
        if is_damaged(&stored) {
            stored = self.stage(&update, OldDamage::Kept);
            self.stored_over_damage(update.update.chunk, update.versions.0);
        }
        self.update_stored(update, stored);
    }

    fn stage(&self, staged: &StagedUpdate, damage: OldDamage) -> Option<Result<Applied>> {
        let StagedUpdate { generation, versions, update, channel, payload, promise, if_room } = staged;
        self.in_generation(*generation, |store: &Store| match promise {
            Ok(_) => store.stage(*versions, update, *channel, payload, damage, *if_room),
            Err(error) => Err(error.clone()),
        })
    }

    fn update_stored(self: &Arc<Self>, staged: StagedUpdate, stored: Option<Result<Applied>>) {
        let Some(result) = stored else { return };
        let StagedUpdate { generation, versions: (version, _), update, payload, promise, .. } = staged;
        if result.is_ok() {
            add(&self.shared.metrics.stored_bytes, payload.len() as u64);
        }
        drop(payload);
        match promise {
            // Before anybody hears that it is stored.
            Ok(promise) if result.is_ok() => promise.keep(),
            promise => drop(promise),
        }
        let chunk = update.chunk;
        match result {
            Ok(applied) if update.flush => self.queue_flushed_store(generation, chunk, version, applied),
            result => self.feed_stored(generation, Input::Stored { chunk, version, result }),
        }
    }
}

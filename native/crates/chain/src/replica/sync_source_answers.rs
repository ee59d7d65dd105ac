//! The successor's answers to the requests of a resync. An error is sent again at the next tick; an answer of
//! another session is ignored.

use super::sync_gone::Gone;
use super::sync_source::{Phase, SyncSource};
use super::{Replica, Step};
use crate::limits;
use crate::museum::page;
use crate::update::{ChunkRange, Listed};
use wire::{ChunkId, Code, Result};

impl<P: Clone> Replica<P> {
    fn source_in(&mut self, chain_version: u64, phase: Phase) -> Option<&mut SyncSource> {
        self.source.as_mut().filter(|source| source.chain_version == chain_version && source.phase == phase)
    }

    pub(super) fn on_sync_started(&mut self, step: &mut Step<P>, chain_version: u64, result: Result<()>) {
        let Some(source) = self.source_in(chain_version, Phase::Start) else { return };
        source.asked = false;
        if result.is_err() {
            return;
        }
        source.phase = Phase::Scan;
        self.advance_all(step);
        self.drive_source(step);
    }

    pub(super) fn on_digest_answer(
        &mut self,
        step: &mut Step<P>,
        chain_version: u64,
        from: ChunkId,
        result: Result<Vec<ChunkRange>>,
    ) {
        let Some(source) = self.source_in(chain_version, Phase::Scan) else { return };
        // A list was asked for meanwhile, or another digest: it was late.
        if source.cursor != Some(from) || !source.asked || source.listing_to.is_some() {
            return;
        }
        source.asked = false;
        if let Ok(ranges) = result {
            source.ranges = ranges.into();
            self.drive_source(step);
        }
    }

    pub(super) fn on_list_answer(
        &mut self,
        step: &mut Step<P>,
        chain_version: u64,
        from: ChunkId,
        result: Result<(Vec<Listed>, bool)>,
    ) {
        let Some(source) = self.source_in(chain_version, Phase::Scan) else { return };
        if source.gone == Gone::From(from) {
            source.asked = false;
            if let Ok((theirs, more)) = result {
                source.look_for_gone(step.chunks, &theirs, more);
                self.drive_source(step);
            }
            return;
        }
        if source.cursor != Some(from) || source.page_end.is_some() || source.listing_to.is_none() {
            return;
        }
        source.asked = false;
        if let Ok((theirs, more)) = result {
            let ours = step.chunks.list(from, page(limits::SYNC_PAGE));
            source.compare(&ours, &theirs, more);
            self.drive_source(step);
        }
    }

    pub(super) fn on_replace_answer(
        &mut self,
        step: &mut Step<P>,
        chain_version: u64,
        chunk: ChunkId,
        result: Result<()>,
    ) {
        let Some(source) = self.source.as_mut().filter(|source| source.chain_version == chain_version) else {
            return;
        };
        let Some(version) = source.copying.remove(&chunk) else { return };
        if let Err(error) = result {
            // Again at the next tick: for the page if the chunk is in it, and for the updates that wait for
            // it.
            let full = error.code == Code::NoSpace;
            if full {
                self.tell_what_is_gone();
            }
            let source = self.source.as_mut().expect("looked at above");
            if source.tells_gone() && step.chunks.committed(chunk).is_absent() {
                source.going.push_back(chunk);
            } else if source.page_end.is_some_and(|end| chunk <= end) {
                match full {
                    // The same one until it fits: each refused one may wait for so long only.
                    true => source.differing.push_front(chunk),
                    false => source.differing.push_back(chunk),
                }
            }
            self.retry.insert(chunk);
            return;
        }
        if source.cursor.is_some_and(|cursor| chunk >= cursor) {
            source.ahead.insert(chunk);
        }
        self.acknowledge_copy(chunk, version);
        self.advance(step, chunk);
        self.drive_source(step);
    }

    pub(super) fn on_channels_answer(
        &mut self,
        step: &mut Step<P>,
        chain_version: u64,
        page: usize,
        result: Result<()>,
    ) {
        let Some(source) = self.source_in(chain_version, Phase::Channels) else { return };
        if source.page != page {
            return;
        }
        source.asked = false;
        if result.is_ok() {
            source.page += 1;
            self.drive_source(step);
        }
    }

    pub(super) fn on_sync_finished(&mut self, _step: &mut Step<P>, chain_version: u64, result: Result<()>) {
        let Some(source) = self.source_in(chain_version, Phase::Finish) else { return };
        source.asked = false;
        if result.is_ok() {
            source.phase = Phase::Done;
            source.channels = Vec::new();
        }
    }
}

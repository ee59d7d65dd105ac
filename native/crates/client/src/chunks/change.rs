//! Updates that carry no bytes, of many chunks at a time: what truncation, removal and punching send.

use super::Chunks;
use super::gather::Gather;
use super::lanes::Update;
use super::pieces::Piece;
use super::write::{Changed, summarize};
use crate::chain_call::Limits;
use crate::done::Done;
use crate::waiter::wait;
use std::ops::Range;
use wire::message::{self as m, UpdateKind};
use wire::{ChunkId, Result};

/// Up to this many chunks are changed without asking which of them exist: asking costs a call to each chain.
const BLIND_MAX: u64 = 16;
/// Updates that one call has in the air at a time.
const BATCH: usize = 256;

impl Chunks {
    /// Which of these chunks of a file are worth an update that does nothing to one that does not exist.
    pub(super) fn perhaps_there(
        &self,
        limits: &Limits,
        inode: u64,
        layout: &m::Layout,
        chunks: Range<u64>,
    ) -> Result<Vec<u64>> {
        if chunks.end.saturating_sub(chunks.start) <= BLIND_MAX {
            return Ok(chunks.collect());
        }
        Ok(self.list(limits, inode, layout, chunks)?.into_iter().map(|(index, _)| index).collect())
    }

    /// One update of this kind for each piece. Waits for the last answer: when this returns nothing of it is in
    /// the air, but what may have been lost on its way. After a failure no more of it is begun.
    pub(super) fn change(
        &self,
        limits: &Limits,
        inode: u64,
        layout: &m::Layout,
        kind: UpdateKind,
        pieces: &[Piece],
    ) -> Changed {
        // A truncation or a removal is kept by the service's log until it is done.
        let flush = layout.flush_each_write && kind == UpdateKind::UpdatePunch;
        let mut all = Changed::default();
        for batch in pieces.chunks(BATCH) {
            let Changed { acked, failure } = self
                .change_batch(limits, inode, layout, (kind, flush), batch)
                .unwrap_or_else(|error| Changed { failure: Some(error), ..Changed::default() });
            all.acked.allocated_delta += acked.allocated_delta;
            all.acked.epochs.extend(acked.epochs);
            all.failure = failure;
            if all.failure.is_some() {
                break;
            }
        }
        all
    }

    /// # Errors
    /// When none of it was sent.
    fn change_batch(
        &self,
        limits: &Limits,
        inode: u64,
        layout: &m::Layout,
        (kind, flush): (UpdateKind, bool),
        batch: &[Piece],
    ) -> Result<Changed> {
        let table = self.routed_wait(limits, layout)?;
        let chains: Vec<u32> =
            batch.iter().map(|piece| table.chain_of(layout, piece.index)).collect::<Result<_>>()?;
        let results = wait(None, |done| {
            let gather = Gather::each(batch.len(), Done::new(done));
            for (place, (piece, &chain)) in batch.iter().zip(&chains).enumerate() {
                let update = Update {
                    chain,
                    chunk: ChunkId { inode, index: piece.index },
                    kind,
                    offset: piece.offset,
                    length: piece.length,
                    data: Vec::new(),
                    flush,
                    chunk_size: layout.chunk_size,
                    limits: limits.clone(),
                    done: gather.part(place),
                };
                self.core.lanes.submit(&self.core, update);
            }
        })?;
        Ok(summarize(&chains, &vec![0; batch.len()], results))
    }
}

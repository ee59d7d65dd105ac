//! Writing a range: pieces by chunk, each an update to the head of its chain. Told when every piece is
//! acknowledged: then every serving member holds it (P11).

use super::Chunks;
use super::gather::Gather;
use super::lanes::Update;
use super::pieces::{Piece, pieces};
use crate::Caller;
use crate::chain_call::Limits;
use crate::done::Done;
use crate::waiter::wait;
use bytes::Bytes;
use wire::message::{self as m, UpdateKind};
use wire::{ChunkId, Error, Result};

/// What the acknowledgements of one change said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Bytes of blocks gained or lost (P23).
    pub allocated_delta: i64,
    /// Chain and the durability epoch under which it acknowledged (P11).
    pub epochs: Vec<(u32, u64)>,
    /// Where in the file the last acknowledged byte of a write ends: what lies there must not be behind the file's
    /// end, where it would show when the file grows.
    pub end: u64,
}

/// A change of several chunks, each of which is done or refused by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Of the parts that were done.
    pub acked: Acked,
    /// Why the first part that was not done was not.
    pub failure: Option<Error>,
}

impl Changed {
    /// Whether there is something that the service has to hear of.
    pub fn is_done_in_part(&self) -> bool {
        self.failure.is_none() || !self.acked.epochs.is_empty()
    }

    /// # Errors
    /// Of the first part that was not done.
    pub fn whole(self) -> Result<Acked> {
        self.failure.map_or(Ok(self.acked), Err)
    }
}

impl Chunks {
    /// Writes the rope at `offset`. May wait for memory or for newer routing on the caller's thread, so it is never
    /// to be called from a completion. Overlapping writes apply in the order of their calls.
    pub fn write(
        &self,
        inode: u64,
        layout: &m::Layout,
        offset: u64,
        data: Vec<Bytes>,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        let done = Done::new(move |result: Result<Changed>| done(result.and_then(Changed::whole).map(drop)));
        self.write_within(self.limits(), inode, layout, offset, data, done);
    }

    /// # Errors
    /// See `write`; after `Interrupted` or `TimedOut` the bytes may be old, new, or both in parts.
    pub fn write_wait(
        &self,
        caller: &Caller,
        inode: u64,
        layout: &m::Layout,
        offset: u64,
        data: Vec<Bytes>,
    ) -> Result<()> {
        let limits = self.core.limits(caller.cancel.clone());
        wait(caller.cancel.as_ref(), |done| {
            let done =
                Done::new(move |result: Result<Changed>| done(result.and_then(Changed::whole).map(drop)));
            self.write_within(limits, inode, layout, offset, data, done);
        })
    }

    pub(crate) fn write_within(
        &self,
        limits: Limits,
        inode: u64,
        layout: &m::Layout,
        offset: u64,
        data: Vec<Bytes>,
        done: Done<Changed>,
    ) {
        let length: usize = data.iter().map(Bytes::len).sum();
        let planned = pieces(layout, offset, length as u64).and_then(|pieces| {
            let table = self.routed_wait(&limits, layout)?;
            let chains: Result<Vec<u32>> =
                pieces.iter().map(|piece| table.chain_of(layout, piece.index)).collect();
            let chains = chains?;
            let parts = chains.iter().zip(&pieces).map(|(&chain, piece)| (chain, piece.length as usize));
            let held = self.core.write_budget.acquire(parts, limits.deadline, limits.cancel.as_ref())?;
            Ok((pieces, chains, held))
        });
        let (pieces, chains, held) = match planned {
            Ok(planned) => planned,
            Err(error) => return done.tell(Err(error)),
        };
        let ends = ends(offset, &pieces);
        let all_chains = chains.clone();
        let each = Done::new(move |results: Result<Vec<Result<m::UpdateReply>>>| {
            drop(held);
            let mut changed = results.map(|results| summarize(&all_chains, &ends, results));
            // A write of no bytes has no piece, and makes a file longer all the same.
            if let Ok(Changed { acked, failure: None }) = &mut changed {
                acked.end = offset + length as u64;
            }
            done.tell(changed);
        });
        let gather = Gather::each(pieces.len(), each);
        let mut rope = Rope { parts: data.into_iter(), front: Bytes::new() };
        for (place, (piece, chain)) in pieces.into_iter().zip(chains).enumerate() {
            let update = Update {
                chain,
                chunk: ChunkId { inode, index: piece.index },
                kind: UpdateKind::UpdateWrite,
                offset: piece.offset,
                length: piece.length,
                data: rope.take(piece.length as usize),
                flush: layout.flush_each_write,
                chunk_size: layout.chunk_size,
                limits: limits.clone(),
                done: gather.part(place),
            };
            self.core.lanes.submit(&self.core, update);
        }
    }
}

/// `ends`: where in the file each part's bytes end; 0 for what carries none.
pub(super) fn summarize(chains: &[u32], ends: &[u64], results: Vec<Result<m::UpdateReply>>) -> Changed {
    let mut changed = Changed::default();
    for ((&chain, &end), result) in chains.iter().zip(ends).zip(results) {
        match result {
            Ok(reply) => {
                changed.acked.allocated_delta += reply.allocated_delta;
                changed.acked.epochs.push((chain, reply.durability_epoch));
                changed.acked.end = changed.acked.end.max(end);
            }
            Err(error) => drop(changed.failure.get_or_insert(error)),
        }
    }
    changed
}

/// Where in the file each piece of a range that begins at `offset` ends.
fn ends(offset: u64, pieces: &[Piece]) -> Vec<u64> {
    pieces
        .iter()
        .scan(offset, |at, piece| {
            *at += u64::from(piece.length);
            Some(*at)
        })
        .collect()
}

/// Cuts a rope into pieces without copying.
struct Rope {
    parts: std::vec::IntoIter<Bytes>,
    front: Bytes,
}

impl Rope {
    fn take(&mut self, mut length: usize) -> Vec<Bytes> {
        let mut taken = Vec::with_capacity(1);
        while length > 0 {
            if self.front.is_empty() {
                self.front = self.parts.next().expect("pieces cover the rope exactly");
                continue;
            }
            let part = self.front.split_to(length.min(self.front.len()));
            length -= part.len();
            taken.push(part);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Code;

    #[test]
    fn what_was_done_of_a_change_is_known_beside_the_first_failure() {
        let piece = |index, offset, length| Piece { index, offset, length };
        let ends = ends(90, &[piece(0, 90, 10), piece(1, 0, 100), piece(2, 0, 5)]);
        assert_eq!(ends, [100, 200, 205]);
        let done = |allocated_delta, durability_epoch| {
            Ok(m::UpdateReply { allocated_delta, durability_epoch, ..Default::default() })
        };
        let full = |detail: &str| Err(Error::new(Code::NoSpace, detail));
        let changed = summarize(&[7, 8, 9], &ends, vec![full("one"), done(4096, 3), full("two")]);
        let acked = Acked { allocated_delta: 4096, epochs: vec![(8, 3)], end: 200 };
        assert_eq!((&changed.acked, changed.failure.clone()), (&acked, full("one").err()));
        assert_eq!(changed.whole().err(), full("one").err());
        let changed = summarize(&[7, 8, 9], &ends, vec![done(1, 1), done(-2, 2), done(0, 3)]);
        assert_eq!(changed.whole().map(|acked| (acked.allocated_delta, acked.end)), Ok((-1, 205)));
        assert_eq!(summarize(&[], &[], Vec::new()), Changed::default());
    }

    #[test]
    fn a_rope_is_cut_where_the_pieces_end() {
        let parts = ["abc", "", "defgh", "i"].map(|text| Bytes::from_static(text.as_bytes()));
        let mut rope = Rope { parts: Vec::from(parts).into_iter(), front: Bytes::new() };
        assert_eq!(rope.take(2), ["ab"]);
        assert_eq!(rope.take(5), ["c", "defg"]);
        assert_eq!(rope.take(0), Vec::<Bytes>::new());
        assert_eq!(rope.take(2), ["h", "i"]);
    }
}

//! Writing a range: pieces by chunk, each an update to the head of its chain. Told when every piece is
//! acknowledged: then every serving member holds it (P11).

use super::Chunks;
use super::gather::Gather;
use super::lanes::Update;
use super::pieces::pieces;
use crate::Caller;
use crate::chain_call::Limits;
use crate::done::Done;
use crate::waiter::wait;
use bytes::Bytes;
use wire::message::{self as m, UpdateKind};
use wire::{ChunkId, Result};

/// What the acknowledgements of one write said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Bytes of blocks gained or lost (P23).
    pub allocated_delta: i64,
    /// Chain and the durability epoch under which it acknowledged (P11).
    pub epochs: Vec<(u32, u64)>,
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
        let done = Done::new(move |result: Result<Acked>| done(result.map(drop)));
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
            let done = Done::new(move |result: Result<Acked>| done(result.map(drop)));
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
        done: Done<Acked>,
    ) {
        let length: usize = data.iter().map(Bytes::len).sum();
        let planned = pieces(layout, offset, length as u64).and_then(|pieces| {
            let table = self.routed_wait(&limits, layout)?;
            let chains: Result<Vec<u32>> =
                pieces.iter().map(|piece| table.chain_of(layout, piece.index)).collect();
            let held = self.core.write_budget.acquire(length, limits.deadline)?;
            Ok((pieces, chains.inspect_err(|_| self.core.write_budget.release(held))?, held))
        });
        let (pieces, chains, held) = match planned {
            Ok(planned) => planned,
            Err(error) => return done.tell(Err(error)),
        };
        let core = self.core.clone();
        let all_chains = chains.clone();
        let whole = Done::new(move |result: Result<Vec<m::UpdateReply>>| {
            core.write_budget.release(held);
            done.tell(result.map(|replies| summarize(&all_chains, &replies)));
        });
        let gather = Gather::new(pieces.len(), whole);
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

pub(super) fn summarize(chains: &[u32], replies: &[m::UpdateReply]) -> Acked {
    let mut acked = Acked::default();
    for (&chain, reply) in chains.iter().zip(replies) {
        acked.allocated_delta += reply.allocated_delta;
        acked.epochs.push((chain, reply.durability_epoch));
    }
    acked
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

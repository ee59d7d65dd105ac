//! Reading a range: pieces in parallel over chains, each from one replica, checked end to end, the next
//! replica when that one fails or its bytes do not match their checksum. What is not stored reads as zeros.

use super::Chunks;
use super::gather::Gather;
use super::pieces::{Piece, pieces};
use crate::chain_call::{ChainOperation, Limits, start};
use crate::core::Core;
use crate::done::Done;
use crate::waiter::wait;
use crate::{Caller, RoutingTable};
use bytes::Bytes;
use chain::client::Choice;
use std::sync::Arc;
use wire::message as m;
use wire::{ChunkId, Code, Error, Result};

/// Holes are slices of this.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

struct ReadPiece {
    chain: u32,
    chunk: ChunkId,
    piece: Piece,
    /// Which replica is asked first.
    first: u64,
    limits: Limits,
    /// Bytes that came did not match: the server is to look at them itself.
    verify: bool,
    done: Done<Vec<Bytes>>,
}

impl ChainOperation for ReadPiece {
    type Request = m::ReadRequest;

    fn chain(&self) -> u32 {
        self.chain
    }

    fn choice(&self) -> Choice {
        Choice::Any(self.first)
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn request(&mut self, chain: &m::Chain) -> m::ReadRequest {
        m::ReadRequest {
            header: None,
            chain: self.chain,
            chain_version: chain.version,
            chunk: Some(self.chunk.into()),
            offset: self.piece.offset,
            length: self.piece.length,
            verify: self.verify,
        }
    }

    fn check(&mut self, reply: &m::ReadReply, payload: &Bytes) -> Result<()> {
        let length = payload.len();
        if length != reply.length as usize || length > self.piece.length as usize {
            let detail = format!("{length} bytes for {} of chunk {:?}", reply.length, self.chunk);
            return Err(Error::new(Code::Corrupt, detail));
        }
        if crc32c::crc32c(payload) != reply.crc {
            if !std::mem::replace(&mut self.verify, true) {
                // The server sent pages that it had not looked at: they may have been overwritten on their way,
                // or are damaged, which it finds out when it is asked again.
                return Err(Error::new(Code::Busy, format!("bytes of chunk {:?} changed", self.chunk)));
            }
            return Err(Error::new(Code::Corrupt, format!("{length} bytes of chunk {:?}", self.chunk)));
        }
        Ok(())
    }

    fn finish(self, result: Result<(m::ReadReply, Bytes)>) {
        let length = self.piece.length as usize;
        self.done.tell(result.map(|(_, payload)| {
            let mut rope = Vec::with_capacity(1);
            let stored = payload.len();
            if stored > 0 {
                rope.push(payload);
            }
            push_zeros(&mut rope, length - stored);
            rope
        }));
    }
}

pub(crate) fn push_zeros(rope: &mut Vec<Bytes>, mut length: usize) {
    while length > 0 {
        let part = length.min(ZEROS.len());
        rope.push(Bytes::from_static(&ZEROS[..part]));
        length -= part;
    }
}

/// Spreads chunks over replicas, each chunk's reads to one, so that each server's page cache holds its share.
fn spread(chunk: ChunkId, salt: u64) -> u64 {
    let mixed = (chunk.inode ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(chunk.index);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

impl Chunks {
    /// Exactly `length` bytes from `offset`, as a rope. The caller clips at the end of the file.
    pub fn read(
        &self,
        inode: u64,
        layout: &m::Layout,
        offset: u64,
        length: u64,
        done: impl FnOnce(Result<Vec<Bytes>>) + Send + 'static,
    ) {
        self.read_within(self.limits(), inode, layout, offset, length, Done::new(done));
    }

    /// # Errors
    /// See `read`; `Interrupted` when the caller cancels.
    pub fn read_wait(
        &self,
        caller: &Caller,
        inode: u64,
        layout: &m::Layout,
        offset: u64,
        length: u64,
    ) -> Result<Vec<Bytes>> {
        let limits = self.core.limits(caller.cancel.clone());
        wait(caller.cancel.as_ref(), |done| {
            self.read_within(limits, inode, layout, offset, length, Done::new(done));
        })
    }

    pub(crate) fn read_within(
        &self,
        limits: Limits,
        inode: u64,
        layout: &m::Layout,
        offset: u64,
        length: u64,
        done: Done<Vec<Bytes>>,
    ) {
        let pieces = match pieces(layout, offset, length) {
            Ok(pieces) => pieces,
            Err(error) => return done.tell(Err(error)),
        };
        let (core, layout) = (self.core.clone(), *layout);
        self.routed(&limits.clone(), &layout, move |table| match table {
            Ok(table) => read_pieces(&core, &table, limits, inode, &layout, pieces, done),
            Err(error) => done.tell(Err(error)),
        });
    }
}

fn read_pieces(
    core: &Arc<Core>,
    table: &RoutingTable,
    limits: Limits,
    inode: u64,
    layout: &m::Layout,
    pieces: Vec<Piece>,
    done: Done<Vec<Bytes>>,
) {
    let whole = Done::new(move |result: Result<Vec<Vec<Bytes>>>| {
        done.tell(result.map(|parts| parts.into_iter().flatten().collect()));
    });
    let gather = Gather::new(pieces.len(), whole);
    for (place, piece) in pieces.into_iter().enumerate() {
        let chunk = ChunkId { inode, index: piece.index };
        let done = gather.part(place);
        match table.chain_of(layout, piece.index) {
            Err(error) => done.tell(Err(error)),
            Ok(chain) => {
                let first = spread(chunk, core.salt);
                let limits = limits.clone();
                start(core, ReadPiece { chain, chunk, piece, first, limits, verify: false, done });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_and_clients_spread_evenly() {
        for (step, salt) in [((0, 1), 5), ((1, 0), 5), ((1, 1), 77)] {
            let mut counts = [0u32; 3];
            for number in 0..3000 {
                let chunk = ChunkId { inode: 100 + number * step.0, index: number * step.1 };
                counts[(spread(chunk, salt) % 3) as usize] += 1;
            }
            assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        }
        let chunk = ChunkId { inode: 1, index: 1 };
        let choices: std::collections::BTreeSet<u64> = (0..20).map(|salt| spread(chunk, salt) % 3).collect();
        assert_eq!(choices.len(), 3, "clients differ");
    }
}

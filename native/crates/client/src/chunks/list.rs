//! Which chunks of a file exist, asked page by page from each chain of its stripe.

use super::Chunks;
use super::flush::chains_below;
use super::pieces::chunk_size;
use crate::Caller;
use crate::chain_call::{ChainOperation, Limits, start};
use crate::done::Done;
use crate::waiter::wait;
use bytes::Bytes;
use chain::client::Choice;
use std::ops::Range;
use wire::message as m;
use wire::{ChunkId, Result};

/// Chunks in one page: about 40 KiB of message.
const PAGE: u32 = 1000;

struct ListPage {
    chain: u32,
    from: ChunkId,
    limits: Limits,
    done: Done<m::ListChunksReply>,
}

impl ChainOperation for ListPage {
    type Request = m::ListChunksRequest;

    fn chain(&self) -> u32 {
        self.chain
    }

    fn choice(&self) -> Choice {
        Choice::Any(0)
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn request(&mut self, chain: &m::Chain) -> m::ListChunksRequest {
        m::ListChunksRequest {
            chain: self.chain,
            chain_version: chain.version,
            from: Some(self.from.into()),
            inode: self.from.inode,
            limit: PAGE,
            ..Default::default()
        }
    }

    fn finish(self, result: Result<(m::ListChunksReply, Bytes)>) {
        self.done.tell(result.map(|(reply, _)| reply));
    }
}

impl Chunks {
    /// (index, stored length) of those of the file's chunks that exist, in no order.
    pub(crate) fn list(
        &self,
        limits: &Limits,
        inode: u64,
        layout: &m::Layout,
        wanted: Range<u64>,
    ) -> Result<Vec<(u64, u32)>> {
        let chains = chains_below(&*self.routed_wait(limits, layout)?, layout, u64::MAX / 2)?;
        let mut found = Vec::new();
        for chain in chains {
            let mut from = ChunkId { inode, index: wanted.start };
            loop {
                let page = wait(limits.cancel.as_ref(), |done| {
                    start(
                        &self.core,
                        ListPage { chain, from, limits: limits.clone(), done: Done::new(done) },
                    );
                })?;
                let chunks = page.chunks.iter().filter(|info| !info.removed);
                let ids = chunks.filter_map(|info| Some((info.chunk?, info.length)));
                let ids = ids.filter(|(chunk, _)| chunk.inode == inode && wanted.contains(&chunk.index));
                found.extend(ids.map(|(chunk, length)| (chunk.index, length)));
                match page.chunks.last().and_then(|info| info.chunk) {
                    Some(last) if page.more && last.index >= from.index && last.index + 1 < wanted.end => {
                        from.index = last.index + 1;
                    }
                    _ => break,
                }
            }
        }
        Ok(found)
    }

    /// The end of the last stored byte of a file: what its length is at least, when its writer died.
    ///
    /// # Errors
    /// When a chain does not answer in time.
    pub fn query_length(&self, caller: &Caller, inode: u64, layout: &m::Layout) -> Result<u64> {
        self.query_length_from(caller, inode, layout, 0)
    }

    /// As `query_length`, of the chunks from the one on that holds this offset; 0 if there is none.
    pub(crate) fn query_length_from(
        &self,
        caller: &Caller,
        inode: u64,
        layout: &m::Layout,
        offset: u64,
    ) -> Result<u64> {
        let size = chunk_size(layout)?;
        let limits = self.core.limits(caller.cancel.clone());
        let chunks = self.list(&limits, inode, layout, offset / size..u64::MAX)?;
        let ends = chunks.into_iter().filter(|&(_, length)| length > 0);
        Ok(ends.map(|(index, length)| index * size + u64::from(length)).max().unwrap_or(0))
    }
}

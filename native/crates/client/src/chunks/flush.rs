//! Flushing a file: every chain that holds it below a length brings what it acknowledged to the medium of all
//! its members, other clients' writes too (P11).

use super::Chunks;
use super::gather::Gather;
use super::pieces::chunk_size;
use crate::RoutingTable;
use crate::chain_call::{ChainOperation, Limits, start};
use crate::done::Done;
use bytes::Bytes;
use chain::client::Choice;
use std::collections::BTreeSet;
use wire::Result;
use wire::message as m;

struct FlushChain {
    chain: u32,
    limits: Limits,
    done: Done<(u32, u64)>,
}

impl ChainOperation for FlushChain {
    type Request = m::FlushRequest;

    fn chain(&self) -> u32 {
        self.chain
    }

    fn choice(&self) -> Choice {
        Choice::Head
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn request(&mut self, chain: &m::Chain) -> m::FlushRequest {
        m::FlushRequest { chain: self.chain, chain_version: chain.version, ..Default::default() }
    }

    fn finish(self, result: Result<(m::FlushReply, Bytes)>) {
        self.done.tell(result.map(|(reply, _)| (self.chain, reply.durability_epoch)));
    }
}

impl Chunks {
    /// Told when it is on the medium, or with the first error; an error of a medium is final (P11).
    pub fn flush(&self, layout: &m::Layout, length: u64, done: impl FnOnce(Result<()>) + Send + 'static) {
        let done = Done::new(move |result: Result<Vec<(u32, u64)>>| done(result.map(drop)));
        self.flush_within(self.limits(), layout, length, done);
    }

    /// Told the chains with their durability epochs.
    pub(crate) fn flush_within(
        &self,
        limits: Limits,
        layout: &m::Layout,
        length: u64,
        done: Done<Vec<(u32, u64)>>,
    ) {
        let (core, layout) = (self.core.clone(), *layout);
        self.routed(&limits.clone(), &layout, move |table| {
            let chains = match table.and_then(|table| chains_below(&table, &layout, length)) {
                Ok(chains) => chains,
                Err(error) => return done.tell(Err(error)),
            };
            let gather = Gather::new(chains.len(), done);
            for (place, chain) in chains.into_iter().enumerate() {
                start(&core, FlushChain { chain, limits: limits.clone(), done: gather.part(place) });
            }
        });
    }
}

/// The chains that hold a file below `length`.
pub(super) fn chains_below(table: &RoutingTable, layout: &m::Layout, length: u64) -> Result<BTreeSet<u32>> {
    let chunks = length.div_ceil(chunk_size(layout)?);
    (0..chunks.min(layout.stripe.max(1).into())).map(|index| table.chain_of(layout, index)).collect()
}

//! Where a range of a file is: the nodes that serve each piece, for schedulers that bring work to its data.

use super::Chunks;
use super::pieces::chunk_size;
use crate::Caller;
use crate::routing::serving;
use wire::message as m;
use wire::{NodeId, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    pub offset: u64,
    pub length: u64,
    /// The head first.
    pub nodes: Vec<NodeId>,
}

impl Chunks {
    /// One entry per chunk of the range.
    ///
    /// # Errors
    /// `NoChain` for a layout whose table stays unknown, `InvalidArgument` for a bad layout.
    pub fn locate(
        &self,
        caller: &Caller,
        layout: &m::Layout,
        offset: u64,
        length: u64,
    ) -> Result<Vec<Located>> {
        let size = chunk_size(layout)?;
        let table = self.routed_wait(&self.core.limits(caller.cancel.clone()), layout)?;
        let end = offset.saturating_add(length);
        let mut found = Vec::new();
        let mut at = offset;
        while at < end {
            let next = (at / size + 1).saturating_mul(size).min(end);
            let chain = table.chain(table.chain_of(layout, at / size)?);
            let nodes =
                chain.iter().flat_map(|chain| serving(chain)).map(|member| NodeId(member.node)).collect();
            found.push(Located { offset: at, length: next - at, nodes });
            at = next;
        }
        Ok(found)
    }
}

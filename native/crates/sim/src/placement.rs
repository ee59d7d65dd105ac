//! Where things are, by their places in the world's lists: every node has one target of each chain, and the chunks
//! are striped over the chains.

use crate::knobs::Knobs;
use std::ops::Range;
use wire::message::{Chain, Member};
use wire::{ChunkId, TargetId};

#[derive(Clone, Copy, Debug)]
pub struct Placement {
    pub chains: usize,
    pub nodes: usize,
    members: usize,
    chunks_per_chain: u64,
}

pub fn target_id(target: usize) -> TargetId {
    TargetId(target as u64 + 1)
}

/// Of the target with this number.
pub fn target_place(TargetId(number): TargetId) -> usize {
    number as usize - 1
}

/// Of the chain with this number.
pub fn chain_place(number: u32) -> usize {
    number as usize - 1
}

impl Placement {
    pub fn new(knobs: &Knobs) -> Placement {
        let nodes = knobs.members + knobs.spares;
        Placement { chains: knobs.chains, nodes, members: knobs.members, chunks_per_chain: knobs.chunks }
    }

    pub fn target(self, chain: usize, node: usize) -> usize {
        chain * self.nodes + node
    }

    pub fn node_of(self, target: usize) -> usize {
        target % self.nodes
    }

    pub fn chain_of(self, target: usize) -> usize {
        target / self.nodes
    }

    /// Of one node: one of each chain, in the order of the chains.
    pub fn targets_on(self, node: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.chains).map(move |chain| self.target(chain, node))
    }

    pub fn targets_of(self, chain: usize) -> Range<usize> {
        self.target(chain, 0)..self.target(chain + 1, 0)
    }

    /// In all chains together.
    pub fn chunks(self) -> u64 {
        self.chunks_per_chain * self.chains as u64
    }

    /// This one of a chain's own.
    pub fn chunk(self, chain: usize, number: u64) -> ChunkId {
        ChunkId { inode: 1, index: number * self.chains as u64 + chain as u64 }
    }

    pub fn chain_of_chunk(self, chunk: ChunkId) -> usize {
        (chunk.index % self.chains as u64) as usize
    }

    pub fn member(self, target: usize) -> Member {
        let TargetId(number) = target_id(target);
        Member { target: number, node: self.node_of(target) as u32, ..Member::default() }
    }

    /// As it is made: each chain begins at another node, so that a node has another part in each.
    pub fn new_chain(self, chain: usize) -> Chain {
        let nodes = (chain..chain + self.members).map(|node| node % self.nodes);
        let members: Vec<Member> = nodes.map(|node| self.member(self.target(chain, node))).collect();
        let preferred = members.iter().map(|member| member.target).collect();
        Chain { id: chain as u32 + 1, version: 1, members, preferred, ..Chain::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(chains: usize) -> Placement {
        Placement::new(&Knobs { chains, members: 3, spares: 1, chunks: 5, ..Knobs::default() })
    }

    #[test]
    fn every_node_has_one_target_of_each_chain() {
        let placement = placement(3);
        for node in 0..placement.nodes {
            let targets: Vec<usize> = placement.targets_on(node).collect();
            assert!(targets.iter().all(|target| placement.node_of(*target) == node));
            let chains: Vec<usize> = targets.iter().map(|target| placement.chain_of(*target)).collect();
            assert_eq!(chains, [0, 1, 2]);
        }
        let all: Vec<usize> = (0..3).flat_map(|chain| placement.targets_of(chain)).collect();
        assert_eq!(all, (0..12).collect::<Vec<_>>());
        assert!(all.iter().all(|target| target_place(target_id(*target)) == *target));
    }

    #[test]
    fn chains_have_other_heads_and_their_own_chunks() {
        let placement = placement(3);
        let nodes = |chain| -> Vec<u32> {
            placement.new_chain(chain).members.iter().map(|member| member.node).collect()
        };
        assert_eq!([nodes(0), nodes(1), nodes(2)], [[0, 1, 2], [1, 2, 3], [2, 3, 0]]);
        let of_chain = |chain| (0..5).map(move |number| placement.chunk(chain, number));
        assert!((0..3).all(|chain| of_chain(chain).all(|chunk| placement.chain_of_chunk(chunk) == chain)));
        let mut all: Vec<u64> = (0..3).flat_map(of_chain).map(|chunk| chunk.index).collect();
        all.sort_unstable();
        assert_eq!(all, (0..placement.chunks()).collect::<Vec<_>>());
    }
}

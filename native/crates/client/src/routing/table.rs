//! One version of the routing table. Pure: it is built from messages and answers questions.

use std::collections::HashMap;
use std::sync::Arc;
use wire::message::{self as m, NodeKind, PublicState};
use wire::{Code, Error, Result};

#[derive(Clone, Debug, Default)]
pub struct RoutingTable {
    pub version: u64,
    pub cluster: String,
    nodes: HashMap<(i32, u32), Arc<m::Node>>,
    chains: HashMap<u32, Arc<m::Chain>>,
    tables: HashMap<u32, Arc<m::ChainTable>>,
}

impl RoutingTable {
    /// This table with the entries that `change` names replaced; `None` if `change` is on top of another
    /// version.
    pub fn with(&self, change: &m::Routing) -> Option<RoutingTable> {
        if change.from_version != 0 && change.from_version != self.version {
            return None;
        }
        let mut next = if change.from_version == 0 { RoutingTable::default() } else { self.clone() };
        next.version = change.version;
        next.cluster = if change.cluster.is_empty() { self.cluster.clone() } else { change.cluster.clone() };
        next.nodes.extend(change.nodes.iter().map(|node| ((node.kind, node.id), Arc::new(node.clone()))));
        next.chains.extend(change.chains.iter().map(|chain| (chain.id, Arc::new(chain.clone()))));
        next.tables.extend(change.tables.iter().map(|table| (table.id, Arc::new(table.clone()))));
        Some(next)
    }

    /// The whole table, in no order.
    pub fn to_message(&self) -> m::Routing {
        m::Routing {
            version: self.version,
            cluster: self.cluster.clone(),
            nodes: self.nodes.values().map(|node| (**node).clone()).collect(),
            chains: self.chains.values().map(|chain| (**chain).clone()).collect(),
            tables: self.tables.values().map(|table| (**table).clone()).collect(),
            ..Default::default()
        }
    }

    pub fn chain(&self, id: u32) -> Option<&Arc<m::Chain>> {
        self.chains.get(&id)
    }

    pub fn chains(&self) -> impl Iterator<Item = &Arc<m::Chain>> {
        self.chains.values()
    }

    pub fn tables(&self) -> impl Iterator<Item = &Arc<m::ChainTable>> {
        self.tables.values()
    }

    pub fn storage_node(&self, id: u32) -> Option<&Arc<m::Node>> {
        self.nodes.get(&(NodeKind::NodeStorage as i32, id))
    }

    pub fn storage_nodes(&self) -> impl Iterator<Item = &Arc<m::Node>> {
        self.nodes.values().filter(|node| node.kind == NodeKind::NodeStorage as i32)
    }

    /// The metadata service: the first release has one owner for all partitions (P18). A dead one is better
    /// than none: it may be on its way back under the same address.
    pub fn metadata_node(&self) -> Option<&Arc<m::Node>> {
        let all = self.nodes.values().filter(|node| node.kind == NodeKind::NodeMeta as i32);
        all.max_by_key(|node| (node.alive, node.incarnation))
    }

    /// The chain of a file's chunk, by the layout arithmetic that all sides share.
    ///
    /// # Errors
    /// `NoChain` if the table is not known here.
    pub fn chain_of(&self, layout: &m::Layout, index: u64) -> Result<u32> {
        let table = self.tables.get(&layout.table);
        let table = table.filter(|table| !table.chains.is_empty()).ok_or_else(|| {
            Error::new(
                Code::NoChain,
                format!("chain table {} is not in routing {}", layout.table, self.version),
            )
        })?;
        let stripe = u64::from(layout.stripe.max(1));
        let place = (u64::from(layout.first) + index % stripe) % table.chains.len() as u64;
        Ok(table.chains[place as usize])
    }
}

/// Members that answer reads, the head first.
pub(crate) fn serving(chain: &m::Chain) -> impl Iterator<Item = &m::Member> {
    chain.members.iter().filter(|member| member.state == PublicState::PublicServing as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32, kind: NodeKind, alive: bool) -> m::Node {
        m::Node { id, kind: kind as i32, alive, address: format!("n{id}"), ..Default::default() }
    }

    #[test]
    fn a_change_replaces_what_it_names_and_keeps_the_rest() {
        let whole = m::Routing {
            version: 5,
            cluster: "c".into(),
            nodes: vec![node(1, NodeKind::NodeStorage, true), node(1, NodeKind::NodeMeta, true)],
            chains: vec![m::Chain { id: 1, version: 1, ..Default::default() }],
            ..Default::default()
        };
        let table = RoutingTable::default().with(&whole).unwrap();
        let change = m::Routing {
            version: 6,
            from_version: 5,
            nodes: vec![node(1, NodeKind::NodeStorage, false)],
            ..Default::default()
        };
        let next = table.with(&change).unwrap();
        assert_eq!((next.version, next.cluster.as_str(), next.chain(1).unwrap().version), (6, "c", 1));
        assert!(!next.storage_node(1).unwrap().alive && next.metadata_node().unwrap().alive);
        assert!(table.storage_node(1).unwrap().alive, "tables are immutable");
        assert!(next.with(&change).is_none(), "a change is valid on top of its own version only");
        assert!(next.with(&m::Routing { version: 9, ..Default::default() }).unwrap().chain(1).is_none());
    }

    #[test]
    fn chunks_go_round_the_stripe_from_the_first_chain() {
        let tables = vec![m::ChainTable { id: 1, version: 1, chains: vec![10, 11, 12, 13] }];
        let table =
            RoutingTable::default().with(&m::Routing { version: 1, tables, ..Default::default() }).unwrap();
        let layout = m::Layout { table: 1, stripe: 3, first: 2, ..Default::default() };
        let chains: Vec<u32> = (0..7).map(|index| table.chain_of(&layout, index).unwrap()).collect();
        assert_eq!(chains, [12, 13, 10, 12, 13, 10, 12]);
        let other = m::Layout { table: 2, ..layout };
        assert_eq!(table.chain_of(&other, 0).unwrap_err().code, Code::NoChain);
    }
}

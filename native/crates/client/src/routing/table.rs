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

    /// Whether the chunks of a file can be found: its layout may name a version of its table that did not come yet.
    pub fn knows(&self, layout: &m::Layout) -> bool {
        self.chains_of(layout).is_some()
    }

    /// The chain of a file's chunk, by the layout arithmetic that all sides share.
    ///
    /// # Errors
    /// `NoChain` if the table's version is not known here.
    pub fn chain_of(&self, layout: &m::Layout, index: u64) -> Result<u32> {
        let chains = self.chains_of(layout).ok_or_else(|| {
            let (table, version) = (layout.table, layout.table_version);
            let detail =
                format!("version {version} of chain table {table} is not in routing {}", self.version);
            Error::new(Code::NoChain, detail)
        })?;
        let stripe = u64::from(layout.stripe.max(1));
        let place = (u64::from(layout.first) + index % stripe) % chains.len() as u64;
        Ok(chains[place as usize])
    }

    /// A table only gains chains, at its end: each version is the first so many of the newest one's.
    fn chains_of(&self, layout: &m::Layout) -> Option<&[u32]> {
        let table = self.tables.get(&layout.table)?;
        let length = if layout.table_version == table.version {
            table.chains.len()
        } else {
            let before = layout.table_version.checked_sub(1)?;
            *table.lengths.get(before as usize)? as usize
        };
        table.chains.get(..length).filter(|chains| !chains.is_empty())
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
        let tables =
            vec![m::ChainTable { id: 1, version: 1, chains: vec![10, 11, 12, 13], ..Default::default() }];
        let table =
            RoutingTable::default().with(&m::Routing { version: 1, tables, ..Default::default() }).unwrap();
        let layout = m::Layout { table: 1, table_version: 1, stripe: 3, first: 2, ..Default::default() };
        let chains: Vec<u32> = (0..7).map(|index| table.chain_of(&layout, index).unwrap()).collect();
        assert_eq!(chains, [12, 13, 10, 12, 13, 10, 12]);
        let other = m::Layout { table: 2, ..layout };
        assert_eq!(table.chain_of(&other, 0).unwrap_err().code, Code::NoChain);
    }

    #[test]
    fn a_file_keeps_the_chains_of_the_version_that_it_was_made_with() {
        let chains = vec![10, 11, 12, 13, 20, 21];
        let grown = m::ChainTable { id: 1, version: 3, chains, lengths: vec![2, 4] };
        let whole = m::Routing { version: 1, tables: vec![grown], ..Default::default() };
        let table = RoutingTable::default().with(&whole).unwrap();
        let layout =
            |table_version| m::Layout { table: 1, table_version, stripe: 16, first: 1, ..Default::default() };
        let places = |version| {
            (0..6).map(|index| table.chain_of(&layout(version), index).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(places(1), [11, 10, 11, 10, 11, 10]);
        assert_eq!(places(2), [11, 12, 13, 10, 11, 12]);
        assert_eq!(places(3), [11, 12, 13, 20, 21, 10]);
        for unknown in [0, 4, u32::MAX] {
            assert!(!table.knows(&layout(unknown)));
            assert_eq!(table.chain_of(&layout(unknown), 0).unwrap_err().code, Code::NoChain);
        }
        assert!(table.knows(&layout(1)));
        // A growth comes as a delta that names the table alone.
        let chains = vec![10, 11, 12, 13, 20, 21, 30];
        let tables = vec![m::ChainTable { id: 1, version: 4, chains, lengths: vec![2, 4, 6] }];
        let next =
            table.with(&m::Routing { version: 2, from_version: 1, tables, ..Default::default() }).unwrap();
        let all: Vec<u32> = (1..5).map(|version| next.chain_of(&layout(version), 5).unwrap()).collect();
        assert_eq!(all, [10, 12, 10, 30]);
    }

    #[test]
    fn a_table_that_contradicts_itself_is_not_known() {
        let broken = m::ChainTable { id: 1, version: 2, chains: vec![10], lengths: vec![3] };
        let empty = m::ChainTable { id: 2, version: 1, ..Default::default() };
        let whole = m::Routing { version: 1, tables: vec![broken, empty], ..Default::default() };
        let table = RoutingTable::default().with(&whole).unwrap();
        let known = |table_id, version| {
            table.knows(&m::Layout { table: table_id, table_version: version, ..Default::default() })
        };
        assert_eq!([known(1, 1), known(1, 2), known(2, 1)], [false, true, false]);
    }
}

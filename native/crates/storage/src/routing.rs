//! What this server knows of the cluster: nodes and chains, whole or by deltas on top of the version held.
//! Versions only rise.

use chain::LiveClients;
use std::collections::HashMap;
use std::sync::Arc;
use wire::NodeId;
use wire::message::{Chain, Node, Routing};

#[derive(Default)]
pub struct RoutingState {
    version: u64,
    /// A delta did not fit: the next heartbeat asks for all of it.
    lost: bool,
    nodes: HashMap<u32, Node>,
    chains: HashMap<u32, Chain>,
    clients: Arc<LiveClients>,
}

impl RoutingState {
    /// What a heartbeat says we hold.
    pub fn held_version(&self) -> u64 {
        if self.lost { 0 } else { self.version }
    }

    /// True if what is held now is at least as new as `routing`; false if it needs versions that we lack.
    pub fn apply(&mut self, routing: Routing) -> bool {
        if routing.version <= self.version && !(self.lost && routing.from_version == 0) {
            return true;
        }
        if routing.from_version == 0 {
            self.nodes.clear();
            self.chains.clear();
            self.lost = false;
        } else if routing.from_version > self.version || self.lost {
            self.lost = true;
            return false;
        }
        self.version = routing.version;
        if self.clients.is_changed_by(&routing) {
            Arc::make_mut(&mut self.clients).apply(&routing);
        }
        self.nodes.extend(routing.nodes.into_iter().map(|node| (node.id, node)));
        self.chains.extend(routing.chains.into_iter().map(|chain| (chain.id, chain)));
        true
    }

    pub fn chain(&self, id: u32) -> Option<&Chain> {
        self.chains.get(&id)
    }

    pub fn chains(&self) -> Vec<Chain> {
        self.chains.values().cloned().collect()
    }

    /// Who may write, as of the routing held (P4).
    pub fn clients(&self) -> Arc<LiveClients> {
        self.clients.clone()
    }

    pub fn address(&self, node: NodeId) -> Option<String> {
        self.nodes.get(&node.0).map(|node| node.address.clone()).filter(|address| !address.is_empty())
    }

    pub fn incarnation(&self, node: NodeId) -> u64 {
        self.nodes.get(&node.0).map_or(0, |node| node.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(version: u64, from_version: u64, chain: (u32, u64)) -> Routing {
        let chains = vec![Chain { id: chain.0, version: chain.1, ..Default::default() }];
        Routing { version, from_version, chains, ..Default::default() }
    }

    fn versions(state: &RoutingState) -> Vec<(u32, u64)> {
        let mut all: Vec<(u32, u64)> = state.chains().iter().map(|chain| (chain.id, chain.version)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn deltas_fit_or_are_asked_for_again() {
        let mut state = RoutingState::default();
        assert!(!state.apply(routing(3, 2, (1, 1))));
        assert_eq!(state.held_version(), 0);
        assert!(state.apply(routing(5, 0, (1, 1))));
        assert!(state.apply(routing(6, 5, (2, 1))));
        assert!(state.apply(routing(7, 4, (1, 2))), "a delta from an older version brings all since then");
        assert_eq!((state.held_version(), versions(&state)), (7, vec![(1, 2), (2, 1)]));
        assert!(state.apply(routing(6, 0, (1, 9))), "older than what is held");
        assert!(!state.apply(routing(9, 8, (1, 9))));
        assert_eq!((state.held_version(), versions(&state)), (0, vec![(1, 2), (2, 1)]));
        assert!(!state.apply(routing(10, 7, (1, 9))), "after a loss only the whole table helps");
        assert!(state.apply(routing(7, 0, (1, 2))));
        assert_eq!((state.held_version(), versions(&state)), (7, vec![(1, 2)]));
    }
}

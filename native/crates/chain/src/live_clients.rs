//! The live clients, as every routing names them (P4). The list is what lets a client write: an id that is
//! not in it was fenced, or is not known here yet. A server that restarts is handed a list with its first
//! routing, so that no fence is ever forgotten.

use std::collections::{HashSet, VecDeque};
use wire::ClientId;
use wire::message::Routing;

/// Fenced ids that are told apart from unknown ones: a client that is late by more fences hears "unknown",
/// which is as safe, and learns of its fence from the manager.
const FENCED_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Live,
    /// It was live, and left.
    Fenced,
    /// Perhaps it registered a moment ago, and the routing that says so is on its way.
    Unknown,
}

/// Starts without any client: nobody may write before the first routing came.
#[derive(Clone, Debug, Default)]
pub struct LiveClients {
    version: u64,
    live: HashSet<ClientId>,
    fenced: HashSet<ClientId>,
    /// The same ids, oldest first.
    fenced_order: VecDeque<ClientId>,
}

impl LiveClients {
    /// Takes a routing that fits on what is held (whole, or a delta from no newer version). Ids of a wrong
    /// length name nobody.
    pub fn apply(&mut self, routing: &Routing) {
        if routing.version <= self.version {
            return;
        }
        self.version = routing.version;
        let added: HashSet<ClientId> = routing.clients_added.iter().filter_map(client_id).collect();
        let left: Vec<ClientId> = match routing.from_version {
            0 => self.live.difference(&added).copied().collect(),
            _ => Vec::new(),
        };
        // An id that was added and removed since the delta's base is named twice; it never comes back.
        self.live.extend(added);
        for client in left.into_iter().chain(routing.clients_removed.iter().filter_map(client_id)) {
            self.live.remove(&client);
            self.remember_fenced(client);
        }
    }

    /// Whether applying `routing` would change who is live.
    pub fn is_changed_by(&self, routing: &Routing) -> bool {
        routing.version > self.version
            && (routing.from_version == 0
                || !routing.clients_added.is_empty()
                || !routing.clients_removed.is_empty())
    }

    fn remember_fenced(&mut self, client: ClientId) {
        if self.fenced.insert(client) {
            self.fenced_order.push_back(client);
        }
        if self.fenced_order.len() > FENCED_MAX
            && let Some(oldest) = self.fenced_order.pop_front()
        {
            self.fenced.remove(&oldest);
        }
    }

    pub fn standing(&self, client: ClientId) -> Standing {
        if self.live.contains(&client) {
            Standing::Live
        } else if self.fenced.contains(&client) {
            Standing::Fenced
        } else {
            Standing::Unknown
        }
    }

    /// In no order.
    pub fn live(&self) -> impl Iterator<Item = ClientId> + '_ {
        self.live.iter().copied()
    }

    pub fn is_live(&self, client: ClientId) -> bool {
        self.live.contains(&client)
    }

    /// Of the routing that last changed the list.
    pub fn version(&self) -> u64 {
        self.version
    }
}

fn client_id(bytes: impl AsRef<[u8]>) -> Option<ClientId> {
    bytes.as_ref().try_into().ok().map(ClientId)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(version: u64, from_version: u64, added: &[u8], removed: &[u8]) -> Routing {
        let ids = |numbers: &[u8]| numbers.iter().map(|number| vec![*number; 16].into()).collect();
        let (clients_added, clients_removed) = (ids(added), ids(removed));
        Routing { version, from_version, clients_added, clients_removed, ..Routing::default() }
    }

    fn standings(clients: &LiveClients, numbers: &[u8]) -> Vec<Standing> {
        numbers.iter().map(|number| clients.standing(ClientId([*number; 16]))).collect()
    }

    #[test]
    fn who_is_not_named_may_not_write() {
        use Standing::{Fenced, Live, Unknown};
        let mut clients = LiveClients::default();
        assert_eq!(standings(&clients, &[1]), [Unknown]);
        clients.apply(&routing(5, 0, &[1, 2], &[]));
        assert_eq!(standings(&clients, &[1, 2, 3]), [Live, Live, Unknown]);
        clients.apply(&routing(6, 5, &[3], &[1]));
        assert_eq!(standings(&clients, &[1, 2, 3]), [Fenced, Live, Live]);
        clients.apply(&routing(5, 4, &[1], &[2]));
        assert_eq!(standings(&clients, &[1, 2, 3]), [Fenced, Live, Live], "older than what is held");
        clients.apply(&routing(9, 0, &[3, 4], &[]));
        assert_eq!(standings(&clients, &[1, 2, 3, 4]), [Fenced, Fenced, Live, Live], "left unheard");
        clients.apply(&routing(10, 9, &[7], &[7]));
        assert_eq!(standings(&clients, &[7]), [Fenced], "came and left between two routings");
        assert_eq!(clients.version(), 10);
        let same = Routing { version: 11, from_version: 10, ..Routing::default() };
        assert!(!clients.is_changed_by(&same) && clients.is_changed_by(&routing(11, 0, &[], &[])));
        assert!(clients.is_changed_by(&routing(11, 10, &[], &[3])));
    }

    #[test]
    fn fenced_ids_are_bounded() {
        let mut clients = LiveClients::default();
        let id = |number: u64| ClientId(std::array::from_fn(|at| number.to_le_bytes()[at % 8]));
        for number in 0..FENCED_MAX as u64 + 10 {
            let clients_removed = vec![id(number).0.to_vec().into()];
            clients.apply(&Routing {
                version: number + 2,
                from_version: 1,
                clients_removed,
                ..Default::default()
            });
        }
        assert_eq!(clients.fenced.len(), FENCED_MAX);
        assert_eq!(
            (clients.standing(id(9)), clients.standing(id(10))),
            (Standing::Unknown, Standing::Fenced)
        );
    }
}

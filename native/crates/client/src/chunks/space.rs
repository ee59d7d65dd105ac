//! What the storage servers have: asked of every live node, for statfs and placement of the whole.

use super::Chunks;
use super::gather::Gather;
use crate::Caller;
use crate::RoutingTable;
use crate::done::Done;
use crate::routing::serving;
use crate::waiter::wait;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use wire::Result;
use wire::message as m;

/// A node that takes longer is left out: its targets' copies are on others.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What files can use: every copy counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub capacity_bytes: u64,
    pub used_bytes: u64,
}

impl Chunks {
    /// # Errors
    /// `Interrupted`; nodes that do not answer are left out.
    pub fn space(&self, caller: &Caller) -> Result<Space> {
        let table = self.core.routing.current();
        let nodes: Vec<Arc<m::Node>> = table.storage_nodes().filter(|node| node.alive).cloned().collect();
        let answers = wait(caller.cancel.as_ref(), |done| {
            let gather = Gather::new(nodes.len(), Done::new(done));
            for (place, node) in nodes.iter().enumerate() {
                self.ask_node(node, gather.part(place));
            }
        })?;
        let targets: HashMap<u64, m::TargetSpace> =
            answers.into_iter().flatten().map(|space: m::TargetSpace| (space.target, space)).collect();
        Ok(once(&table, &targets))
    }

    fn ask_node(&self, node: &m::Node, done: Done<Vec<m::TargetSpace>>) {
        self.core.nodes.with_connection(node, move |connection| {
            let Ok(connection) = connection else { return done.tell(Ok(Vec::new())) };
            let answered = move |result: Result<(m::SpaceReply, Bytes)>| {
                done.tell(Ok(result.map_or_else(|_| Vec::new(), |(reply, _)| reply.targets)));
            };
            transport::call(&*connection, m::SpaceRequest::default(), Vec::new(), TIMEOUT, answered);
        });
    }
}

/// Every target reports its own bytes and the capacity of its disk, which the targets of one disk share.
fn once(table: &RoutingTable, targets: &HashMap<u64, m::TargetSpace>) -> Space {
    let (mut disks, mut used_bytes) = (HashMap::new(), 0);
    let (mut chains, mut copies) = (0, 0);
    for chain in table.chains() {
        chains += 1;
        for member in serving(chain) {
            let Some(space) = targets.get(&member.target) else { continue };
            copies += 1;
            used_bytes += space.used_bytes;
            let capacity = disks.entry((member.node, member.disk)).or_insert(0);
            *capacity = space.capacity_bytes.max(*capacity);
        }
    }
    let capacity_bytes: u64 = disks.into_values().sum();
    // The mean number of copies of a byte; disks have far less than 2^63 bytes / chains.
    let share = |bytes: u64| (u128::from(bytes) * chains).checked_div(copies).map_or(0, |share| share as u64);
    Space { capacity_bytes: share(capacity_bytes), used_bytes: share(used_bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::message::PublicState;

    #[test]
    fn disks_count_once_and_copies_are_divided_out() {
        let member = |target, node| m::Member {
            target,
            node,
            state: PublicState::PublicServing as i32,
            ..Default::default()
        };
        let chain = |id, targets: [u64; 3]| m::Chain {
            id,
            members: targets.iter().map(|&target| member(target, (target % 3) as u32)).collect(),
            ..Default::default()
        };
        let chains = vec![chain(1, [0, 1, 2]), chain(2, [3, 4, 5])];
        let routing = m::Routing { version: 1, chains, ..Default::default() };
        let table = RoutingTable::default().with(&routing).unwrap();
        let space =
            |target| m::TargetSpace { target, capacity_bytes: 900, used_bytes: 30, ..Default::default() };
        let targets = (0..6).map(|target| (target, space(target))).collect();
        assert_eq!(once(&table, &targets), Space { capacity_bytes: 900, used_bytes: 60 });
        assert_eq!(once(&table, &HashMap::new()), Space::default());
    }
}

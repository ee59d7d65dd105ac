//! What the storage servers have: asked of every live node, for statfs and placement of the whole.

use super::Chunks;
use super::gather::Gather;
use crate::Caller;
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
        let mut whole = Space::default();
        for chain in table.chains() {
            let members: Vec<&m::TargetSpace> =
                serving(chain).filter_map(|member| targets.get(&member.target)).collect();
            whole.capacity_bytes += members.iter().map(|space| space.capacity_bytes).min().unwrap_or(0);
            whole.used_bytes += members.iter().map(|space| space.used_bytes).max().unwrap_or(0);
        }
        Ok(whole)
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

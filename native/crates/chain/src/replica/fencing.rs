//! Fencing of clients (P4). Only the head tests a client, before it gives an update its version; whoever has
//! the update by then takes it on. So a fence holds once nothing of that client is in the air under the head
//! of the chain's current version: the head before it answers nobody, and what it left behind was rolled
//! forward.

use super::{Output, Replica, Step};
use crate::live_clients::{LiveClients, Standing};
use crate::museum::{Planted, planted};
use crate::view::Role;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::{ClientId, Code, Error, Result};

#[derive(Default)]
pub(super) struct Fencing {
    clients: Arc<LiveClients>,
    /// Clients that are not known to be live, with the number of their updates that pend here. One of them
    /// may be new: the head heard of it first.
    leaving: BTreeMap<ClientId, usize>,
    /// Clients of whom the engine had records when the process started. Its first list is newer than those
    /// records, so whoever is not in it is gone.
    recovered: BTreeSet<ClientId>,
    strangers: BTreeSet<ClientId>,
    /// The version of the list under which nothing of a fenced client pended here last.
    held: u64,
}

impl Fencing {
    /// The only test of a client: the head's, before it assigns.
    pub(super) fn admits(&self, client: ClientId) -> Result<()> {
        match self.clients.standing(client) {
            Standing::Live => Ok(()),
            _ if planted(Planted::FencedMayWrite) => Ok(()),
            Standing::Fenced => Err(Error::new(Code::Fenced, "the client was fenced")),
            Standing::Unknown => Err(Error::new(Code::Busy, "the client is not known here yet")),
        }
    }

    pub(super) fn recovered(&mut self, clients: BTreeSet<ClientId>) {
        self.recovered = clients;
    }

    /// Not live, and not new either: its exactly-once records may go.
    fn is_gone(&self, client: ClientId) -> bool {
        match self.clients.standing(client) {
            Standing::Live => false,
            Standing::Fenced => true,
            Standing::Unknown => self.strangers.contains(&client) || planted(Planted::NewIsGone),
        }
    }

    /// One more update of this client pends.
    pub(super) fn appended(&mut self, client: ClientId) {
        if !self.clients.is_live(client) {
            *self.leaving.entry(client).or_default() += 1;
        }
    }

    /// Nothing pends any more.
    pub(super) fn dropped_all(&mut self) {
        self.leaving.clear();
    }

    /// A new version of the chain, or what the engine found: what was held under another head says nothing,
    /// since that one may have sent more in the meantime.
    pub(super) fn begin_again(&mut self) {
        if !planted(Planted::FenceOutlivesHead) {
            self.held = 0;
        }
        self.note_held();
    }

    fn note_held(&mut self) {
        if self.leaving.is_empty() || planted(Planted::FenceAtOnce) {
            self.held = self.clients.version();
        }
    }
}

impl<P: Clone> Replica<P> {
    pub(super) fn on_clients(&mut self, step: &mut Step<P>, clients: Arc<LiveClients>) {
        if clients.version() <= self.fencing.clients.version() {
            return;
        }
        self.fencing.clients = clients;
        let recovered = std::mem::take(&mut self.fencing.recovered);
        let unknown = |client: &ClientId| !self.fencing.clients.is_live(*client);
        let strangers: BTreeSet<ClientId> = recovered.into_iter().filter(unknown).collect();
        self.fencing.strangers.extend(strangers);
        self.fencing.leaving.clear();
        for pending in self.queues.values().flat_map(|queue| &queue.pending) {
            if let Some(channel) = &pending.channel {
                self.fencing.appended(channel.tag.client);
            }
        }
        self.fencing.note_held();
        for client in self.table.clients() {
            if self.fencing.is_gone(client) && !self.fencing.leaving.contains_key(&client) {
                self.drop_channels(step, client);
            }
        }
    }

    /// An update of this client was committed: if it was the last one of a fenced client, its exactly-once
    /// records go (P7). No head that could assign a retry of it is to come: whoever knows the chain version
    /// that makes it the head has a list that is at least as new.
    pub(super) fn fence_progress(&mut self, step: &mut Step<P>, client: ClientId) {
        let Some(left) = self.fencing.leaving.get_mut(&client) else { return };
        *left -= 1;
        if *left == 0 {
            self.fencing.leaving.remove(&client);
            if self.fencing.is_gone(client) {
                self.drop_channels(step, client);
            }
            self.fencing.note_held();
        }
    }

    fn drop_channels(&mut self, step: &mut Step<P>, client: ClientId) {
        self.table.forget(client);
        self.fencing.strangers.remove(&client);
        step.out.push(Output::DropChannels { client });
    }

    /// For reports: the version of the list of live clients up to which every fence holds in this chain, as
    /// far as this member can say: 0 unless it is the head of the chain's version that the report names.
    pub fn fences_held(&self) -> u64 {
        let head = self.view.role == Role::Serving && self.view.is_head && self.offline.is_none();
        if head { self.fencing.held } else { 0 }
    }
}

//! A new version of the chain, or a lease (R4: one input carries both). What pends is kept and driven again
//! in order before anything new is accepted (P6); sessions and questions of the old version end.

use super::chunk_queue::{Asked, Pending, Waiter};
use super::sync_source::SyncSource;
use super::{Output, RecoveredUpdate, Replica, Step};
use crate::museum::{Planted, planted};
use crate::update::Committed;
use crate::view::{Role, View};
use crate::{Time, limits};
use wire::message::Chain;
use wire::{ChunkId, Code, Error, Version};

impl<P: Clone> Replica<P> {
    pub(super) fn on_view(&mut self, step: &mut Step<P>, chain: Chain, lease_until: Option<Time>) {
        if chain.version > self.view.version.0 {
            self.change_view(step, chain);
        }
        // The view is now at least as new as the one that the lease came with.
        if let Some(until) = lease_until {
            self.lease_until = self.lease_until.max(until);
        }
    }

    fn change_view(&mut self, step: &mut Step<P>, chain: Chain) {
        let stale = Error::new(Code::WrongChainVersion, format!("the chain changed to {}", chain.version));
        let view = View::new(chain, self.identity.target, self.identity.incarnation);
        let before = std::mem::replace(&mut self.view, view);
        // R1: whatever was synced was synced under another version.
        self.up_to_date = self.up_to_date && planted(Planted::R1);
        self.begin_settling(before.role);
        self.begin_roll_forward();
        self.fencing.begin_again();
        self.begin_with_room(&before);
        self.source = None;
        self.retry.clear();
        self.end_session(step, &stale);
        self.dirty.fail(step, &stale);
        self.flushes.fail(step, &stale);
        self.release_waiters(step, &stale, self.view.role != Role::Serving);
        if planted(Planted::DropPending) {
            self.drop_everything();
            step.out.push(Output::Discard { ticket: 0 });
        }
        if planted(Planted::TableLost) {
            self.table.clear();
        }
        if self.offline.is_some() || self.view.role != Role::Serving {
            return;
        }
        if let Some(to) = self.view.successor.filter(|_| self.view.successor_is_syncing) {
            let to = if planted(Planted::WrongSyncTarget) { self.identity.target } else { to };
            self.source = Some(SyncSource::new(to, self.view.version.0));
        }
        self.drive_again(step);
        self.drive_source(step);
        self.ask_predecessor(step);
    }

    /// The predecessors of the old version are told to try again; clients wait on while this member serves.
    pub(super) fn release_waiters(&mut self, step: &mut Step<P>, told: &Error, clients_too: bool) {
        let mut released: Vec<Waiter> = Vec::new();
        for queue in self.queues.values_mut() {
            for held in std::mem::take(&mut queue.held).into_values() {
                released.extend(held.waiters);
            }
            for pending in &mut queue.pending {
                let leaves = |waiter: &Waiter| clients_too || !waiter.from_client;
                released.extend(pending.waiters.extract_if(.., |waiter| leaves(waiter)));
            }
        }
        self.queues.retain(|_, queue| !queue.is_idle());
        let replies = released.into_iter().map(|waiter| waiter.reply);
        step.out.extend(replies.map(|reply| Output::ReplyUpdate { reply, result: Err(told.clone()) }));
    }

    fn drop_everything(&mut self) {
        for queue in std::mem::take(&mut self.queues).into_values() {
            for channel in queue.pending.iter().filter_map(|pending| pending.channel.as_ref()) {
                self.table.landed(channel);
            }
        }
        self.pending_total = 0;
        (self.allocating_bytes, self.storing_bytes) = (0, 0);
        self.fencing.dropped_all();
    }

    /// Rolls forward: what is stored is sent again in the order of versions, or committed by the last serving
    /// member.
    ///
    /// The last one may be new, and the one before it may have committed and shown what this one only has
    /// stored. So it commits at once and does not wait for a syncing member: that one is brought up to date
    /// from what is committed here.
    fn drive_again(&mut self, step: &mut Step<P>) {
        let last = self.view.last_serving == Some(self.identity.target);
        let last = last && !planted(Planted::LastWaits);
        let chunks: Vec<ChunkId> = self.queues.keys().copied().collect();
        for chunk in chunks {
            let queue = self.queues.get_mut(&chunk).expect("just listed");
            for pending in &mut queue.pending {
                if !planted(Planted::NoRedrive) {
                    pending.sent = false;
                    pending.acked = false;
                }
                // Staged by an earlier process (no body): this member serves again only because it is alone
                // (P10), so it decides.
                pending.acked |= pending.body.is_none() || (last && pending.applied.is_some());
            }
            self.advance(step, chunk);
        }
    }

    pub(super) fn recover_update(&mut self, update: RecoveredUpdate) {
        let queue = self.queues.entry(update.chunk).or_insert_with(|| {
            // The committed version is not known yet and not needed: nothing but commits happens before the
            // queue is empty.
            super::ChunkQueue::new(Committed { version: Version::NONE, ..Committed::default() })
        });
        assert!(queue.newest() < update.version, "recovered updates come in the order of versions");
        queue.pending.push_back(Pending {
            version: update.version,
            base: queue.next_base(),
            body: None,
            channel: update.channel,
            asked: Asked::Yes,
            applied: Some(update.channel.map_or_else(Default::default, |channel| channel.applied)),
            sent: false,
            acked: false,
            waiters: Vec::new(),
        });
        if let Some(channel) = &update.channel {
            self.table.assigned(channel);
            self.fencing.appended(channel.tag.client);
        }
        self.pending_total += 1;
    }

    /// What pends and the exactly-once table are of a history that may be discarded: only a resync from a serving
    /// predecessor may (P6).
    pub(super) fn discard(&mut self, step: &mut Step<P>, ticket: u64) {
        let told = Error::new(Code::NotServing, "discarded by a resync");
        self.release_waiters(step, &told, true);
        self.drop_everything();
        if !planted(Planted::TableNotCleared) {
            self.table.clear();
        }
        step.out.push(Output::Discard { ticket });
    }

    pub(super) fn too_many_pending(&self, chunk: ChunkId) -> bool {
        self.pending_total >= limits::PENDING_PER_TARGET_MAX
            || self
                .queues
                .get(&chunk)
                .is_some_and(|queue| queue.pending.len() >= limits::PENDING_PER_CHUNK_MAX)
    }
}

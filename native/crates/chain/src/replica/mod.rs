//! One target's member of its chain. Every function takes the time and the engine's look-ups, changes the
//! state and says what is to be done; nothing here waits, reads a clock or touches a byte of a chunk. The
//! contract with the executor is in the crate's documentation.

mod channel_table;
mod chunk_queue;
mod commit;
mod fencing;
mod flush;
mod input;
mod read;
mod roll_forward;
mod settling;
mod space;
mod sync_gone;
mod sync_room;
mod sync_session;
mod sync_source;
mod sync_source_answers;
#[cfg(test)]
mod test_target;
mod update_path;
mod view_change;

pub use space::SpaceQuestion;

use crate::Time;
use crate::museum::{Planted, planted};
use crate::update::Chunks;
use crate::view::{Role, View};
use channel_table::ChannelTable;
use chunk_queue::ChunkQueue;
pub use input::{Identity, Input, Output, Recovered, RecoveredUpdate, ReplyTo};
use std::collections::{BTreeMap, BTreeSet};
use wire::message::LocalState;
use wire::{ChunkId, Code, Error, Result};

/// What every step is handed: the time, the engine's look-ups, and where its wishes go.
struct Step<'a, P> {
    now: Time,
    chunks: &'a dyn Chunks,
    out: &'a mut Vec<Output<P>>,
}

pub struct Replica<P> {
    identity: Identity,
    view: View,
    lease_until: Time,
    /// Set: the engine failed, or has no room (P8). Nothing is answered.
    offline: Option<Error>,
    /// A syncing member that has everything of `view.version`.
    up_to_date: bool,
    queues: BTreeMap<ChunkId, ChunkQueue<P>>,
    pending_total: usize,
    /// What updates that are not committed yet may allocate.
    allocating_bytes: u64,
    /// Those of them that are not stored yet.
    storing_bytes: u64,
    /// Of the members after this one; `None`: not known yet.
    successor_allocatable_bytes: Option<u64>,
    space_questions: space::Questions,
    table: ChannelTable,
    fencing: fencing::Fencing,
    /// Chunks whose updates must be sent again at the next tick.
    retry: BTreeSet<ChunkId>,
    dirty: read::DirtyReads,
    settling: settling::Settling,
    roll_forward: roll_forward::RollForward,
    flushes: flush::Flushes,
    source: Option<sync_source::SyncSource>,
    session: Option<sync_session::SyncSession>,
}

impl<P: Clone> Replica<P> {
    pub fn new(identity: Identity, recovered: Recovered) -> Self {
        let mut replica = Replica {
            identity,
            view: View::none(),
            lease_until: Time::ZERO,
            offline: None,
            up_to_date: false,
            queues: BTreeMap::new(),
            pending_total: 0,
            allocating_bytes: 0,
            storing_bytes: 0,
            space_questions: space::Questions::default(),
            successor_allocatable_bytes: Some(u64::MAX),
            table: ChannelTable::default(),
            fencing: fencing::Fencing::default(),
            retry: BTreeSet::new(),
            dirty: read::DirtyReads::default(),
            settling: settling::Settling::default(),
            roll_forward: roll_forward::RollForward::default(),
            flushes: flush::Flushes::default(),
            source: None,
            session: None,
        };
        replica.recover(recovered);
        replica.fencing.recovered(replica.table.clients());
        replica
    }

    /// The one entrance. `out` gets what is to be done, in order.
    pub fn handle(&mut self, now: Time, input: Input<P>, chunks: &dyn Chunks, out: &mut Vec<Output<P>>) {
        let mut step = Step { now, chunks, out };
        let step = &mut step;
        if self.offline.is_some() {
            return self.handle_offline(step, input);
        }
        match input {
            Input::View { chain, lease_until } => self.on_view(step, chain, lease_until),
            Input::Tick => self.on_tick(step),
            Input::Update { reply, chain_version, update, payload } => {
                self.on_update(step, reply, chain_version, update, payload);
            }
            Input::Forwarded { reply, chain_version, version, base, update, payload } => {
                let body = chunk_queue::Body { update, payload };
                self.on_forwarded(step, reply, chain_version, (version, base), body);
            }
            Input::Stored { chunk, version, result } => self.on_stored(step, chunk, version, result),
            Input::ForwardAnswer { from, chain_version, chunk, version, result } => {
                self.on_forward_answer(step, (from, chain_version), chunk, version, result);
            }
            Input::Read { reply, chain_version, chunk } => self.on_read(step, reply, chain_version, chunk),
            Input::Committed { reply, chain_version, chunk } => {
                self.on_committed_question(step, reply, chain_version, chunk);
            }
            Input::CommittedAnswer { chain_version, chunk, result } => {
                self.on_committed_answer(step, chain_version, chunk, result);
            }
            Input::Flush { reply, chain_version, from_client } => {
                self.on_flush(step, reply, chain_version, from_client);
            }
            Input::Flushed { ticket, result } => self.on_flushed(step, ticket, result),
            Input::FlushAnswer { ticket, result } => self.on_flush_answer(step, ticket, result),
            Input::Clients(clients) => self.on_clients(step, clients),
            Input::Reopen { .. } => {}
            other => self.handle_sync(step, other),
        }
    }

    fn handle_sync(&mut self, step: &mut Step<P>, input: Input<P>) {
        match input {
            Input::SyncStart { reply, chain_version } => self.on_sync_start(step, reply, chain_version),
            Input::Discarded { ticket, result } => self.on_discarded(step, ticket, result),
            Input::SyncReplace { reply, chain_version, replacement, payload } => {
                self.on_sync_replace(step, reply, chain_version, replacement, payload);
            }
            Input::Replaced { chunk, version, result } => self.on_replaced(step, chunk, version, result),
            Input::SyncChannels { reply, chain_version, channels } => {
                self.on_sync_channels(step, reply, chain_version, channels);
            }
            Input::ChannelsStored { ticket, result } => self.on_channels_stored(step, ticket, result),
            Input::SyncDone { reply, chain_version } => self.on_sync_done(step, reply, chain_version),
            Input::SyncStarted { chain_version, result } => self.on_sync_started(step, chain_version, result),
            Input::DigestAnswer { chain_version, from, result } => {
                self.on_digest_answer(step, chain_version, from, result);
            }
            Input::ListAnswer { chain_version, from, result } => {
                self.on_list_answer(step, chain_version, from, result);
            }
            Input::ReplaceAnswer { chain_version, chunk, result } => {
                self.on_replace_answer(step, chain_version, chunk, result);
            }
            Input::ChannelsAnswer { chain_version, page, result } => {
                self.on_channels_answer(step, chain_version, page, result);
            }
            Input::SyncFinished { chain_version, result } => {
                self.on_sync_finished(step, chain_version, result);
            }
            _ => unreachable!("every other input is dispatched by handle"),
        }
    }

    /// The engine failed: requests are refused, completions are too late, the view is still followed.
    fn handle_offline(&mut self, step: &mut Step<P>, input: Input<P>) {
        let offline = || Error::new(Code::TargetOffline, format!("target {}", self.identity.target));
        match input {
            Input::View { chain, lease_until } => self.on_view(step, chain, lease_until),
            Input::Clients(clients) => self.on_clients(step, clients),
            Input::Reopen { recovered } if self.view.role == Role::Idle => {
                self.offline = None;
                self.recover(recovered);
            }
            Input::Update { reply, .. } | Input::Forwarded { reply, .. } => {
                step.out.push(Output::ReplyUpdate { reply, result: Err(offline()) });
            }
            Input::Read { reply, .. } => step.out.push(Output::ReplyRead { reply, error: offline() }),
            Input::Committed { reply, .. } => {
                step.out.push(Output::ReplyCommitted { reply, result: Err(offline()) });
            }
            Input::Flush { reply, .. } => {
                step.out.push(Output::ReplyFlush { reply, result: Err(offline()) });
            }
            Input::SyncStart { reply, .. }
            | Input::SyncReplace { reply, .. }
            | Input::SyncChannels { reply, .. }
            | Input::SyncDone { reply, .. } => {
                step.out.push(Output::ReplySync { reply, result: Err(offline()) });
            }
            _ => {}
        }
    }

    /// Nothing that was in memory before counts any more; what the engine found does.
    fn recover(&mut self, recovered: Recovered) {
        self.queues.clear();
        self.retry.clear();
        self.pending_total = 0;
        (self.allocating_bytes, self.storing_bytes) = (0, 0);
        self.table.clear();
        self.settling = settling::Settling::default();
        self.roll_forward = roll_forward::RollForward::default();
        self.fencing.dropped_all();
        for channel in recovered.channels {
            self.table.learn(channel);
        }
        if planted(Planted::ForgetStaged) {
            return;
        }
        for update in recovered.pending {
            self.recover_update(update);
        }
        self.fencing.begin_again();
    }

    /// For heartbeats: what the target is, and the chain version that this report saw (R3).
    pub fn report(&self) -> (LocalState, u64) {
        let state = if self.offline.is_some() {
            LocalState::LocalOffline
        } else if self.view.role == Role::Serving || (self.up_to_date && !self.lacks_room()) {
            LocalState::LocalUptodate
        } else {
            LocalState::LocalOnline
        };
        (state, self.view.version.0)
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    /// For reports: the last member of a chain that is reordering knows that nothing pends at any member. All
    /// have this version of the chain, in which no update gets a version, and hold nothing of an earlier one
    /// (`roll_forward`). The head alone could not say so: it may have committed, by a read's question to the last
    /// member, what the members between still hold pending.
    pub fn is_at_rest(&self) -> bool {
        let of_head = planted(Planted::RestOfHead);
        let last = self.view.last_serving == Some(self.identity.target);
        let asked = if of_head { self.view.is_head } else { last };
        let serves = self.view.role == Role::Serving && asked && self.offline.is_none();
        let idle = self.pending_total == 0 && (of_head || self.all_rolled_forward());
        serves && self.view.chain.reordering && (idle || planted(Planted::RestWhilePending))
    }

    /// Nothing pends: every update that was assigned is committed here.
    pub fn is_idle(&self) -> bool {
        self.pending_total == 0 && self.flushes.is_empty()
    }

    fn on_tick(&mut self, step: &mut Step<P>) {
        for chunk in std::mem::take(&mut self.retry) {
            self.advance(step, chunk);
        }
        self.drive_source(step);
        self.ask_predecessor(step);
    }

    fn has_lease(&self, now: Time) -> bool {
        now < self.lease_until || planted(Planted::NoLease)
    }

    /// Hop to hop: both sides must be in the same version of the chain; else the sender tries again (P8:
    /// postponed, never refused).
    fn same_version(&self, chain_version: u64) -> Result<()> {
        if chain_version == self.view.version.0 || planted(Planted::NoChainVersion) {
            return Ok(());
        }
        let detail =
            format!("target {} has {}, asked {chain_version}", self.identity.target, self.view.version);
        Err(Error::new(Code::WrongChainVersion, detail))
    }

    /// A request that only a serving member with a lease may answer.
    fn may_serve(&self, now: Time, chain_version: u64) -> Result<()> {
        if self.view.role != Role::Serving {
            return Err(Error::new(Code::NotServing, format!("target {}", self.identity.target)));
        }
        if chain_version != self.view.version.0 {
            let target = self.identity.target;
            let detail = format!("target {target} has {}, asked {chain_version}", self.view.version);
            return Err(Error::new(Code::WrongChainVersion, detail));
        }
        if !self.has_lease(now) {
            return Err(Error::new(
                Code::NotServing,
                format!("target {} has no lease", self.identity.target),
            ));
        }
        if self.settling.shows_nothing {
            let detail = format!("target {} was synced just now", self.identity.target);
            return Err(Error::new(Code::NotServing, detail));
        }
        Ok(())
    }

    fn queue(&mut self, chunks: &dyn Chunks, chunk: ChunkId) -> &mut ChunkQueue<P> {
        self.queues.entry(chunk).or_insert_with(|| ChunkQueue::new(chunks.committed(chunk)))
    }

    /// The engine failed or has no room. Whoever waits is told; nothing else happens here until the manager knows.
    fn take_offline(&mut self, step: &mut Step<P>, reason: Error) {
        if self.offline.is_some() {
            return;
        }
        let told = Error::new(Code::TargetOffline, format!("target {}", self.identity.target));
        self.release_waiters(step, &told, true);
        self.dirty.fail(step, &told);
        self.flushes.fail(step, &told);
        self.source = None;
        self.end_session(step, &told);
        self.up_to_date = false;
        self.offline = Some(reason.clone());
        step.out.push(Output::TakeOffline { reason });
    }
}

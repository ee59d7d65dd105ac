//! What the replica wants done. Under its lock: commits, and queueing of everything that takes time. Nothing here
//! waits for the disk.

use super::store::Store;
use super::store_update::StagedUpdate;
use super::{After, Answer, State, Target, Waiting};
use crate::metrics::add;
use bytes::Bytes;
use chain::{Acknowledged, Input, Output, ReplyTo};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use transport::ReplySender;
use wire::message::{
    CommittedReply, FlushReply, SyncClientsReply, SyncDoneReply, SyncReplaceReply, SyncStartReply,
    UpdateReply,
};
use wire::{ClientId, Code, Error, Result};

impl Target {
    pub(super) fn carry_out(self: &Arc<Self>, state: &mut State, output: Output<Bytes>, after: &mut After) {
        match output {
            Output::Commit { chunk, version } => note(after, self.store.commit(chunk, version)),
            Output::Discard { ticket } => self.queue_discard(ticket),
            Output::DropChannels { client } => self.queue_drop(client),
            Output::Flush { ticket } => self.queue_flush(ticket),
            Output::TakeOffline { reason } => self.went_offline(state, &reason, after),
            store @ (Output::Store { .. } | Output::Replace { .. } | Output::StoreChannels { .. }) => {
                self.queue_store(store);
            }
            answer @ (Output::ReplyUpdate { .. }
            | Output::ReplyRead { .. }
            | Output::ReadCommitted { .. }
            | Output::ReplyCommitted { .. }
            | Output::ReplyFlush { .. }
            | Output::ReplySync { .. }) => self.answer(state, answer, after),
            message => self.post_to_peer(state, message),
        }
    }

    /// Its record says so when the disk lets it (`record_loss`).
    fn went_offline(&self, state: &mut State, reason: &Error, after: &mut After) {
        if reason.code == Code::NoSpace {
            self.shortage.begin();
        }
        add(&self.shared.metrics.targets_offline, 1);
        log::error!(target: "storage", chain = self.chain, target = self.id.0, error:% = reason; "target.offline");
        self.marks.lose();
        self.unrecorded_loss.store(true, Ordering::Release);
        // Reads that wait for the disk: the replica has answered everybody else.
        for (_, read) in state.waiting.extract_if(|_, waiting| matches!(waiting, Waiting::Read(..))) {
            add(&self.shared.metrics.reads_refused, 1);
            let error = Error::new(Code::TargetOffline, format!("target {}", self.id));
            after.say(read.sender(), move |sender| sender.fail(&error));
        }
    }

    /// What was queued before does not begin any more; what runs is waited for.
    fn queue_discard(self: &Arc<Self>, ticket: u64) {
        let generation = self.generation.begin_next();
        let target = self.clone();
        self.disk.lanes.push(self.id, 0, move |_| {
            let discarded = {
                let _alone = target.generation.alone();
                (target.generation.current() == generation).then(|| target.store.discard())
            };
            let Some(result) = discarded else { return };
            target.feed_stored(generation, Input::Discarded { ticket, result });
        });
    }

    /// As many wait as there are clients.
    fn queue_drop(self: &Arc<Self>, client: ClientId) {
        let (target, generation) = (self.clone(), self.generation.current());
        self.disk.lanes.push(self.id, 0, move |_| {
            let reopenings = target.store.reopenings();
            let dropped = target.in_generation(generation, |store| store.drop_channels(client));
            if let Some(result @ Err(_)) = dropped {
                target.feed_flushed(reopenings, 0, result);
            }
        });
    }

    fn queue_store(self: &Arc<Self>, output: Output<Bytes>) {
        let target = self.clone();
        let generation = self.generation.current();
        match output {
            Output::Store { chunk, version, base, update, channel, payload, if_room } => {
                let bytes = payload.len();
                let promise = self.promise_for_update(update.may_allocate_bytes(), if_room);
                let versions = (version, base);
                let update =
                    StagedUpdate { generation, versions, update, channel, payload, promise, if_room };
                self.disk.lanes.push((self.id, chunk), bytes, move |turn| target.store_update(update, turn));
            }
            Output::Replace { replacement, payload } => {
                let chunk = replacement.chunk;
                let promise = self.promise_for_copy(payload.len());
                if promise.is_err() {
                    self.shortage.refused(payload.len() as u64);
                }
                self.disk.lanes.push((self.id, chunk), payload.len(), move |_| {
                    let replaced = target.in_generation(generation, |store| {
                        let promise = promise?;
                        store.replace(&replacement, &payload)?;
                        promise.keep();
                        add(&target.shared.metrics.stored_bytes, payload.len() as u64);
                        Ok(())
                    });
                    let Some(result) = replaced else { return };
                    drop(payload);
                    let version = replacement.committed.version;
                    target.feed_stored(generation, Input::Replaced { chunk, version, result });
                });
            }
            Output::StoreChannels { ticket, channels } => {
                self.disk.lanes.push(self.id, 0, move |_| {
                    let stored = target.in_generation(generation, |store| store.install_channels(&channels));
                    let Some(result) = stored else { return };
                    target.feed_stored(generation, Input::ChannelsStored { ticket, result });
                });
            }
            _ => unreachable!("only work of the store comes here"),
        }
    }

    /// None, and nothing is done: what was queued belongs to a store whose staged updates were discarded
    /// since.
    pub(super) fn in_generation<T>(&self, generation: u64, work: impl FnOnce(&Store) -> T) -> Option<T> {
        self.generation.run(generation, || work(&self.store))
    }

    fn answer(self: &Arc<Self>, state: &mut State, output: Output<Bytes>, after: &mut After) {
        let mut take =
            |reply: ReplyTo| state.waiting.remove(&reply.0).expect("every request is answered once");
        match output {
            Output::ReadCommitted { reply, chain_version, chunk } => {
                let Some(&Waiting::Read(_, range, verified)) = state.waiting.get(&reply.0) else {
                    unreachable!("a read's answer")
                };
                let target = self.clone();
                add(&self.disk.traffic, 1);
                self.disk.readers.push(move || target.read(reply, chain_version, chunk, (range, verified)));
            }
            Output::ReplyRead { reply, error } => {
                let Waiting::Read(sender, _, _) = take(reply) else { unreachable!("a read's answer") };
                add(&self.shared.metrics.reads_refused, 1);
                after.say(sender, move |sender| sender.fail(&error));
            }
            Output::ReplyUpdate { reply, result } => {
                let Waiting::Update(sender, from_client) = take(reply) else {
                    unreachable!("an update's answer")
                };
                add(&self.disk.traffic, 1);
                if from_client {
                    let metrics = &self.shared.metrics;
                    add(if result.is_ok() { &metrics.updates } else { &metrics.updates_refused }, 1);
                }
                after.say(sender, move |sender| sender.respond(result.map(update_reply)));
            }
            Output::ReplyCommitted { reply, result } => {
                let Waiting::Committed(sender) = take(reply) else { unreachable!("a question's answer") };
                let result = result
                    .map(|version| CommittedReply { version: Some(version.into()), ..Default::default() });
                after.say(sender, move |sender| sender.respond(result));
            }
            Output::ReplyFlush { reply, result } => {
                let Waiting::Flush(sender) = take(reply) else { unreachable!("a flush's answer") };
                let result =
                    result.map(|durability_epoch| FlushReply { durability_epoch, ..Default::default() });
                after.say(sender, move |sender| sender.respond(result));
            }
            Output::ReplySync { reply, result } => {
                let (sender, done) = sync_answer(take(reply));
                after.say(sender, move |sender| done(sender, result));
            }
            _ => unreachable!("only answers come here"),
        }
    }
}

impl After {
    fn say(&mut self, sender: ReplySender, say: impl FnOnce(ReplySender) + Send + 'static) {
        self.answers.push(Answer { sender, say: Box::new(say) });
    }
}

fn note(after: &mut After, result: Result<()>) {
    if let Err(error) = result {
        after.failed.get_or_insert(error);
    }
}

fn update_reply(acknowledged: Acknowledged) -> UpdateReply {
    UpdateReply {
        header: None,
        version: Some(acknowledged.version.into()),
        chunk_length: acknowledged.applied.chunk_length,
        allocated_delta: acknowledged.applied.allocated_delta,
        durability_epoch: acknowledged.durability_epoch,
        allocatable: acknowledged.allocatable_bytes,
    }
}

fn sync_answer(waiting: Waiting) -> (ReplySender, fn(ReplySender, Result<()>)) {
    fn done<R: wire::ReplyMessage>(sender: ReplySender, result: Result<()>) {
        sender.respond(result.map(|()| R::default()));
    }
    match waiting {
        Waiting::SyncStart(sender) => (sender, done::<SyncStartReply>),
        Waiting::SyncReplace(sender) => (sender, done::<SyncReplaceReply>),
        Waiting::SyncClients(sender) => (sender, done::<SyncClientsReply>),
        Waiting::SyncDone(sender) => (sender, done::<SyncDoneReply>),
        _ => unreachable!("a resync's answer"),
    }
}

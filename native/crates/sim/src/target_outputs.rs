//! What a target's executor does with its replica's wishes: disk work with a delay, messages, answers.

use crate::content::Content;
use crate::engine::{Body, UPDATE_BYTES};
use crate::event::{Address, Answer, DiskWork, Event, Request};
use crate::placement::target_place;
use crate::target::{Call, Target};
use crate::world::World;
use chain::museum::{Planted, planted};
use chain::{Chunks, Input, Output, Role};
use wire::message::LocalState;
use wire::{ChunkId, Code, Error, Version};

impl Target {
    /// What the target stores before it acts in a role (P10). `boot`: of its target.
    fn remember_role(&mut self, boot: u64) {
        let Some(replica) = &self.replica else { return };
        // What failed is not complete again because a late view still calls it serving.
        if replica.report().0 == LocalState::LocalOffline {
            return;
        }
        let engine = &mut self.engine;
        match replica.view().role {
            Role::Idle => return,
            Role::Serving => (engine.served_boot, engine.begun_by) = (boot, 0),
            // What a resync writes is a mixture until the member serves; it may be made a serving one without
            // hearing of it.
            Role::Syncing => {
                engine.served_boot = if planted(Planted::CompletenessStays) { engine.served_boot } else { 0 }
            }
        }
        engine.used = true;
        engine.clean &= replica.view().role == Role::Syncing && planted(Planted::CompletenessStays);
    }
}

impl Target {
    fn forget_tombstones(&mut self, now: u64, after_ms: u64) {
        let Some(replica) = self.replica.as_ref().filter(|_| after_ms > 0) else { return };
        self.engine.forget_tombstones(replica.rolled_forward().0, now.saturating_sub(after_ms * 1000));
    }
}

impl World {
    /// One input of a target's replica, and everything that follows from it at once.
    pub fn feed(&mut self, index: usize, input: Input<Body>) {
        if !matches!(input, Input::Tick) {
            self.note(|| format!("target {index} <- {input:?}"));
        }
        let now = self.time_of(index);
        let target = &mut self.targets[index];
        // Between two inputs: what the replica wants done with a tombstone that it has seen is done with it.
        target.forget_tombstones(self.now, self.knobs.forget_tombstones_ms);
        let Some(replica) = &mut target.replica else { return };
        let (was, _) = replica.report();
        let before = (replica.view().version, replica.fences_held(), replica.is_at_rest());
        let mut outputs = std::mem::take(&mut self.outputs);
        replica.handle(now, input, &target.engine, &mut outputs);
        let (state, _) = replica.report();
        let changed = (replica.view().version, replica.fences_held(), replica.is_at_rest()) != before;
        target.remember_role(self.nodes[target.node].boot);
        for output in outputs.drain(..) {
            self.carry_out(index, output);
        }
        self.outputs = outputs;
        self.judge_promise(index);
        // What the manager waits for is told at once.
        let done = was != state && (state == LocalState::LocalUptodate || state == LocalState::LocalOffline);
        if (done || changed) && self.targets[index].replica.is_some() {
            self.heartbeat(self.targets[index].node);
        }
    }

    fn carry_out(&mut self, index: usize, output: Output<Body>) {
        self.note(|| format!("target {index} -> {output:?}"));
        self.judge_storing(index, &output);
        match output {
            Output::Store { version, base, update, channel, payload, if_room, .. } => {
                let chunk = update.chunk;
                let work = DiskWork::Store { update, version, base, channel, body: payload, if_room };
                self.start_disk(index, Some(chunk), work);
            }
            Output::Commit { chunk, version } if planted(Planted::LateCommit) => {
                self.start_disk(index, Some(chunk), DiskWork::Commit { chunk, version });
            }
            Output::Commit { chunk, version } => self.commit(index, chunk, version),
            Output::Replace { replacement, payload } => {
                let chunk = replacement.chunk;
                self.start_disk(index, Some(chunk), DiskWork::Replace { replacement, body: payload });
            }
            Output::StoreChannels { ticket, channels } => {
                self.start_disk(index, None, DiskWork::StoreChannels { ticket, channels });
            }
            Output::Flush { ticket } => {
                let snapshot = Box::new(self.targets[index].engine.snapshot());
                let work = DiskWork::Flush { ticket, snapshot };
                if planted(Planted::FlushAnsweredEarly) {
                    return self.flush_answered_early(index, ticket, work);
                }
                self.start_disk(index, None, work);
            }
            Output::Discard { ticket } => {
                self.targets[index].engine.generation += 1;
                self.start_disk(index, None, DiskWork::Discard { ticket });
            }
            Output::DropChannels { client } => {
                self.start_disk(index, None, DiskWork::DropChannels { client });
            }
            Output::TakeOffline { reason } => {
                self.note(|| format!("target {index} takes its target offline: {reason}"));
                let incarnation = self.incarnation_of(index);
                // One that is only full reports no error of its disk.
                let full = reason.code == Code::NoSpace;
                let target = &mut self.targets[index];
                target.disk_broken |= !full;
                target.waits_for_room = full;
                if !planted(Planted::OfflineStaysComplete) {
                    self.targets[index].engine.lose();
                }
                self.schedule(300_000, Event::Reopen { target: index, incarnation });
            }
            Output::ReadCommitted { reply, chain_version, chunk } => {
                let seen = self.targets[index].engine.read(chunk).filter(|_| self.random.chance(50.0));
                let incarnation = self.incarnation_of(index);
                let slow = !self.healed && self.random.chance(self.knobs.slow_read);
                let longest = if slow { self.knobs.slow_read_ms * 1000 } else { 200 };
                let delay = self.random.between(20, 20 + longest);
                let reply = reply.0;
                self.schedule(
                    delay,
                    Event::Read { target: index, incarnation, reply, chain_version, chunk, seen },
                );
            }
            Output::ReplyUpdate { reply, result } => {
                if matches!(&result, Err(error) if error.code == Code::NoSpace) {
                    self.judge_refusal(index);
                }
                self.answer(index, reply, Answer::Update(result));
            }
            Output::ReplyRead { reply, error } => self.answer(index, reply, Answer::Read(Err(error))),
            Output::ReplyCommitted { reply, result } => self.answer(index, reply, Answer::Committed(result)),
            Output::ReplyFlush { reply, result } => self.answer(index, reply, Answer::Flush(result)),
            Output::ReplySync { reply, result } => self.answer(index, reply, Answer::Sync(result)),
            other => self.ask(index, other),
        }
    }

    fn commit(&mut self, index: usize, chunk: ChunkId, version: Version) {
        match self.targets[index].engine.commit(chunk, version, self.now) {
            Ok(lineage) => self.history.committed(chunk, &lineage),
            Err(what) => self.violate(format!("target {index}: {what}")),
        }
    }

    /// Requests to another member.
    fn ask(&mut self, index: usize, output: Output<Body>) {
        let (to, request, call) = match output {
            Output::Forward { to, chain_version, version, base, update, payload } => {
                let chunk = update.chunk;
                let request = Request::Forwarded { chain_version, version, base, update, body: payload };
                (to, request, Call::Forward { to, chain_version, chunk, version })
            }
            Output::AskCommitted { to, chain_version, chunk } => {
                (to, Request::Committed { chain_version, chunk }, Call::Committed { chain_version, chunk })
            }
            Output::ForwardFlush { to, chain_version, ticket } => {
                (to, Request::Flush { chain_version, from_client: false }, Call::Flush { ticket })
            }
            Output::StartSync { to, chain_version } => {
                (to, Request::SyncStart { chain_version }, Call::SyncStart { chain_version })
            }
            Output::DigestSuccessor { to, chain_version, from, chunks_per_range } => {
                let request = Request::Digest { chain_version, from, chunks_per_range };
                (to, request, Call::Digest { chain_version, from })
            }
            Output::ListSuccessor { to, chain_version, from, limit } => {
                (to, Request::List { chain_version, from, limit }, Call::List { chain_version, from })
            }
            Output::SendReplace { to, chain_version, chunk, committed, .. } => {
                let engine = &self.targets[index].engine;
                let held = chain::Chunks::committed(engine, chunk);
                if held != committed && !engine.has_staged_removal(chunk, &committed) {
                    let what = format!("target {index} sends {held:?} of {chunk:?} as {committed:?}");
                    return self.violate(what);
                }
                if !committed.is_absent() && engine.read(chunk).is_none() {
                    // Nobody is sent bytes whose checksum does not match; it is tried again.
                    return self.call_nobody(index, Call::Replace { chain_version, chunk });
                }
                let gone = committed.is_absent();
                let body = Body::Whole(if gone { Content::default() } else { engine.content(chunk) });
                let replacement = chain::Replacement { chunk, committed, crc: 0, damaged_blocks: Vec::new() };
                let request = Request::SyncReplace { chain_version, replacement, body };
                (to, request, Call::Replace { chain_version, chunk })
            }
            Output::SendChannels { to, chain_version, page, channels } => {
                let request = Request::SyncChannels { chain_version, channels };
                (to, request, Call::Channels { chain_version, page })
            }
            Output::FinishSync { to, chain_version } => {
                (to, Request::SyncDone { chain_version }, Call::Finish { chain_version })
            }
            other => unreachable!("{other:?} is no request"),
        };
        self.call(index, Address::Target(target_place(to)), request, call);
    }

    /// A request that cannot be sent: its answer is an error, a little later.
    fn call_nobody(&mut self, index: usize, call: Call) {
        let number = self.next_call();
        let incarnation = self.incarnation_of(index);
        self.targets[index].calls.insert(number, call);
        self.schedule(1000, Event::CallTimeout { target: index, incarnation, call: number });
    }

    pub fn write_back(&mut self, index: usize) {
        // No request waits for ticket 0; an error takes the target offline all the same.
        let snapshot = Box::new(self.targets[index].engine.snapshot());
        self.start_disk(index, None, DiskWork::Flush { ticket: 0, snapshot });
    }

    /// Only planted: the medium has it half a second after it was answered.
    fn flush_answered_early(&mut self, index: usize, ticket: u64, work: DiskWork) {
        let (incarnation, generation) = (self.incarnation_of(index), self.targets[index].engine.generation);
        self.schedule(500_000, Event::Disk { target: index, incarnation, generation, work });
        let snapshot = Box::new(self.targets[index].engine.durable.clone());
        self.start_disk(index, None, DiskWork::Flush { ticket, snapshot });
    }

    fn disk_delay(&mut self) -> u64 {
        let slow = !self.healed && self.random.chance(self.knobs.slow_disk);
        if slow {
            return self.random.between(20, 20 + self.knobs.slow_disk_ms * 1000);
        }
        self.random.between(20, 200)
    }

    fn start_disk(&mut self, index: usize, chunk: Option<ChunkId>, work: DiskWork) {
        let delay = self.disk_delay();
        let target = &mut self.targets[index];
        let busy = target.disk_busy.entry(chunk).or_insert(0);
        *busy = (*busy + 1).max(self.now + delay);
        let delay = *busy - self.now;
        let generation = target.engine.generation;
        let incarnation = self.incarnation_of(index);
        self.schedule(delay, Event::Disk { target: index, incarnation, generation, work });
    }

    pub fn disk_done(&mut self, index: usize, generation: u64, work: DiskWork) {
        let target = &mut self.targets[index];
        // Of a history that was discarded since, or of a store that was opened again since: it never takes effect.
        let stale = target.engine.generation != generation;
        if stale && !matches!(work, DiskWork::Flush { .. } | DiskWork::Commit { .. }) {
            return;
        }
        let failed = target.disk_broken;
        let broken = || Error::new(Code::Io, "the disk failed");
        let no_room = || Error::new(Code::NoSpace, "the disk is full");
        let done = || if failed { Err(broken()) } else { Ok(()) };
        let input = match work {
            DiskWork::Store { update, version, base, channel, body, if_room } => {
                let chunk = update.chunk;
                let Body::Operation(operation) = body else { unreachable!("an update carries an operation") };
                let full = if_room && target.engine.allocatable_bytes() < update.may_allocate_bytes();
                let room = |()| if full { Err(no_room()) } else { Ok(()) };
                let stage = |()| target.engine.stage(&update, (version, base), channel, operation);
                let result = match done().and_then(room).map(stage) {
                    Ok(Err(what)) => return self.violate(format!("target {index}: {what}")),
                    Ok(Ok(applied)) => Ok(applied),
                    Err(error) => Err(error),
                };
                Input::Stored { chunk, version, result }
            }
            DiskWork::Replace { replacement, body } => {
                let content = match body {
                    Body::Whole(content) => content,
                    Body::Operation(_) => Content::default(),
                };
                let (chunk, version) = (replacement.chunk, replacement.committed.version);
                let grows = !replacement.committed.is_absent();
                let full = grows && target.engine.allocatable_bytes() < UPDATE_BYTES;
                let room = |()| if full { Err(no_room()) } else { Ok(()) };
                let result = done().and_then(room);
                if !grows && !target.engine.committed(chunk).is_absent() {
                    target.refuses.values_mut().for_each(|refuses| refuses.since = self.now);
                }
                let result = result.map(|()| target.engine.replace(&replacement, content, self.now));
                Input::Replaced { chunk, version, result }
            }
            DiskWork::StoreChannels { ticket, channels } => {
                let result = done().map(|()| target.engine.install_channels(channels));
                Input::ChannelsStored { ticket, result }
            }
            DiskWork::Discard { ticket } => {
                target.refuses.clear();
                Input::Discarded { ticket, result: done().map(|()| target.engine.discard()) }
            }
            DiskWork::DropChannels { client } => match done().map(|()| target.engine.drop_channels(client)) {
                Ok(()) => return,
                result => Input::Flushed { ticket: 0, result },
            },
            DiskWork::Commit { chunk, version } => return self.commit(index, chunk, version),
            DiskWork::Flush { ticket, snapshot } => {
                let flush = |()| target.engine.flush(*snapshot).then_some(()).ok_or_else(broken);
                Input::Flushed { ticket, result: done().and_then(flush) }
            }
        };
        self.note_room(index);
        let refused = self.note_refusal(index, &input);
        self.feed(index, input);
        self.judge_patience(index, refused);
    }
}

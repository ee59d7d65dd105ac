//! One target at work: its replica, which decides, and its store, which keeps. The replica is behind one
//! short lock, under which nobody waits for the disk, nor for anybody who does: threads that serve other disks too
//! take it. What it wants done is carried out in its order: what must be visible at once under the lock,
//! messages and answers after it. It takes no decision of its own.

mod carry_out;
mod flusher;
mod generation;
mod outbox;
mod read;
mod record;
mod repair;
mod report;
mod scrub;
mod shortage;
mod store;
mod store_update;
#[cfg(test)]
mod tests;
mod to_peers;

use crate::disk::DiskShare;
use crate::disk::room::Limit;
use crate::shared::Shared;
use bytes::Bytes;
use chain::{Identity, Input, Output, Replica, ReplyTo, Role, Time};
use flusher::Flusher;
use generation::Generation;
use outbox::Outbox;
use parking_lot::Mutex;
use record::Marks;
pub use record::TargetRecord;
use repair::Repairs;
use report::Known;
pub use report::Standing;
use scrub::Scrub;
use shortage::Shortage;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use store::Store;
pub use to_peers::{channels, links};
use transport::ReplySender;
use wire::message::{Chain, LocalState};
use wire::{Code, Error, Result, TargetId};

/// A request that waits for the replica's answer.
pub enum Waiting {
    Update(ReplySender, bool),
    Read(ReplySender, ReadRange, Verified),
    Committed(ReplySender),
    Flush(ReplySender),
    SyncStart(ReplySender),
    SyncReplace(ReplySender),
    SyncClients(ReplySender),
    SyncDone(ReplySender),
}

impl Waiting {
    fn sender(self) -> ReplySender {
        match self {
            Waiting::Update(sender, _) | Waiting::Read(sender, _, _) => sender,
            Waiting::Committed(sender)
            | Waiting::Flush(sender)
            | Waiting::SyncStart(sender)
            | Waiting::SyncReplace(sender)
            | Waiting::SyncClients(sender)
            | Waiting::SyncDone(sender) => sender,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ReadRange {
    pub offset: u32,
    pub length: u32,
}

/// Who compares the bytes of a read with their checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    Here,
    /// The reader, who comes back for `Here` if they do not match.
    ByReader,
}

struct State {
    replica: Replica<Bytes>,
    waiting: HashMap<u64, Waiting>,
    next_reply: u64,
    /// What the replica wants done, empty between steps: kept, because most steps want something.
    outputs: Vec<Output<Bytes>>,
    /// The store is closed: nothing happens any more.
    stopped: bool,
}

pub struct Target {
    pub id: TargetId,
    pub chain: u32,
    shared: Arc<Shared>,
    disk: Arc<DiskShare>,
    state: Mutex<State>,
    store: Store,
    outbox: Mutex<Outbox>,
    flusher: Flusher,
    record: Mutex<TargetRecord>,
    marks: Arc<Marks>,
    /// It went offline, and its record does not say so yet.
    unrecorded_loss: AtomicBool,
    /// That the record could not say so was said itself.
    loss_complained: AtomicBool,
    generation: Generation,
    room_limit: Limit,
    shortage: Shortage,
    /// On the way of an update; the head is 0.
    position: AtomicUsize,
    /// What others may know, taken over after each step: they never wait for the disk.
    known: Mutex<Known>,
    repairs: Mutex<Repairs>,
    scrub: Scrub,
    reopening: AtomicBool,
    /// Its data were not there when it was to be opened again, which was said once.
    gone: AtomicBool,
}

/// What is left to do when the replica's lock is released.
#[derive(Default)]
struct After {
    answers: Vec<Answer>,
    failed: Option<Error>,
}

/// What the replica has to say, and to whom.
struct Answer {
    sender: ReplySender,
    say: Box<dyn FnOnce(ReplySender) + Send>,
}

impl Answer {
    fn give(self) {
        (self.say)(self.sender);
    }
}

impl Target {
    /// Opens the store in the target's folder, or makes it there.
    pub fn open(
        shared: &Arc<Shared>,
        disk: &Arc<DiskShare>,
        mut record: TargetRecord,
    ) -> Result<Arc<Target>> {
        let (folder, scrub_file) = {
            let directory = disk.directory.lock();
            (directory.data_folder(record.target()), directory.scrub_file(record.target()))
        };
        let (options, opener) = (shared.engine_options.clone(), shared.open_disk.clone());
        let (store, recovered) =
            Store::open(&folder, options, opener, disk.clone(), (&mut record, shared.incarnation))?;
        let identity = Identity { target: record.target(), incarnation: shared.incarnation };
        let state = State {
            replica: Replica::new(identity, recovered),
            waiting: HashMap::new(),
            next_reply: 0,
            outputs: Vec::new(),
            stopped: false,
        };
        let target = Arc::new(Target {
            id: record.target(),
            chain: record.chain(),
            shared: shared.clone(),
            disk: disk.clone(),
            state: Mutex::new(state),
            store,
            outbox: Mutex::default(),
            flusher: Flusher::default(),
            marks: record.marks(),
            record: Mutex::new(record),
            unrecorded_loss: AtomicBool::new(false),
            loss_complained: AtomicBool::new(false),
            generation: Generation::default(),
            room_limit: Limit::default(),
            shortage: Shortage::default(),
            position: AtomicUsize::new(0),
            known: Mutex::default(),
            repairs: Mutex::default(),
            scrub: disk.watched(|| Scrub::open(scrub_file)),
            reopening: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        });
        target.refresh_space();
        target.step(|_| None);
        Ok(target)
    }

    /// Something happened.
    pub fn feed(self: &Arc<Self>, input: Input<Bytes>) {
        self.step(|state| (!state.stopped).then_some(input));
    }

    /// A request that the replica answers through `waiting`.
    pub fn ask(self: &Arc<Self>, waiting: Waiting, input: impl FnOnce(ReplyTo) -> Input<Bytes>) {
        let mut refused = Some(waiting);
        self.step(|state| {
            if state.stopped {
                return None;
            }
            state.next_reply += 1;
            state.waiting.insert(state.next_reply, refused.take()?);
            Some(input(ReplyTo(state.next_reply)))
        });
        if let Some(waiting) = refused {
            waiting.sender().fail(&Error::new(Code::TargetOffline, "the target is closed"));
        }
    }

    /// It left its chain for good: nothing happens here any more, whoever waits is told.
    pub fn leave(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.stopped = true;
            std::mem::take(&mut state.waiting)
        };
        for (_, waiting) in waiting {
            waiting
                .sender()
                .fail(&Error::new(Code::NotServing, format!("target {} left its chain", self.id)));
        }
    }

    /// After `leave`; what the store says no longer matters.
    pub fn close(&self) {
        if let Err(error) = self.store.close() {
            log::warn!(target: "storage", target = self.id.0, error:% = error; "target.close");
        }
    }

    /// What the store answers counts only if what was staged then still is.
    fn feed_stored(self: &Arc<Self>, generation: u64, input: Input<Bytes>) {
        self.step(|state| (!state.stopped && self.generation.current() == generation).then_some(input));
    }

    /// An error counts only if it is of the engine that is there: until the replica knows of the next one it is
    /// offline. A generation would say too much, since a flush is answered across a discard.
    fn feed_flushed(self: &Arc<Self>, reopenings: u64, ticket: u64, result: Result<()>) {
        self.step(|state| {
            let counts = result.is_ok() || self.store.reopenings() == reopenings;
            (!state.stopped && counts).then_some(Input::Flushed { ticket, result })
        });
    }

    fn step(self: &Arc<Self>, input: impl FnOnce(&mut State) -> Option<Input<Bytes>>) {
        let mut after = After::default();
        {
            let mut state = self.state.lock();
            if let Some(input) = input(&mut state) {
                let mut outputs = std::mem::take(&mut state.outputs);
                let chunks = self.chunks();
                state.replica.handle(crate::clock::now(), input, &chunks, &mut outputs);
                for output in outputs.drain(..) {
                    self.carry_out(&mut state, output, &mut after);
                }
                state.outputs = outputs;
            }
            self.learn(&state.replica);
        }
        self.deliver();
        after.answers.into_iter().for_each(Answer::give);
        if let Some(error) = after.failed {
            self.fail(error);
        }
    }

    fn chunks(&self) -> store::Look<'_> {
        store::Look::new(&self.store, &self.room_limit)
    }

    /// The store failed outside of a request that reports it: as if a flush had (P11).
    pub fn fail(self: &Arc<Self>, error: Error) {
        self.feed(Input::Flushed { ticket: 0, result: Err(error) });
    }

    /// The same for what is noticed again and again. False: it was offline, or is closed.
    pub fn fail_unless_offline(self: &Arc<Self>, error: &Error) -> bool {
        if self.is_offline() {
            return false;
        }
        self.fail(error.clone());
        self.is_offline()
    }

    /// What `ask` would find out as well.
    pub fn check_online(&self) -> Result<()> {
        match self.is_offline() {
            true => Err(Error::new(Code::TargetOffline, format!("target {}", self.id))),
            false => Ok(()),
        }
    }

    /// Nothing is answered, as of the last step.
    pub fn is_offline(&self) -> bool {
        self.standing().state == LocalState::LocalOffline
    }

    /// A new version of the chain, or the same one with a lease. Before the target serves, the boot in which
    /// it does so is on the medium (P10).
    pub fn on_view(self: &Arc<Self>, chain: Chain, lease_until: Option<Time>) {
        let view = chain::View::new(chain.clone(), self.id, self.shared.incarnation);
        let newer = view.version > self.known().chain_version();
        if newer {
            self.position
                .store(to_peers::place(&view, self.id).map_or(0, |(_, place)| place), Ordering::Relaxed);
            // What failed is not complete again because the chain still calls it serving.
            if !self.is_offline()
                && let Err(error) = self.remember_role(&view)
            {
                return self.fail(error);
            }
            let version = view.version.0;
            let role = format!("{:?}", view.role);
            if view.role == Role::Serving {
                self.shortage.end();
            }
            let (chain, own, role) = (self.chain, self.id.0, role.as_str());
            log::info!(target: "storage", chain, target = own, version, role; "chain.version");
        }
        self.feed(Input::View { chain, lease_until });
        if newer {
            self.ask_unknown_space();
        }
    }

    /// Every `chain::limits::TICK_MS`, on the disk's own thread.
    pub fn tick(self: &Arc<Self>) {
        self.record_loss();
        self.refresh_space();
        // A failure that no request has met yet, such as one in the background.
        let reopenings = self.store.reopenings();
        if let Some(error) = self.store.failure() {
            self.feed_flushed(reopenings, 0, Err(error));
        }
        self.feed(Input::Tick);
        self.ask_unknown_space();
    }

    /// Now and then, on the disk's own thread.
    pub fn look(self: &Arc<Self>) {
        self.reopen_if_offline();
        self.ask_space();
        self.repair_damaged();
        self.reclaim_space();
    }

    pub fn disk_index(&self) -> usize {
        self.disk.index
    }

    pub fn disk_share(&self) -> Arc<DiskShare> {
        self.disk.clone()
    }

    pub fn disk(&self) -> &DiskShare {
        &self.disk
    }

    pub fn position(&self) -> usize {
        self.position.load(Ordering::Relaxed)
    }

    /// After a failure, when the manager has taken the target out: opens the store anew, verified, so that
    /// it can come back through a resync (P11).
    fn reopen_if_offline(self: &Arc<Self>) {
        if self.disk.refuses() || self.disk.hangs() || self.waits_for_room() {
            return;
        }
        {
            let state = self.state.lock();
            let offline = state.replica.report().0 == LocalState::LocalOffline;
            if !offline
                || state.replica.view().role != Role::Idle
                || self.reopening.swap(true, Ordering::AcqRel)
            {
                return;
            }
        }
        let target = self.clone();
        // It may take seconds, in which the other targets of the disk go on.
        self.disk.resyncs.push(move || {
            // Nothing that was queued before may reach the new store.
            target.generation.begin_next();
            drop(target.generation.alone());
            let reopened = target.store.reopen(&mut target.record.lock());
            match reopened {
                Ok(recovered) => {
                    // Reopening it began with the record. Nothing can fail before it is fed.
                    target.unrecorded_loss.store(false, Ordering::Release);
                    target.feed(Input::Reopen { recovered });
                }
                Err(error) => {
                    // It is tried every second; a disk that is mounted again brings the data back.
                    if error.code != Code::NotFound || !target.gone.swap(true, Ordering::AcqRel) {
                        log::warn!(target: "storage", target = target.id.0, error:% = error; "target.reopen");
                    }
                }
            }
            target.reopening.store(false, Ordering::Release);
        });
    }
}

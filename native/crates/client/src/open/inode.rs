//! What this client knows of one inode while it has it open: its attributes, its own writes since the last
//! report, and what a later fsync must answer for.

use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use wire::message::{self as m, Inode};

use super::OpenFile;
use super::doubt::Doubt;
use crate::Cancel;
use crate::chunks::{Acked, Changed};
use crate::waiter::{Changing, wait_until};
use wire::Result;

/// What is told to the service; put back if it did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub length: u64,
    pub generation: u64,
    pub last_write: Instant,
    pub allocated_delta: i64,
}

impl Report {
    pub fn message(&self) -> m::LengthReport {
        m::LengthReport {
            length: self.length,
            generation: self.generation,
            age_ns: u64::try_from(self.last_write.elapsed().as_nanos()).unwrap_or(u64::MAX),
            allocated_delta: self.allocated_delta,
            unchanged: false,
        }
    }
}

type AtQuiet = Box<dyn FnOnce() + Send>;

pub(crate) struct Known {
    pub attributes: Inode,
    pub known_at: Instant,
    /// End of the last byte that this client wrote under the attributes' generation.
    pub(super) own_length: u64,
    /// Of what the service did not take: another client truncated the file meanwhile, and only the chunks know
    /// whether before or after our writes (P19).
    pub(super) doubtful: Option<Doubt>,
    pub(super) doubts: u64,
    /// The generation that our own truncation made: what older reports tell of it has cut off.
    own_cut: u64,
    last_write: Option<Instant>,
    allocated_delta: i64,
    /// Since when something is to be reported.
    pub(super) unreported: Option<Instant>,
    /// Reports that were taken and are not answered yet. As many as requests may be in the air.
    reports_in_air: u32,
    /// End of the last byte of writes that failed: they may have been done all the same.
    failed_end: u64,
    /// Number → end of the last byte, of writes in the air.
    in_air: BTreeMap<u64, u64>,
    next_write: u64,
    /// Truncations under way: no write starts.
    gates: u32,
    /// Truncations that wait until no write is in the air. As many as gates.
    at_quiet: Vec<AtQuiet>,
    /// Chain and durability epoch → the last write acknowledged under it that no flush covers yet (P11). As many as
    /// there were total outages since the last flush.
    unflushed: BTreeMap<(u32, u64), u64>,
    acknowledged: u64,
    /// Times that acknowledged bytes were perhaps lost; each handle reports each once.
    pub losses: u64,
    pub files: Vec<Weak<OpenFile>>,
}

pub(crate) struct InodeState {
    pub id: u64,
    pub known: Mutex<Known>,
    pub quiet: Condvar,
}

impl InodeState {
    pub fn new(attributes: Inode) -> Self {
        let known = Known {
            known_at: Instant::now(),
            own_length: 0,
            doubtful: None,
            doubts: 0,
            own_cut: 0,
            last_write: None,
            allocated_delta: 0,
            unreported: None,
            reports_in_air: 0,
            failed_end: 0,
            in_air: BTreeMap::new(),
            next_write: 0,
            gates: 0,
            at_quiet: Vec::new(),
            unflushed: BTreeMap::new(),
            acknowledged: 0,
            losses: 0,
            files: Vec::new(),
            attributes,
        };
        InodeState { id: known.attributes.id, known: Mutex::new(known), quiet: Condvar::new() }
    }

    /// A write may start, under this number. `end`: of its last byte, 0 if it brings none. Waits while the file is
    /// being truncated.
    ///
    /// # Errors
    /// `Interrupted`, as of all that wait here.
    pub fn begin_write(self: &Arc<Self>, end: u64, cancel: Option<&Cancel>) -> Result<u64> {
        let mut known = wait_until(self, None, cancel, |known| known.gates == 0)?;
        let number = known.next_write;
        known.next_write += 1;
        known.in_air.insert(number, end);
        Ok(number)
    }

    /// `changed`: what was acknowledged of it, also when it failed in part; `None`: nothing was.
    pub fn end_write(&self, number: u64, changed: Option<&Changed>) {
        let mut known = self.known.lock();
        let end = known.in_air.remove(&number).expect("a write ends once");
        if changed.is_none_or(|changed| changed.failure.is_some()) {
            known.failed_end = known.failed_end.max(end);
        }
        if let Some(changed) = changed.filter(|changed| changed.is_done_in_part()) {
            known.acknowledge(&changed.acked);
        }
        let quiet = known.in_air.is_empty();
        let waiting = if quiet { std::mem::take(&mut known.at_quiet) } else { Vec::new() };
        drop(known);
        self.quiet.notify_all();
        for then in waiting {
            then();
        }
    }

    /// Waits until no write that started before is in the air.
    pub fn wait_quiet(self: &Arc<Self>, cancel: Option<&Cancel>) -> Result<()> {
        let before = self.known.lock().next_write;
        let is_over =
            |known: &Known| known.in_air.first_key_value().is_none_or(|(&first, _)| first >= before);
        wait_until(self, None, cancel, is_over).map(drop)
    }

    /// No write is in the air, and none starts until `open_gate`, which is due after an error too.
    pub fn close_gate(self: &Arc<Self>, cancel: Option<&Cancel>) -> Result<()> {
        self.known.lock().gates += 1;
        wait_until(self, None, cancel, |known| known.in_air.is_empty()).map(drop)
    }

    /// `close_gate` without waiting: runs `then` when no write is in the air, perhaps at once.
    pub fn close_gate_then(&self, then: impl FnOnce() + Send + 'static) {
        let mut known = self.known.lock();
        known.gates += 1;
        if !known.in_air.is_empty() {
            known.at_quiet.push(Box::new(then));
            return;
        }
        drop(known);
        then();
    }

    pub fn open_gate(&self) {
        self.known.lock().gates -= 1;
        self.quiet.notify_all();
    }
}

impl Changing for InodeState {
    type State = Known;

    fn state(&self) -> &Mutex<Known> {
        &self.known
    }

    fn changed(&self) -> &Condvar {
        &self.quiet
    }
}

impl Known {
    fn acknowledge(&mut self, acked: &Acked) {
        self.own_length = self.own_length.max(acked.end);
        self.last_write = Some(Instant::now());
        self.allocated_delta += acked.allocated_delta;
        self.unreported.get_or_insert_with(Instant::now);
        self.acknowledged += 1;
        for &place in &acked.epochs {
            self.unflushed.insert(place, self.acknowledged);
        }
    }

    /// As far as this client knows.
    pub fn length(&self) -> u64 {
        self.attributes.length.max(self.own_length)
    }

    /// End of what this client wrote and the service may not know. A truncation names it: the report may reach the
    /// service behind it, also when it left before. And what was written without an answer is not in the file's
    /// length, and would show when it grows (P19).
    pub fn written(&self) -> u64 {
        self.own_length.max(self.doubtful_end()).max(self.failed_end)
    }

    pub fn is_unreported(&self) -> bool {
        self.unreported.is_some()
    }

    pub fn unreported_for(&self) -> Option<Duration> {
        self.unreported.map(|since| since.elapsed())
    }

    /// Or the service has not answered yet whether it took it.
    pub fn has_to_tell(&self) -> bool {
        self.is_unreported() || self.reports_in_air > 0 || self.is_doubtful()
    }

    /// Attributes from the service. Older ones than those at hand change nothing; a newer generation voids
    /// our own length, and makes doubtful what was not reported under the old one.
    pub fn learn(&mut self, inode: &Inode) {
        if inode.change < self.attributes.change {
            return;
        }
        if inode.generation != self.attributes.generation {
            if self.unreported.is_some() {
                self.doubt(self.own_length);
            }
            self.own_length = 0;
        }
        self.attributes = inode.clone();
        self.known_at = Instant::now();
    }

    /// The attributes as this client sees them.
    pub fn view(&self, mut inode: Inode) -> Inode {
        if inode.generation == self.attributes.generation {
            inode.length = inode.length.max(self.own_length);
        }
        inode
    }

    /// Our own truncation: what we wrote before lies behind it.
    pub fn truncated(&mut self, inode: &Inode) {
        self.own_length = 0;
        self.failed_end = 0;
        self.doubtful = None;
        self.own_cut = inode.generation;
        self.attributes = inode.clone();
        self.known_at = Instant::now();
    }

    /// What is to be told. Each report ends with `told` or `put_back`.
    pub fn take_report(&mut self) -> Option<Report> {
        self.unreported.take()?;
        Some(self.whole_report())
    }

    /// For who must know that the service knows, as close and fsync: also what another thread has taken and
    /// nobody has answered yet, once more. That one may fail; this one is answered behind it, and says the
    /// same.
    pub fn claim_report(&mut self) -> Option<Report> {
        let told = self.unreported.is_none() && self.reports_in_air == 0;
        self.unreported = None;
        (!told).then(|| self.whole_report())
    }

    fn whole_report(&mut self) -> Report {
        self.reports_in_air += 1;
        Report {
            length: self.own_length,
            generation: self.attributes.generation,
            last_write: self.last_write.expect("set by the write that is reported"),
            allocated_delta: std::mem::take(&mut self.allocated_delta),
        }
    }

    /// The service answered; the file has this generation there. It dropped a report of an older one.
    pub fn told(&mut self, report: &Report, generation: u64) {
        self.reports_in_air -= 1;
        if report.generation != generation && report.generation >= self.own_cut {
            self.doubt(report.length);
        }
    }

    pub fn put_back(&mut self, report: &Report) {
        self.reports_in_air -= 1;
        if report.generation < self.own_cut {
            return;
        }
        if report.generation != self.attributes.generation {
            self.doubt(report.length);
        }
        self.allocated_delta += report.allocated_delta;
        self.unreported.get_or_insert_with(Instant::now);
    }

    /// Writes acknowledged so far: what a flush covers that begins now.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// These chains have flushed, each in this durability epoch, what was acknowledged before `covered`. What was
    /// acknowledged in an earlier epoch and not flushed in it is perhaps lost. It stays until here, so that of several
    /// flushes at a time the first one to end counts it, whichever that is, and only that one.
    pub fn flushed(&mut self, chains: &[(u32, u64)], covered: u64) {
        let mut lost = false;
        for &(chain, epoch) in chains {
            self.unflushed.retain(|&(other, acked), write| {
                lost |= other == chain && acked < epoch;
                other != chain || acked > epoch || acked == epoch && *write > covered
            });
        }
        self.losses += u64::from(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Code, Error};

    fn inode(change: u64, generation: u64, length: u64) -> Inode {
        Inode { id: 7, change, generation, length, ..Default::default() }
    }

    fn acked(end: u64, epoch: u64) -> Changed {
        let acked = Acked { allocated_delta: 4096, epochs: vec![(3, epoch)], end };
        Changed { acked, failure: None }
    }

    #[test]
    fn a_report_carries_each_write_once_and_comes_back_if_it_was_lost() {
        let state = Arc::new(InodeState::new(inode(1, 1, 10)));
        for (end, epoch) in [(100, 5), (50, 4)] {
            let number = state.begin_write(100, None).unwrap();
            state.end_write(number, Some(&acked(end, epoch)));
        }
        let mut known = state.known.lock();
        assert_eq!(known.length(), 100);
        let report = known.take_report().unwrap();
        assert_eq!((report.length, report.generation, report.allocated_delta), (100, 1, 8192));
        assert!(!known.is_unreported() && known.take_report().is_none());
        known.put_back(&report);
        assert_eq!(known.take_report().unwrap().allocated_delta, 8192);
        known.told(&report, 1);
        assert_eq!(known.unflushed, BTreeMap::from([((3, 4), 2), ((3, 5), 1)]));
    }

    #[test]
    fn who_must_know_repeats_a_report_that_is_in_the_air() {
        let state = Arc::new(InodeState::new(inode(1, 1, 10)));
        assert_eq!(state.known.lock().claim_report(), None);
        let number = state.begin_write(100, None).unwrap();
        state.end_write(number, Some(&acked(100, 1)));
        let mut known = state.known.lock();
        let taken = known.take_report().unwrap();
        let repeated = known.claim_report().unwrap();
        assert_eq!((repeated.length, repeated.allocated_delta), (100, 0), "blocks are counted once");
        assert_eq!(repeated.last_write, taken.last_write);
        known.told(&repeated, 1);
        known.put_back(&taken);
        assert_eq!(known.claim_report().unwrap().allocated_delta, 4096);
        known.told(&taken, 1);
        assert_eq!(known.claim_report(), None);
    }

    #[test]
    fn of_flushes_at_a_time_one_counts_a_loss_and_none_what_it_does_not_cover() {
        let state = Arc::new(InodeState::new(inode(1, 1, 10)));
        let write = |epoch| state.end_write(state.begin_write(100, None).unwrap(), Some(&acked(100, epoch)));
        let flushed = |chains: &[(u32, u64)], covered| {
            let mut known = state.known.lock();
            known.flushed(chains, covered);
            (known.losses, known.unflushed.keys().copied().collect::<Vec<_>>())
        };
        write(1);
        let both = state.known.lock().acknowledged();
        // After an outage, while both flushes are in the air.
        write(2);
        assert_eq!(flushed(&[(4, 9)], both), (0, vec![(3, 1), (3, 2)]), "another chain");
        assert_eq!(flushed(&[(3, 2)], both), (1, vec![(3, 2)]), "written behind the flush");
        assert_eq!(flushed(&[(3, 2)], both), (1, vec![(3, 2)]));
        // Another outage: what was acknowledged in it before the flush was told is not lost.
        write(3);
        assert_eq!(flushed(&[(3, 2)], both + 1), (1, vec![(3, 3)]));
        write(3);
        assert_eq!(flushed(&[(3, 3)], both + 2), (1, vec![(3, 3)]));
        assert_eq!(flushed(&[(3, 3)], both + 3), (1, vec![]));
        write(3);
        assert_eq!(flushed(&[(3, 5)], both + 4), (2, vec![]));
    }

    #[test]
    fn a_failed_write_changes_nothing_but_what_a_truncation_cuts() {
        let failed = Changed { failure: Some(Error::new(Code::TimedOut, "")), ..Changed::default() };
        for changed in [None, Some(&failed)] {
            let state = Arc::new(InodeState::new(inode(1, 1, 10)));
            state.end_write(state.begin_write(100, None).unwrap(), changed);
            state.end_write(state.begin_write(50, None).unwrap(), Some(&acked(50, 1)));
            let mut known = state.known.lock();
            assert_eq!((known.length(), known.written()), (50, 100));
            let report = known.take_report().unwrap();
            assert_eq!(report.length, 50);
            known.told(&report, 1);
            known.learn(&inode(2, 2, 20));
            assert_eq!(known.written(), 100, "another's truncation may have come before it");
            known.truncated(&inode(3, 3, 0));
            assert_eq!((known.length(), known.written()), (0, 0));
        }
    }

    #[test]
    fn what_was_done_of_a_failed_write_is_reported() {
        let state = Arc::new(InodeState::new(inode(1, 1, 10)));
        let failed = Changed { failure: Some(Error::new(Code::NoSpace, "")), ..acked(100, 5) };
        state.end_write(state.begin_write(100, None).unwrap(), Some(&failed));
        let mut known = state.known.lock();
        assert_eq!(known.length(), 100, "else its bytes would show when the file grows");
        let report = known.take_report().unwrap();
        assert_eq!((report.length, report.allocated_delta), (100, 4096));
        assert_eq!(known.unflushed, BTreeMap::from([((3, 5), 1)]));
    }

    #[test]
    fn our_own_length_ends_with_its_generation() {
        let state = Arc::new(InodeState::new(inode(1, 1, 10)));
        let number = state.begin_write(100, None).unwrap();
        state.end_write(number, Some(&acked(100, 1)));
        let mut known = state.known.lock();
        assert_eq!(known.view(inode(1, 1, 10)).length, 100);
        known.learn(&inode(0, 0, 5));
        assert_eq!(known.length(), 100, "an older answer that came late");
        known.learn(&inode(2, 2, 20));
        assert_eq!(known.length(), 20);
        assert_eq!(known.view(inode(2, 2, 20)).length, 20);
    }

    #[test]
    fn who_must_not_wait_is_called_when_the_last_write_is_answered() {
        let state = Arc::new(InodeState::new(inode(1, 1, 10)));
        let writes = [state.begin_write(100, None).unwrap(), state.begin_write(100, None).unwrap()];
        let (sender, calls) = std::sync::mpsc::channel();
        state.close_gate_then(move || sender.send(()).unwrap());
        state.end_write(writes[1], None);
        assert!(calls.try_recv().is_err());
        state.end_write(writes[0], None);
        assert_eq!((calls.try_recv(), state.known.lock().gates), (Ok(()), 1));
        state.open_gate();
        state.begin_write(100, None).unwrap();
    }

    #[test]
    fn a_gate_waits_for_writes_in_the_air_and_holds_back_new_ones() {
        let state = Arc::new(InodeState::new(inode(1, 1, 10)));
        let first = state.begin_write(100, None).unwrap();
        let other = state.clone();
        let (sender, order) = std::sync::mpsc::channel();
        let events = sender.clone();
        let truncation = std::thread::spawn(move || {
            other.close_gate(None).unwrap();
            events.send("gate").unwrap();
            other.open_gate();
        });
        while state.known.lock().gates == 0 {
            std::thread::yield_now();
        }
        let other = state.clone();
        let write = std::thread::spawn(move || {
            let number = other.begin_write(100, None).unwrap();
            sender.send("write").unwrap();
            other.end_write(number, None);
        });
        assert!(order.try_recv().is_err());
        state.end_write(first, None);
        assert_eq!(order.iter().collect::<Vec<_>>(), ["gate", "write"]);
        truncation.join().unwrap();
        write.join().unwrap();
        state.wait_quiet(None).unwrap();
    }
}

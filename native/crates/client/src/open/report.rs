//! Telling the service what a writer knows better: length, age of the last write, blocks (P20, P23).

use super::OpenFile;
use super::file::writes;
use super::inode::{InodeState, Report};
use crate::Caller;
use crate::chunks::Chunks;
use crate::core::Core;
use crate::metadata::{CallOptions, Pending};
use crate::waiter::wait;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use wire::message as m;
use wire::{Code, Error, Result};

/// A service that lives answers within this, also after a flush of its log.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Each more means that another client has truncated the file once more in the time of a few requests.
const SETTLE_ROUNDS_MAX: usize = 8;

impl Core {
    /// Puts a report on its way if there is something to tell. Requests leave in order, so the next one finds
    /// it done.
    pub fn report_before(self: &Arc<Self>, inode: u64) {
        if let Some(state) = self.inodes.get(inode) {
            self.report_state(&state);
        }
    }

    pub fn report_older_than(self: &Arc<Self>, age: Duration) {
        for state in self.inodes.all() {
            let due = state.known.lock().unreported_for().is_some_and(|since| since >= age);
            if due {
                self.report_state(&state);
            }
        }
    }

    /// The last words of a client that stops: waits for their answers, but not long: a service that is away
    /// must not keep a process from ending. What is not heard then is found on the chains, as after a death.
    pub fn report_all(self: &Arc<Self>) {
        let (sender, answers) = mpsc::channel();
        for file in self.inodes.all().iter().filter_map(|state| writer(state)) {
            let report = file.state.known.lock().take_report();
            if report.is_some() {
                let sender = sender.clone();
                // The receiver may have lost its patience.
                let told = move |result| drop(sender.send(result));
                file.send_report(&Caller::default(), report, false, told);
            }
        }
        drop(sender);
        let deadline = Instant::now() + LAST_WORDS;
        while let Ok(answer) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if let Err(error) = answer {
                log::warn!(target: "client", error:%; "file.report_failed");
            }
        }
    }

    fn report_state(self: &Arc<Self>, state: &Arc<InodeState>) {
        let Some(file) = writer(state) else { return };
        let Some(report) = state.known.lock().take_report() else { return };
        file.send_report(&Caller::default(), Some(report), false, |result| {
            if let Err(error) = result {
                log::warn!(target: "client", error:%; "file.report_failed");
            }
        });
    }
}

/// Whose session the service takes a report from: not that of a reader, nor of a handle whose close may reach the
/// service before the report.
fn writer(state: &InodeState) -> Option<Arc<OpenFile>> {
    let known = state.known.lock();
    let open = |file: &Arc<OpenFile>| writes(file.flags) && !file.closed.load(Ordering::Acquire);
    known.files.iter().filter_map(Weak::upgrade).find(open)
}

impl OpenFile {
    /// What close(2) must have done before it returns: the service knows the length.
    ///
    /// # Errors
    /// When the service does not answer in time, or the handle is void.
    pub fn report(self: &Arc<Self>, caller: &Caller) -> Result<()> {
        self.check()?;
        self.state.wait_quiet(caller.cancel.as_ref())?;
        self.until_settled(caller, || {
            let report = self.claim_report();
            if report.is_none() {
                return Ok(());
            }
            wait(None, |done| self.send_report(caller, report, false, done))
        })
    }

    /// Tells the service until another client's truncation does not make the length doubtful any more (P19).
    ///
    /// # Errors
    /// Those of `tell`; `TimedOut` when the file is truncated again and again.
    pub(crate) fn until_settled(
        self: &Arc<Self>,
        caller: &Caller,
        mut tell: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        for _ in 0..SETTLE_ROUNDS_MAX {
            self.settle_length(caller)?;
            tell()?;
            if !writes(self.flags) || !self.state.known.lock().is_doubtful() {
                return Ok(());
            }
        }
        let detail = format!("inode {}: others truncate it again and again", self.inode());
        Err(Error::new(Code::TimedOut, detail))
    }

    /// Which of this client's doubtful writes came behind another client's truncation: of the others the
    /// chunks hold nothing, because they were trimmed before the service showed its new length.
    fn settle_length(self: &Arc<Self>, caller: &Caller) -> Result<()> {
        let Some(doubt) = self.state.known.lock().doubt_to_settle() else { return Ok(()) };
        let chunks = Chunks { core: self.core.clone() };
        let end = chunks.query_length_from(caller, self.inode(), &self.layout()?, doubt.length)?;
        self.state.known.lock().settle(&doubt, end);
        Ok(())
    }

    /// What a request of this handle has to tell before it is answered. The service takes reports from
    /// writers only.
    pub(crate) fn claim_report(self: &Arc<Self>) -> Option<Report> {
        if writes(self.flags) {
            return self.state.known.lock().claim_report();
        }
        self.core.report_before(self.inode());
        None
    }

    pub(crate) fn report_answered(&self, report: Option<&Report>, answer: &Result<m::InodeReply>) {
        let Some(report) = report else { return };
        let mut known = self.state.known.lock();
        match answer {
            Ok(reply) => {
                let generation = reply.inode.as_ref().map_or(report.generation, |inode| inode.generation);
                known.told(report, generation);
            }
            Err(_) => known.put_back(report),
        }
    }

    pub(crate) fn send_report(
        self: &Arc<Self>,
        caller: &Caller,
        report: Option<Report>,
        durable: bool,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        let (file, encoded) = (self.clone(), self.clone());
        let make = move || m::ReportRequest {
            header: None,
            inode: encoded.inode(),
            session: encoded.session(),
            report: report.map(|report| report.message()),
            durable,
        };
        let answered = move |result: Result<m::InodeReply>| {
            file.report_answered(report.as_ref(), &result);
            done(result.map(|reply| file.note_reply(reply)));
        };
        let options = CallOptions { deadline: self.core.limits(None).deadline, ..CallOptions::default() };
        self.core.session.submit(&Pending::new(caller, options, make, answered));
    }

    pub(crate) fn note_reply(&self, reply: m::InodeReply) {
        if let Some(inode) = reply.inode {
            self.core.inodes.learn(inode);
        }
    }
}

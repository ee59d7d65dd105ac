//! Closing: one request that also carries what is left to report.

use super::OpenFile;
use super::file::writes;
use crate::Caller;
use crate::metadata::{CallOptions, Pending};
use crate::waiter::wait;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::Result;
use wire::message as m;

impl OpenFile {
    /// Once; a second close does nothing. Not while a write of this handle is in the air: what it adds would not be
    /// told.
    pub fn close(self: &Arc<Self>, caller: &Caller, done: impl FnOnce(Result<()>) + Send + 'static) {
        self.end(caller, false, done);
    }

    /// `close` for whom nobody waits: it may reach the service some milliseconds later, with others, but before
    /// any request whose outcome could depend on it.
    pub fn close_later(self: &Arc<Self>, done: impl FnOnce(Result<()>) + Send + 'static) {
        // Nobody can interrupt it: the caller is gone already.
        self.end(&Caller::default(), true, done);
    }

    fn end(self: &Arc<Self>, caller: &Caller, patient: bool, done: impl FnOnce(Result<()>) + Send + 'static) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return done(Ok(()));
        }
        if self.epoch != self.core.identity.current().epoch {
            self.core.inodes.leave(self);
            return done(Ok(()));
        }
        let report = self.claim_report();
        let (file, encoded) = (self.clone(), self.clone());
        let make = move || m::CloseRequest {
            header: None,
            inode: encoded.inode(),
            session: encoded.session(),
            report: report.map(|report| report.message()),
        };
        let answered = move |result: Result<m::InodeReply>| {
            file.report_answered(report.as_ref(), &result);
            let result = result.map(|reply| file.note_reply(reply));
            file.core.inodes.leave(&file);
            done(result);
        };
        // A length is told at once.
        let patient = patient && report.is_none();
        let deadline = self.core.limits(None).deadline;
        let options = CallOptions { deadline, patient, ..CallOptions::default() };
        self.core.session.submit(&Pending::new(caller, options, make, answered));
    }

    /// Waits for this client's writes of the inode that are in the air.
    ///
    /// # Errors
    /// When the service does not answer in time.
    pub fn close_wait(self: &Arc<Self>, caller: &Caller) -> Result<()> {
        let quiet = self.state.wait_quiet(caller.cancel.as_ref());
        // A report that is dropped because of another client's truncation has to be made good while it is open.
        let reported = quiet.and_then(|()| if self.has_to_tell() { self.report(caller) } else { Ok(()) });
        wait(None, |done| self.close(caller, done)).and(reported)
    }

    fn has_to_tell(&self) -> bool {
        self.check().is_ok() && writes(self.flags) && self.state.known.lock().has_to_tell()
    }
}

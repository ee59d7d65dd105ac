//! fsync, in the order of P11: data on all members, flushed by all members, then the length, then the
//! service's log.

use super::OpenFile;
use crate::Caller;
use crate::chunks::Chunks;
use crate::done::Done;
use crate::metadata::{CallOptions, Pending};
use crate::waiter::wait;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::message as m;
use wire::{Code, Error, Result};

impl OpenFile {
    /// # Errors
    /// `DurabilityLost` once per handle if bytes that it should cover were acknowledged before an outage of
    /// all their holders; any error of a medium. An fsync that failed is not retried (P11).
    pub fn fsync(self: &Arc<Self>, caller: &Caller) -> Result<()> {
        self.check()?;
        self.state.wait_quiet(caller.cancel.as_ref())?;
        self.learn_length(caller)?;
        self.until_settled(caller, || self.flush_and_report(caller))?;
        self.report_loss()
    }

    fn flush_and_report(self: &Arc<Self>, caller: &Caller) -> Result<()> {
        let layout = self.layout()?;
        let (length, covered) = {
            let known = self.state.known.lock();
            (known.length(), known.acknowledged())
        };
        let chunks = Chunks { core: self.core.clone() };
        let limits = self.core.limits(caller.cancel.clone());
        let flushed = wait(caller.cancel.as_ref(), |done| {
            chunks.flush_within(limits, &layout, length, Done::new(done));
        })?;
        self.state.known.lock().flushed(&flushed, covered);
        let report = self.claim_report();
        wait(None, |done| self.send_report(caller, report, true, done))
    }

    /// Others may have written behind the end that was known here: their chunks are flushed too (P11).
    fn learn_length(self: &Arc<Self>, caller: &Caller) -> Result<()> {
        let age = self.state.known.lock().known_at.elapsed();
        if age < self.core.config.attribute_ttl { Ok(()) } else { self.ask_length(caller) }
    }

    /// What the service knows, once it knows what we do.
    pub(super) fn ask_length(self: &Arc<Self>, caller: &Caller) -> Result<()> {
        let inode = self.inode();
        self.core.report_before(inode);
        let options = CallOptions { deadline: self.core.limits(None).deadline, ..CallOptions::default() };
        let make = move || m::StatRequest { header: None, inode };
        let answer = wait(None, |done| {
            self.core.session.submit(&Pending::new(caller, options, make, done));
        })?;
        self.note_reply(answer);
        Ok(())
    }

    fn report_loss(&self) -> Result<()> {
        let losses = self.state.known.lock().losses;
        if self.losses_seen.swap(losses, Ordering::AcqRel) >= losses {
            return Ok(());
        }
        let detail =
            format!("inode {}: its servers were all down at once since the last fsync", self.inode());
        Err(Error::new(Code::DurabilityLost, detail))
    }
}

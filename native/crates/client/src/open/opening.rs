//! Making open files: open, create, and open again for a service that has forgotten them.

use super::OpenFile;
use super::file::writes;
use super::inodes::Gate;
use crate::core::Core;
use crate::metadata::{CallOptions, Pending, checked};
use crate::waiter::wait;
use crate::{Caller, Client};
use rustix::fs::OFlags;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wire::message as m;
use wire::request::decode_reply;
use wire::{Code, Error, Request, Result};

impl Client {
    /// Every open is a request and makes a session (P20). Flags as in open(2).
    ///
    /// # Errors
    /// `PermissionDenied`, `NotFound`, `IsDirectory`.
    pub fn open(&self, caller: &Caller, inode: u64, flags: u32) -> Result<Arc<OpenFile>> {
        wait(None, |done| self.open_then(caller, inode, flags, done))
    }

    /// Also whether it was made by this call.
    ///
    /// # Errors
    /// `Exists` with O_EXCL, and those of `lookup` and `open`.
    pub fn create(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        mode: u32,
        flags: u32,
    ) -> Result<(Arc<OpenFile>, bool)> {
        wait(None, |done| self.create_then(caller, parent, name, mode, flags, done))
    }

    /// `open` without waiting.
    pub fn open_then(
        &self,
        caller: &Caller,
        inode: u64,
        flags: u32,
        done: impl FnOnce(Result<Arc<OpenFile>>) + Send + 'static,
    ) {
        open_inode(&self.core, caller, inode, flags, move |result| done(result.map(|(file, _)| file)));
    }

    /// `create` without waiting.
    pub fn create_then(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        mode: u32,
        flags: u32,
        done: impl FnOnce(Result<(Arc<OpenFile>, bool)>) + Send + 'static,
    ) {
        let name = match checked(name) {
            Ok(name) => name,
            Err(error) => return done(Err(error)),
        };
        // Which writes a truncation would have to wait for is not known before the inode is: a file that exists
        // is truncated by an open of its own (P19).
        let kept = flags & !OFlags::TRUNC.bits();
        let make = move || m::CreateRequest { header: None, parent, name: name.clone(), mode, flags: kept };
        let (core, caller_then) = (self.core.clone(), caller.clone());
        open_with(&self.core, caller, kept, make, move |result| match result {
            Ok((found, false)) if truncates(flags) => {
                open_inode(&core, &caller_then, found.inode(), flags, move |result| {
                    // Until here it keeps the inode alive.
                    found.close(&Caller::default(), |_| {});
                    done(result);
                });
            }
            other => done(other),
        });
    }
}

fn open_inode(
    core: &Arc<Core>,
    caller: &Caller,
    inode: u64,
    flags: u32,
    done: impl FnOnce(Result<(Arc<OpenFile>, bool)>) + Send + 'static,
) {
    let (opening, caller) = (core.clone(), caller.clone());
    let submit = move |gate: Option<Gate>| {
        let written = if truncates(flags) { opening.inodes.written(inode) } else { 0 };
        opening.report_before(inode);
        let make = move || m::OpenRequest { header: None, inode, flags, written };
        open_with(&opening, &caller, flags, make, move |result| {
            drop(gate);
            done(result);
        });
    };
    if truncates(flags) {
        // A write in the air could land behind the truncation, and show when the file grows.
        core.inodes.close_gate_then(inode, submit);
    } else {
        submit(None);
    }
}

fn open_with<R: Request<Reply = m::OpenReply>>(
    core: &Arc<Core>,
    caller: &Caller,
    flags: u32,
    make: impl Fn() -> R + Send + Sync + 'static,
    done: impl FnOnce(Result<(Arc<OpenFile>, bool)>) + Send + 'static,
) {
    let (entering, late_core) = (core.clone(), core.clone());
    // The caller went away while the service opened the file: it must not stay open.
    let late = move |message| {
        if let Ok(reply) = decode_reply::<m::OpenReply>(message)
            && let Ok((file, _)) = enter(&late_core, flags, reply)
        {
            file.close(&Caller::default(), |_| {});
        }
    };
    let options = CallOptions {
        deadline: core.limits(None).deadline,
        late: Some(Box::new(late)),
        ..CallOptions::default()
    };
    let opened =
        move |result: Result<m::OpenReply>| done(result.and_then(|reply| enter(&entering, flags, reply)));
    core.session.submit(&Pending::new(caller, options, make, opened));
}

/// Also a file that is opened for reading alone: Linux then wants the right to write, and truncates.
fn truncates(flags: u32) -> bool {
    flags & OFlags::TRUNC.bits() != 0
}

fn enter(core: &Arc<Core>, flags: u32, reply: m::OpenReply) -> Result<(Arc<OpenFile>, bool)> {
    let inode = reply.inode.ok_or_else(|| Error::new(Code::BadMessage, "an open without an inode"))?;
    if truncates(flags) {
        core.inodes.truncated(&inode);
    }
    let state = core.inodes.enter(inode);
    let losses = state.known.lock().losses;
    let file = Arc::new(OpenFile {
        core: core.clone(),
        state,
        session: AtomicU64::new(reply.session),
        flags,
        epoch: core.identity.current().epoch,
        closed: AtomicBool::new(false),
        stale: AtomicBool::new(false),
        losses_seen: AtomicU64::new(losses),
    });
    core.inodes.add(&file);
    Ok((file, reply.created))
}

impl Core {
    /// A new connection to the service: it may have forgotten read opens, and everything if our session is
    /// `fresh` (P20). Handles of a fenced id stay void.
    pub fn reopen(self: &Arc<Self>, fresh: bool) {
        let epoch = self.identity.current().epoch;
        for file in self.inodes.files() {
            if file.epoch == epoch && (fresh || !writes(file.flags)) {
                self.reopen_file(file, fresh);
            }
        }
    }

    fn reopen_file(self: &Arc<Self>, file: Arc<OpenFile>, fresh: bool) {
        let once = (OFlags::TRUNC | OFlags::CREATE | OFlags::EXCL).bits();
        let (inode, flags) = (file.inode(), file.flags & !once);
        let make = move || m::OpenRequest { header: None, inode, flags, written: 0 };
        let core = self.clone();
        let answered = move |result: Result<m::OpenReply>| match result {
            Ok(reply) => {
                let old = file.session.swap(reply.session, Ordering::AcqRel);
                if old != reply.session {
                    core.forget_session(inode, old);
                }
            }
            Err(error) => {
                log::warn!(target: "client", inode, error:%; "file.reopen_failed");
                let gone = matches!(error.code, Code::NotFound | Code::StaleHandle);
                file.stale.fetch_or(gone || fresh, Ordering::AcqRel);
            }
        };
        let deadline = self.limits(None).deadline;
        let options = CallOptions { deadline, urgent: true, ..CallOptions::default() };
        // Permissions were checked when the file was opened first.
        self.session.submit(&Pending::new(&Caller::default(), options, make, answered));
    }

    /// If the service kept the old session after all; else it refuses, and nothing is lost.
    fn forget_session(self: &Arc<Self>, inode: u64, session: u64) {
        let make = move || m::CloseRequest { header: None, inode, session, report: None };
        let options = CallOptions { deadline: self.limits(None).deadline, ..CallOptions::default() };
        self.session.submit(&Pending::new(&Caller::default(), options, make, |_| {}));
    }
}

//! What a target stores beside its engine so that, after a total outage, the manager can tell which members
//! are complete (P10): the boot in which it last began to serve, whether it was stopped after a flush, and which
//! process began it empty if it has not served since.

use super::Target;
use crate::directory::Directory;
use crate::records;
use chain::{Role, View};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wire::message::StorageTargetRecord;
use wire::{Result, TargetId};

pub struct TargetRecord {
    path: PathBuf,
    stored: StorageTargetRecord,
    boot_id: String,
    /// Of the engine, as it was opened last.
    losses: u64,
    marks: Arc<Marks>,
}

/// What others may know of the record without waiting for it.
#[derive(Debug, Default)]
pub struct Marks {
    complete: AtomicBool,
    unused: AtomicBool,
    begun_by: AtomicU64,
}

impl Marks {
    /// It had everything when this process began, and nothing has happened since that could change that.
    pub fn complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// As the record says soon.
    pub fn lose(&self) {
        self.complete.store(false, Ordering::Release);
    }

    /// It never had a role: nothing of its chain is in it.
    pub fn unused(&self) -> bool {
        self.unused.load(Ordering::Acquire)
    }

    /// Incarnation of the process that began it empty, while it has not served since; else 0.
    pub fn begun_by(&self) -> u64 {
        self.begun_by.load(Ordering::Acquire)
    }
}

impl TargetRecord {
    /// As it was stored by an earlier process; the engine may say later that something is missing: `engine_opened`.
    pub fn opened(directory: &Directory, stored: StorageTargetRecord, boot_id: &str) -> TargetRecord {
        let same_boot = !stored.boot_id.is_empty() && stored.boot_id == boot_id;
        let complete = same_boot || (stored.clean && !stored.boot_id.is_empty());
        let path = directory.record_file(TargetId(stored.target));
        let marks = Marks {
            complete: complete.into(),
            unused: stored.unused.into(),
            begun_by: stored.begun_by.into(),
        };
        let losses = stored.losses;
        TargetRecord { path, stored, boot_id: boot_id.to_string(), losses, marks: Arc::new(marks) }
    }

    pub fn create(
        directory: &Directory,
        target: TargetId,
        chain: u32,
        (boot_id, incarnation): (&str, u64),
    ) -> Result<TargetRecord> {
        let stored = StorageTargetRecord { begun_by: incarnation, ..Directory::new_record(target, chain) };
        records::write(&directory.record_file(target), &stored)?;
        Ok(TargetRecord::opened(directory, stored, boot_id))
    }

    pub fn target(&self) -> TargetId {
        TargetId(self.stored.target)
    }

    pub fn chain(&self) -> u32 {
        self.stored.chain
    }

    /// False: it is on another disk than the one that is mounted now.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    pub fn marks(&self) -> Arc<Marks> {
        self.marks.clone()
    }

    /// Something is missing, or the disk failed: also for later processes, until it serves again.
    pub fn lose(&mut self) -> Result<()> {
        self.marks.lose();
        if self.stored.unused { Ok(()) } else { self.store("", false) }
    }

    /// So often an opening of the engine set chunks back. If that is news, this one did, or an earlier one of a process
    /// that died before it could say so here; or the engine was begun anew.
    pub(super) fn engine_opened(&mut self, losses: u64) -> Result<()> {
        self.losses = losses;
        if losses == self.stored.losses { Ok(()) } else { self.lose() }
    }

    /// There is no engine, or none any more, and this process makes one. It has lost nothing yet.
    pub(super) fn begin_anew(&mut self, incarnation: u64) -> Result<()> {
        if !self.stored.unused {
            let (target, chain) = (self.stored.target, self.stored.chain);
            log::warn!(target: "storage", target, chain; "target.begun_anew");
        }
        self.losses = 0;
        self.marks.lose();
        let boot_id = String::new();
        let (clean, losses, begun_by) = (false, 0, incarnation);
        self.write(StorageTargetRecord { boot_id, clean, losses, begun_by, ..self.stored.clone() })
    }

    fn store(&mut self, boot_id: &str, clean: bool) -> Result<()> {
        self.write(StorageTargetRecord { boot_id: boot_id.to_string(), clean, ..self.with_role() })
    }

    fn with_role(&self) -> StorageTargetRecord {
        StorageTargetRecord { unused: false, losses: self.losses, ..self.stored.clone() }
    }

    fn write(&mut self, stored: StorageTargetRecord) -> Result<()> {
        if stored == self.stored {
            return Ok(());
        }
        records::write(&self.path, &stored)?;
        self.marks.unused.store(stored.unused, Ordering::Release);
        self.marks.begun_by.store(stored.begun_by, Ordering::Release);
        self.stored = stored;
        Ok(())
    }

    fn take_role(&mut self, role: Role) -> Result<()> {
        match role {
            Role::Serving => {
                // It has everything: it was synced, or there was nothing to have.
                let (boot_id, clean, begun_by) = (self.boot_id.clone(), false, 0);
                self.write(StorageTargetRecord { boot_id, clean, begun_by, ..self.with_role() })?;
                self.marks.complete.store(true, Ordering::Release);
            }
            // What a resync writes makes it a mixture until it serves.
            Role::Syncing => {
                self.marks.lose();
                self.store("", false)?;
            }
            Role::Idle => {}
        }
        Ok(())
    }

    /// After the last flush of an orderly stop.
    fn stopped(&mut self) -> Result<()> {
        let boot_id = self.stored.boot_id.clone();
        if self.marks.complete() && !boot_id.is_empty() { self.store(&boot_id, true) } else { Ok(()) }
    }
}

impl Target {
    /// On the medium before the replica learns its role.
    pub(super) fn remember_role(&self, view: &View) -> Result<()> {
        let mut record = self.record.lock();
        self.disk.watched(|| record.take_role(view.role))
    }

    /// On the disk's own thread, with every tick until it is written, or the target is opened again, which begins
    /// with that. Behind every role that was stored before.
    pub(super) fn record_loss(&self) {
        if !self.unrecorded_loss.load(Ordering::Acquire) {
            return;
        }
        // Whoever opens it again has it for seconds, for which the other targets of the disk do not wait.
        let Some(mut record) = self.record.try_lock() else { return };
        // Before it is written: it may be set anew meanwhile.
        self.unrecorded_loss.store(false, Ordering::Release);
        let Err(error) = self.disk.watched(|| record.lose()) else {
            return self.loss_complained.store(false, Ordering::Release);
        };
        self.unrecorded_loss.store(true, Ordering::Release);
        if !self.loss_complained.swap(true, Ordering::AcqRel) {
            log::error!(target: "storage", target = self.id.0, error:% = error; "target.record");
        }
    }

    /// Flushes and closes the store; then the record says so.
    pub fn stop(&self) -> Result<()> {
        self.state.lock().stopped = true;
        let flushed = self.store.flush().and_then(|()| self.store.close());
        let mut record = self.record.lock();
        if flushed.is_err() || self.unrecorded_loss.load(Ordering::Acquire) {
            // Linux marks pages that it could not write as clean: the same boot says nothing any more (P11).
            self.disk.watched(|| record.lose())?;
            return flushed;
        }
        self.disk.watched(|| record.stopped())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn reopen(directory: &Directory, boot_id: &str) -> TargetRecord {
        let stored = directory.targets().unwrap().remove(0);
        TargetRecord::opened(directory, stored, boot_id)
    }

    fn made(path: &Path) -> (Directory, TargetRecord) {
        let directory = Directory::open(path, "test", 1).unwrap();
        directory.create_folder(TargetId(5)).unwrap();
        let record = TargetRecord::create(&directory, TargetId(5), 2, ("boot-1", 6)).unwrap();
        (directory, record)
    }

    #[test]
    fn complete_means_same_boot_or_clean_stop_since_it_served() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, mut record) = made(folder.path());
        assert!(!record.marks.complete(), "it never served");
        assert!(!reopen(&directory, "boot-1").marks.complete());
        record.lose().unwrap();
        assert!(
            record.marks.unused() && reopen(&directory, "boot-1").marks.unused(),
            "there was nothing to lose"
        );
        record.take_role(Role::Serving).unwrap();
        assert!(!record.marks.unused() && !reopen(&directory, "boot-1").marks.unused());
        assert!(reopen(&directory, "boot-1").marks.complete(), "killed in the same boot");
        assert!(!reopen(&directory, "boot-2").marks.complete(), "power lost");
        // Opened in the next boot without serving: it is still not complete at the start after that.
        let mut after_power_loss = reopen(&directory, "boot-2");
        after_power_loss.take_role(Role::Idle).unwrap();
        after_power_loss.stopped().unwrap();
        assert!(!reopen(&directory, "boot-2").marks.complete());
        record.stopped().unwrap();
        assert!(reopen(&directory, "boot-2").marks.complete(), "stopped after a flush");
        let mut next = reopen(&directory, "boot-2");
        next.take_role(Role::Serving).unwrap();
        assert!(!reopen(&directory, "boot-3").marks.complete(), "a clean stop counts once");
        next.take_role(Role::Syncing).unwrap();
        assert!(!reopen(&directory, "boot-2").marks.complete(), "killed in a resync");
        next.stopped().unwrap();
        assert!(!reopen(&directory, "boot-2").marks.complete(), "stopped in a resync");
    }

    /// Whatever a process died of between the opening of its engine and the record of what that found.
    #[test]
    fn a_loss_that_was_not_recorded_is_found_by_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, mut record) = made(folder.path());
        record.engine_opened(0).unwrap();
        record.take_role(Role::Serving).unwrap();
        let opened = |losses| {
            let mut record = reopen(&directory, "boot-1");
            record.engine_opened(losses).unwrap();
            record
        };
        assert!(opened(0).marks.complete());
        assert!(!opened(1).marks.complete(), "news, of this opening or of one before");
        let mut next = opened(1);
        assert!(!next.marks.complete(), "it is known now, and still missing");
        next.take_role(Role::Idle).unwrap();
        next.take_role(Role::Syncing).unwrap();
        assert!(!opened(1).marks.complete(), "in a resync");
        next.take_role(Role::Serving).unwrap();
        assert!(opened(1).marks.complete(), "a resync brought it");
        let mut next = opened(2);
        assert!(!next.marks.complete(), "the next loss");
        next.take_role(Role::Serving).unwrap();
        // The engine is begun anew, however often the one before had lost something.
        next.begin_anew(9).unwrap();
        assert!(!opened(0).marks.complete());
        next.take_role(Role::Serving).unwrap();
        assert!(opened(0).marks.complete());
    }

    #[test]
    fn whoever_was_begun_empty_says_so_until_it_serves() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, mut record) = made(folder.path());
        let begun_by = || reopen(&directory, "boot-1").marks.begun_by();
        assert_eq!((record.marks.begun_by(), begun_by()), (6, 6));
        // Before it had a role nothing was lost.
        record.begin_anew(7).unwrap();
        assert!(reopen(&directory, "boot-1").marks.unused() && begun_by() == 7);
        record.take_role(Role::Serving).unwrap();
        assert_eq!((record.marks.begun_by(), begun_by()), (0, 0));
        record.stopped().unwrap();
        record.begin_anew(8).unwrap();
        let mut next = reopen(&directory, "boot-1");
        assert!(!next.marks.complete() && !next.marks.unused());
        for role in [Role::Idle, Role::Syncing] {
            next.take_role(role).unwrap();
            assert_eq!((next.marks.begun_by(), begun_by()), (8, 8), "{role:?}");
        }
        next.lose().unwrap();
        assert_eq!(begun_by(), 8);
        next.take_role(Role::Serving).unwrap();
        assert_eq!(begun_by(), 0);
    }
}

//! One target alone, on a disk in memory, with its record in a folder.

use super::*;
use crate::config::DiskOpener;
use crate::disk::tests::disk;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::routing::RoutingState;
use chain::View;
use chunk_engine::MemoryDisk;
use pages::PagePool;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use transport::TcpTransport;
use wire::message::StorageTargetRecord;

const TARGET: TargetId = TargetId(5);

struct Alone {
    folder: TempDir,
    target: Arc<Target>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.target.shared.peers.close();
    }
}

/// It was in its chain, and its record says so.
fn alone() -> Alone {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(folder.path());
    let metrics = Arc::new(Metrics::default());
    let peers = Peers::start(Arc::new(TcpTransport::new()), metrics.clone(), Box::new(|_| ()));
    let memory = MemoryDisk::new(1 << 30);
    let shared = Arc::new(Shared {
        incarnation: 6,
        boot_id: "boot-1".into(),
        engine_options: chunk_engine::Options::default(),
        open_disk: DiskOpener::new(move |_| Ok(Arc::new(memory.clone()))),
        metrics,
        pages: PagePool::new(1),
        peers,
        routing: Mutex::new(RoutingState::default()),
    });
    let record = {
        let directory = disk.directory.lock();
        directory.create_folder(TARGET).unwrap();
        TargetRecord::create(&directory, TARGET, 2, ("boot-1", 6)).unwrap()
    };
    let target = Target::open(&shared, &disk, record).unwrap();
    let serving = View { role: Role::Serving, ..View::new(Chain::default(), TARGET, 6) };
    target.remember_role(&serving).unwrap();
    let alone = Alone { folder, target };
    assert!(alone.recorded_complete());
    alone
}

impl Alone {
    fn place(&self) -> PathBuf {
        self.target.disk.directory.lock().record_file(TARGET).parent().map(Path::to_path_buf).unwrap()
    }

    /// What the next process of this boot takes it for.
    fn recorded_complete(&self) -> bool {
        let file = self.target.disk.directory.lock().record_file(TARGET);
        let stored: StorageTargetRecord = crate::records::read(&file).unwrap().unwrap();
        !stored.boot_id.is_empty()
    }

    fn fail(&self) {
        self.target.fail(Error::new(Code::Io, "a test"));
        assert!(self.target.is_offline());
    }

    fn reopen(&self) {
        self.target.reopen_if_offline();
        self.target.disk.resyncs.wait_idle();
    }
}

#[test]
fn a_failure_that_could_not_be_recorded_is_recorded_later() {
    let alone = alone();
    let in_the_way = alone.place().join("target.new");
    std::fs::create_dir(&in_the_way).unwrap();
    alone.fail();
    (0..3).for_each(|_| alone.target.tick());
    assert!(alone.recorded_complete(), "it can be written all the same");
    std::fs::remove_dir(&in_the_way).unwrap();
    alone.target.tick();
    assert!(!alone.recorded_complete());
}

#[test]
fn a_failure_is_recorded_although_the_target_could_not_be_opened_again() {
    let alone = alone();
    let aside = alone.folder.path().join("aside");
    alone.fail();
    std::fs::rename(alone.place(), &aside).unwrap();
    alone.reopen();
    assert!(alone.target.is_offline(), "its data are not there");
    std::fs::rename(&aside, alone.place()).unwrap();
    alone.target.tick();
    assert!(!alone.recorded_complete());
    alone.reopen();
    assert!(!alone.target.is_offline());
}

#[test]
fn what_an_engine_says_late_does_not_count_against_the_next_one() {
    let alone = alone();
    let failed = || Err(Error::new(Code::Io, "a test"));
    let late = alone.target.store.reopenings();
    alone.fail();
    alone.reopen();
    alone.target.feed_flushed(late, 0, failed());
    assert!(!alone.target.is_offline());
    alone.target.feed_flushed(alone.target.store.reopenings(), 0, failed());
    assert!(alone.target.is_offline());
}

#[test]
fn a_store_that_is_closed_while_it_is_opened_again_is_no_failure() {
    let alone = alone();
    let aside = alone.folder.path().join("aside");
    alone.fail();
    std::fs::rename(alone.place(), &aside).unwrap();
    alone.reopen();
    let closed = alone.target.store.reopenings();
    let flushed = alone.target.store.flush();
    assert_eq!(flushed.as_ref().unwrap_err().code, Code::TargetOffline);
    std::fs::rename(&aside, alone.place()).unwrap();
    alone.reopen();
    alone.target.feed_flushed(closed, 0, flushed);
    assert!(!alone.target.is_offline());
}

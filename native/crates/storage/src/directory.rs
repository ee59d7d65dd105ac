//! A data directory: who owns it, and which targets lie in it. Refuses another cluster's, another node's, a
//! newer release's and a used one. It never deletes a target.

use crate::records;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::{Path, PathBuf};
use wire::message::{StorageDirectoryRecord, StorageTargetRecord};
use wire::{Code, Error, Result, TargetId};

const RECORD_VERSION: u32 = 1;
const IDENTITY: &str = "identity";
const LOCK: &str = "lock";

pub struct Directory {
    path: PathBuf,
    identity: StorageDirectoryRecord,
    /// Held as long as this process uses the directory.
    _lock: File,
}

impl Directory {
    /// Makes it where there is none.
    ///
    /// # Errors
    /// One sentence that says what is wrong with the directory.
    pub fn open(path: &Path, cluster: &str, node: u32) -> Result<Directory> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Error::new(Code::Io, format!("{what} {}: {error}", path.display()))
        };
        std::fs::create_dir_all(path).map_err(|error| failed("create the data directory", &error))?;
        let lock =
            File::create(path.join(LOCK)).map_err(|error| failed("lock the data directory", &error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Error::new(Code::AlreadyRunning, format!("another process uses {}", path.display()))
        })?;
        let identity = match records::read::<StorageDirectoryRecord>(&path.join(IDENTITY))? {
            Some(identity) => identity,
            None => StorageDirectoryRecord {
                record_version: RECORD_VERSION,
                cluster: cluster.to_string(),
                node,
                incarnation: 0,
            },
        };
        if identity.record_version > RECORD_VERSION {
            let detail = format!("{} was written by a newer release; start that one", path.display());
            return Err(Error::new(Code::NewerData, detail));
        }
        if identity.cluster != cluster || identity.node != node {
            let detail = format!(
                "{} belongs to node {} of cluster {}, this is node {node} of cluster {cluster}",
                path.display(),
                identity.node,
                identity.cluster
            );
            return Err(Error::new(Code::WrongCluster, detail));
        }
        Ok(Directory { path: path.to_path_buf(), identity, _lock: lock })
    }

    /// Of the last process that used the directory.
    pub fn last_incarnation(&self) -> u64 {
        self.identity.incarnation
    }

    /// On the medium when it returns.
    pub fn store_incarnation(&mut self, incarnation: u64) -> Result<()> {
        self.identity.incarnation = incarnation;
        records::write(&self.path.join(IDENTITY), &self.identity)
    }

    /// The targets that lie here.
    pub fn targets(&self) -> Result<Vec<StorageTargetRecord>> {
        let failed =
            |error: std::io::Error| Error::new(Code::Io, format!("{}: {error}", self.path.display()));
        let mut targets = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let record = entry.map_err(failed)?.path().join("target");
            let Some(target) = records::read::<StorageTargetRecord>(&record)? else { continue };
            if target.record_version > RECORD_VERSION {
                let detail = format!("{} was written by a newer release", record.display());
                return Err(Error::new(Code::NewerData, detail));
            }
            targets.push(target);
        }
        targets.sort_by_key(|target| target.target);
        Ok(targets)
    }

    fn folder(&self, target: TargetId) -> PathBuf {
        self.path.join(format!("target-{target}"))
    }

    pub fn data_folder(&self, target: TargetId) -> PathBuf {
        self.folder(target).join("data")
    }

    pub fn record_file(&self, target: TargetId) -> PathBuf {
        self.folder(target).join("target")
    }

    /// A new empty target. Its record is written after its engine exists.
    pub fn create_folder(&self, target: TargetId) -> Result<()> {
        let folder = self.data_folder(target);
        std::fs::create_dir_all(&folder)
            .map_err(|error| Error::new(Code::Io, format!("create {}: {error}", folder.display())))
    }

    pub fn new_record(target: TargetId, chain: u32) -> StorageTargetRecord {
        StorageTargetRecord { record_version: RECORD_VERSION, target: target.0, chain, ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk-0");
        let code = |result: Result<Directory>| result.err().map(|error| error.code);
        let mut first = Directory::open(&path, "one", 3).unwrap();
        first.store_incarnation(7).unwrap();
        assert_eq!(code(Directory::open(&path, "one", 3)), Some(Code::AlreadyRunning));
        drop(first);
        assert_eq!(code(Directory::open(&path, "two", 3)), Some(Code::WrongCluster));
        assert_eq!(code(Directory::open(&path, "one", 4)), Some(Code::WrongCluster));
        let again = Directory::open(&path, "one", 3).unwrap();
        assert_eq!(again.last_incarnation(), 7);
        again.create_folder(TargetId(5)).unwrap();
        assert!(again.targets().unwrap().is_empty());
        records::write(&again.record_file(TargetId(5)), &Directory::new_record(TargetId(5), 2)).unwrap();
        assert_eq!(again.targets().unwrap(), vec![Directory::new_record(TargetId(5), 2)]);
        let newer = StorageDirectoryRecord { record_version: 2, ..again.identity.clone() };
        records::write(&path.join(IDENTITY), &newer).unwrap();
        drop(again);
        assert_eq!(code(Directory::open(&path, "one", 3)), Some(Code::NewerData));
        std::fs::write(path.join(IDENTITY), b"not a record").unwrap();
        assert_eq!(code(Directory::open(&path, "one", 3)), Some(Code::Corrupt));
    }
}

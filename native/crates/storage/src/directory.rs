//! A data directory: who owns it, and which targets lie in it. Refuses another cluster's, another node's, a
//! newer release's and a used one. A target goes only by name: first its folder gets another one, so that a
//! crash leaves it whole or gone; then what lies in it is removed.

use crate::disk::known_chains::KnownChains;
use crate::records;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use wire::message::{StorageDirectoryRecord, StorageTargetRecord};
use wire::{Code, Error, Result, TargetId};

const RECORD_VERSION: u32 = 1;
const IDENTITY: &str = "identity";
const LOCK: &str = "lock";
/// Before the number of a target that was taken out.
const REMOVED: &str = "removed-";

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::Io, format!("{what} {}: {error}", path.display()))
}

fn is_removed(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(REMOVED))
}

/// A disk that is not mounted looks like an empty one, and would be filled again on the file system below it.
///
/// # Errors
/// It is not the root of a file system of its own, or is not there.
pub fn require_mount_point(path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| cannot("look at the data directory", path, &error);
    let own = std::fs::metadata(path).map_err(failed)?.dev();
    let below = std::fs::metadata(path.join("..")).map_err(failed)?.dev();
    if own != below {
        return Ok(());
    }
    let detail = format!(
        "{} is not mounted, and `mountedDisks` says that it must be: mount its disk, then restart this server",
        path.display()
    );
    Err(Error::new(Code::Io, detail))
}

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
            let path = entry.map_err(failed)?.path();
            if is_removed(&path) {
                continue;
            }
            let record = path.join("target");
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

    /// Of targets that were taken out by an earlier process: to be removed.
    pub fn left(&self) -> Result<Vec<PathBuf>> {
        let entries =
            std::fs::read_dir(&self.path).map_err(|error| cannot("look into", &self.path, &error))?;
        let paths = entries.flatten().map(|entry| entry.path());
        Ok(paths.filter(|path| is_removed(path)).collect())
    }

    /// What its targets know of their chains.
    pub fn known_chains(&self) -> Result<KnownChains> {
        KnownChains::open(&self.path)
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

    pub fn scrub_file(&self, target: TargetId) -> PathBuf {
        self.folder(target).join("scrub")
    }

    /// The folder of a new empty target; what a crash left there before its record was written goes.
    pub fn create_folder(&self, target: TargetId) -> Result<()> {
        // An empty disk in the place of the one that was opened.
        if !self.path.join(IDENTITY).exists() {
            records::write(&self.path.join(IDENTITY), &self.identity)?;
        }
        let folder = self.folder(target);
        if !self.record_file(target).exists() && folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|error| cannot("empty", &folder, &error))?;
        }
        let data = self.data_folder(target);
        std::fs::create_dir_all(&data).map_err(|error| cannot("create", &data, &error))
    }

    /// From now on the target does not lie here; it is no error if it did not. What is left of it is the
    /// caller's to remove when nobody uses it any more: a process that starts removes it otherwise.
    pub fn take_out(&self, target: TargetId) -> Result<Option<PathBuf>> {
        let (folder, removed) = (self.folder(target), self.path.join(format!("{REMOVED}{target}")));
        let renamed = std::fs::rename(&folder, &removed).and_then(|()| File::open(&self.path)?.sync_all());
        match renamed {
            Ok(()) => Ok(Some(removed)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::new(Code::Io, format!("remove {}: {error}", folder.display()))),
        }
    }

    pub fn new_record(target: TargetId, chain: u32) -> StorageTargetRecord {
        let unused = true;
        StorageTargetRecord {
            record_version: RECORD_VERSION,
            target: target.0,
            chain,
            unused,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_was_taken_out_is_gone_whenever_the_process_ends() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path(), "one", 3).unwrap();
        for number in [5, 6] {
            directory.create_folder(TargetId(number)).unwrap();
            std::fs::write(directory.data_folder(TargetId(number)).join("segment"), "bytes").unwrap();
            let record = Directory::new_record(TargetId(number), number as u32);
            records::write(&directory.record_file(TargetId(number)), &record).unwrap();
        }
        let left = directory.take_out(TargetId(5)).unwrap().unwrap();
        assert!(left.join("data/segment").exists(), "in use until the caller removes it");
        assert_eq!(directory.take_out(TargetId(5)).unwrap(), None);
        // As after a crash: the next process finds one target, and what is left of the other.
        assert_eq!(directory.targets().unwrap(), vec![Directory::new_record(TargetId(6), 6)]);
        assert_eq!(directory.left().unwrap(), [left]);
        // Without its record a folder was never a target.
        std::fs::remove_file(directory.record_file(TargetId(6))).unwrap();
        directory.create_folder(TargetId(6)).unwrap();
        assert!(!directory.data_folder(TargetId(6)).join("segment").exists());
    }

    #[test]
    fn an_empty_disk_in_the_place_of_the_old_one_gets_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path(), "one", 3).unwrap();
        directory.create_folder(TargetId(5)).unwrap();
        let identity: StorageDirectoryRecord =
            records::read(&folder.path().join(IDENTITY)).unwrap().expect("written with the first target");
        assert_eq!((identity.cluster.as_str(), identity.node), ("one", 3));
    }

    #[test]
    fn a_disk_that_must_be_mounted_is_the_root_of_its_own_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("disk-0");
        let code = |path: &Path| require_mount_point(path).err().map(|error| error.code);
        assert_eq!(code(&inside), Some(Code::Io), "it is not there");
        std::fs::create_dir(&inside).unwrap();
        assert_eq!(code(&inside), Some(Code::Io));
        assert_eq!(code(Path::new("/proc")), None);
    }

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

//! The newest version of each chain that the targets of a directory believed, in one file: on the medium before any of
//! them acts on it, so that a manager with an older state can be told (P3). One write for all that is new at once: a
//! lost server changes the chains of many targets in one moment.

use crate::records;
use chain::covers;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wire::message::{Chain, StorageChainsRecord};
use wire::{Code, Error, Result};

const RECORD_VERSION: u32 = 1;
const FILE: &str = "chains";

pub struct KnownChains {
    path: PathBuf,
    /// By id. As many as there are targets, and those of targets that left since the last write.
    chains: RwLock<BTreeMap<u32, Arc<Chain>>>,
}

impl KnownChains {
    /// # Errors
    /// The file is damaged, or of a newer release.
    pub fn open(directory: &Path) -> Result<KnownChains> {
        let path = directory.join(FILE);
        let record: StorageChainsRecord = records::read(&path)?.unwrap_or_default();
        if record.record_version > RECORD_VERSION {
            let detail = format!("{} was written by a newer release", path.display());
            return Err(Error::new(Code::NewerData, detail));
        }
        let chains = record.chains.into_iter().map(|chain| (chain.id, Arc::new(chain))).collect();
        Ok(KnownChains { path, chains: RwLock::new(chains) })
    }

    pub fn get(&self, chain: u32) -> Option<Arc<Chain>> {
        self.chains.read().get(&chain).cloned()
    }

    /// Whether this version is the known one, or follows it: another is of a manager with an old state.
    pub fn believes(&self, told: &Chain) -> bool {
        self.get(told.id).is_none_or(|known| covers(told, known.term, known.version))
    }

    /// Of a version that is believed: whether it is another than the known one.
    pub fn is_newer(&self, told: &Chain) -> bool {
        self.get(told.id).is_none_or(|known| known.version < told.version)
    }

    /// Of versions that are believed; on the medium when it returns. An error leaves known what was.
    pub fn learn<'a>(&self, told: impl Iterator<Item = &'a Chain>) -> Result<()> {
        let news: Vec<Arc<Chain>> =
            told.filter(|chain| self.is_newer(chain)).cloned().map(Arc::new).collect();
        if news.is_empty() {
            return Ok(());
        }
        let mut next = self.chains.read().clone();
        next.extend(news.into_iter().map(|chain| (chain.id, chain)));
        let chains = next.values().map(|chain| Chain::clone(chain)).collect();
        records::write(&self.path, &StorageChainsRecord { record_version: RECORD_VERSION, chains })?;
        *self.chains.write() = next;
        Ok(())
    }

    /// Its target left. Gone from the medium with the next version of another one.
    pub fn forget(&self, chain: u32) {
        self.chains.write().remove(&chain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(id: u32, version: u64, term: u64) -> Chain {
        Chain { id, version, term, ..Chain::default() }
    }

    #[test]
    fn what_was_believed_is_known_to_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let open = || KnownChains::open(folder.path()).unwrap();
        let known = open();
        assert!(known.believes(&chain(1, 1, 9)), "nothing is known");
        known.learn([chain(1, 5, 9), chain(2, 3, 9)].iter()).unwrap();
        known.learn([chain(2, 2, 9)].iter()).unwrap();
        for known in [known, open()] {
            let versions = [1, 2, 3].map(|id| known.get(id).map(|chain| chain.version));
            assert_eq!(versions, [Some(5), Some(3), None]);
            assert!(known.believes(&chain(1, 5, 9)) && known.believes(&chain(1, 6, 9)));
            assert!(!known.believes(&chain(1, 4, 9)), "older");
            assert!(!known.believes(&chain(1, 5, 8)) && !known.believes(&chain(1, 70, 8)), "another way");
        }
    }

    #[test]
    fn what_cannot_be_written_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let known = KnownChains::open(&folder.path().join("gone")).unwrap();
        assert!(known.learn([chain(1, 5, 9)].iter()).is_err());
        assert_eq!(known.get(1), None);
    }

    #[test]
    fn what_left_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let known = KnownChains::open(folder.path()).unwrap();
        known.learn([chain(1, 5, 9)].iter()).unwrap();
        known.forget(1);
        known.learn([chain(2, 5, 9)].iter()).unwrap();
        assert_eq!(KnownChains::open(folder.path()).unwrap().get(1), None);
    }

    #[test]
    fn a_newer_release_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let record = StorageChainsRecord { record_version: RECORD_VERSION + 1, ..Default::default() };
        records::write(&folder.path().join(FILE), &record).unwrap();
        assert_eq!(KnownChains::open(folder.path()).err().map(|error| error.code), Some(Code::NewerData));
    }
}

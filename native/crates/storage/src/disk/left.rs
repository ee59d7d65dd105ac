//! What is left of targets that were taken out of the directory.

use super::DiskShare;
use std::fs::ReadDir;
use std::path::PathBuf;
use std::sync::Arc;

impl DiskShare {
    /// Soon, one file after another, each a task of its own: a target has many, some of them large, and nobody
    /// waits for their room as flushes and repairs are waited for. What the end of the process leaves goes with the
    /// next one.
    pub fn remove_left(self: &Arc<Self>, left: PathBuf) {
        let disk = self.clone();
        self.repairs.push(move || {
            let files = disk.watched(|| std::fs::read_dir(left.join("data")));
            disk.remove_next(left, files.ok());
        });
    }

    fn remove_next(self: &Arc<Self>, left: PathBuf, mut files: Option<ReadDir>) {
        let disk = self.clone();
        self.repairs.push(move || {
            if let Some(file) = files.as_mut().and_then(|files| files.find_map(Result::ok)) {
                // The folder's removal meets whatever stops this one.
                let _ = disk.watched(|| std::fs::remove_file(file.path()));
                return disk.remove_next(left, files);
            }
            if let Err(error) = disk.watched(|| std::fs::remove_dir_all(&left)) {
                let path = left.display().to_string();
                log::warn!(target: "storage", path = path.as_str(), error:% = error; "target.remove");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::disk;
    use parking_lot::Mutex;
    use std::sync::Arc;

    #[test]
    fn what_is_left_of_a_target_goes_beside_flushes_and_one_file_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path());
        let left = folder.path().join("left-5");
        std::fs::create_dir_all(left.join("data")).unwrap();
        (0..9).for_each(|number| std::fs::write(left.join("data").join(number.to_string()), "x").unwrap());
        let (flush, start) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let (flushing, starting) = (flush.lock(), start.lock());
        let (gate, first) = (flush.clone(), start.clone());
        disk.flushers.push(move || drop(gate.lock()));
        disk.repairs.push(move || drop(first.lock()));
        disk.remove_left(left.clone());
        let (seen, path) = (Arc::new(Mutex::new(None)), left.clone());
        let seeing = seen.clone();
        disk.repairs.push(move || *seeing.lock() = Some(path.exists()));
        drop(starting);
        disk.repairs.wait_idle();
        assert!(!left.exists(), "while a flush is under way");
        assert_eq!(*seen.lock(), Some(true), "a repair waited for all of it");
        drop(flushing);
        disk.flushers.wait_idle();
    }
}

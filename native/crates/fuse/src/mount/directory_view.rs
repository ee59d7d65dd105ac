//! Attributes of directories for as long as the kernel itself would believe them. With every name that this
//! host makes, the kernel drops the parent's attributes, and asks for them again before it checks permissions
//! for the next name: one request of the service per created file. What a new name changes in its directory
//! is known, so that question is answered here.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use wire::message::{FileType, Inode};

/// Directories in which this host made names within the last second; more ask the service.
const DIRECTORIES_MAX: usize = 256;

#[derive(Default)]
struct State {
    /// Rises with each change of a directory by this host.
    changes: u64,
    known: HashMap<u64, (Instant, Inode)>,
}

#[derive(Default)]
pub struct DirectoryView(Mutex<State>);

/// When a question was sent: an answer that a change overtook is not kept.
#[derive(Clone, Copy)]
pub struct Asked {
    changes: u64,
    at: Instant,
}

impl DirectoryView {
    pub fn ask(&self) -> Asked {
        Asked { changes: self.0.lock().changes, at: Instant::now() }
    }

    pub fn answered(&self, asked: Asked, inode: &Inode, valid: Duration) {
        if inode.r#type() != FileType::FileDirectory {
            return;
        }
        let mut state = self.0.lock();
        if state.changes != asked.changes {
            return;
        }
        if state.known.len() >= DIRECTORIES_MAX {
            state.known.retain(|_, (since, _)| since.elapsed() < valid);
        }
        if state.known.len() < DIRECTORIES_MAX {
            state.known.insert(inode.id, (asked.at, inode.clone()));
        }
    }

    /// The attributes, and how much longer they may be believed.
    pub fn get(&self, inode: u64, valid: Duration) -> Option<(Inode, Duration)> {
        let state = self.0.lock();
        let (since, attributes) = state.known.get(&inode)?;
        let left = valid.checked_sub(since.elapsed())?;
        Some((attributes.clone(), left))
    }

    /// A file was made in it: the directory has its time (the service makes both in one step).
    pub fn gained_file(&self, directory: u64, file: &Inode) {
        let mut state = self.0.lock();
        state.changes += 1;
        if let Some((_, attributes)) = state.known.get_mut(&directory) {
            let at = attributes.ctime_ns.max(file.created_ns);
            (attributes.ctime_ns, attributes.mtime_ns) = (at, at);
            attributes.entries += 1;
            attributes.change += 1;
        }
    }

    /// Something else happened in it or to it.
    pub fn changed(&self, directory: u64) {
        let mut state = self.0.lock();
        state.changes += 1;
        state.known.remove(&directory);
    }

    /// A directory may have gone: nobody knows which.
    pub fn lost_directory(&self) {
        let mut state = self.0.lock();
        state.changes += 1;
        state.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: Duration = Duration::from_secs(3600);

    fn directory(ctime_ns: i64) -> Inode {
        Inode {
            id: 3,
            r#type: FileType::FileDirectory as i32,
            ctime_ns,
            mtime_ns: ctime_ns,
            ..Default::default()
        }
    }

    fn file(created_ns: i64) -> Inode {
        Inode { id: 9, created_ns, ..Default::default() }
    }

    #[test]
    fn a_new_file_moves_the_times_and_nothing_moves_them_back() {
        let view = DirectoryView::default();
        view.answered(view.ask(), &directory(100), VALID);
        view.gained_file(3, &file(150));
        view.gained_file(3, &file(120));
        let (known, _) = view.get(3, VALID).expect("it is known");
        assert_eq!((known.mtime_ns, known.ctime_ns), (150, 150));
    }

    #[test]
    fn an_answer_that_was_overtaken_is_not_kept() {
        let view = DirectoryView::default();
        let asked = view.ask();
        view.gained_file(3, &file(150));
        view.answered(asked, &directory(100), VALID);
        assert!(view.get(3, VALID).is_none());
        view.answered(view.ask(), &directory(200), VALID);
        view.changed(3);
        assert!(view.get(3, VALID).is_none());
    }

    #[test]
    fn it_keeps_only_directories_and_only_for_a_time() {
        let view = DirectoryView::default();
        view.answered(view.ask(), &file(1), VALID);
        assert!(view.get(9, VALID).is_none());
        view.answered(view.ask(), &directory(100), VALID);
        assert!(view.get(3, Duration::ZERO).is_none());
        assert!(view.get(3, VALID).is_some());
    }
}

//! The inodes that this client has open.

use super::OpenFile;
use super::inode::InodeState;
use crate::Cancel;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use wire::Result;
use wire::message::Inode;

/// As many as there are open files, which the service bounds per client.
#[derive(Default)]
pub(crate) struct Inodes(Mutex<HashMap<u64, Arc<InodeState>>>);

/// Holds back the writes of an inode until it is dropped.
pub(crate) struct Gate(Arc<InodeState>);

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.open_gate();
    }
}

impl Inodes {
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    pub fn get(&self, inode: u64) -> Option<Arc<InodeState>> {
        self.0.lock().get(&inode).cloned()
    }

    pub fn all(&self) -> Vec<Arc<InodeState>> {
        self.0.lock().values().cloned().collect()
    }

    /// The state that all handles of this inode share.
    pub fn enter(&self, attributes: Inode) -> Arc<InodeState> {
        let mut inodes = self.0.lock();
        let state =
            inodes.entry(attributes.id).or_insert_with(|| Arc::new(InodeState::new(attributes.clone())));
        state.known.lock().learn(&attributes);
        state.clone()
    }

    /// Once per handle, after it was made.
    pub fn add(&self, file: &Arc<OpenFile>) {
        let mut inodes = self.0.lock();
        // It may have left in between, with the last handle of another thread.
        inodes.entry(file.inode()).or_insert_with(|| file.state.clone());
        file.state.known.lock().files.push(Arc::downgrade(file));
    }

    /// A handle was closed; with the last one the inode is forgotten.
    pub fn leave(&self, file: &OpenFile) {
        let mut inodes = self.0.lock();
        let mut known = file.state.known.lock();
        known.files.retain(|other| !std::ptr::eq(other.as_ptr(), file));
        let last = known.files.is_empty();
        drop(known);
        if last && inodes.get(&file.inode()).is_some_and(|state| Arc::ptr_eq(state, &file.state)) {
            inodes.remove(&file.inode());
        }
    }

    /// What was open under an id that is fenced now: its handles keep their state for themselves, and whoever
    /// opens an inode again begins with what the service says. Returns the inodes.
    pub fn forget_all(&self) -> Vec<u64> {
        self.0.lock().drain().map(|(inode, _)| inode).collect()
    }

    pub fn files(&self) -> Vec<Arc<OpenFile>> {
        let states = self.all();
        states
            .iter()
            .flat_map(|state| state.known.lock().files.iter().filter_map(Weak::upgrade).collect::<Vec<_>>())
            .collect()
    }

    /// Takes note of attributes; returns them as this client sees them.
    pub fn learn(&self, inode: Inode) -> Inode {
        match self.get(inode.id) {
            None => inode,
            Some(state) => {
                let mut known = state.known.lock();
                known.learn(&inode);
                known.view(inode)
            }
        }
    }

    pub fn is_unreported(&self, inode: u64) -> bool {
        self.get(inode).is_some_and(|state| state.known.lock().is_unreported())
    }

    /// End of what this client wrote there; 0 if it is not open here.
    pub fn written(&self, inode: u64) -> u64 {
        self.get(inode).map_or(0, |state| state.known.lock().written())
    }

    pub fn truncated(&self, inode: &Inode) {
        if let Some(state) = self.get(inode.id) {
            state.known.lock().truncated(inode);
        }
    }

    /// `close_gate` without waiting.
    pub fn close_gate_then(&self, inode: u64, then: impl FnOnce(Option<Gate>) + Send + 'static) {
        let Some(state) = self.get(inode) else { return then(None) };
        let gate = Gate(state.clone());
        state.close_gate_then(move || then(Some(gate)));
    }

    /// Waits until no write of the inode is in the air, and holds back new ones. `None`: it is not open here.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn close_gate(&self, inode: u64, cancel: Option<&Cancel>) -> Result<Option<Gate>> {
        let Some(state) = self.get(inode) else { return Ok(None) };
        let gate = Gate(state.clone());
        state.close_gate(cancel)?;
        Ok(Some(gate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Code;

    #[test]
    fn a_cancel_ends_each_wait_and_leaves_the_inode_usable() {
        type Wait = fn(&Inodes, &Arc<InodeState>, &Cancel) -> Result<()>;
        let waits: [Wait; 3] = [
            |_, state, cancel| state.wait_quiet(Some(cancel)),
            |inodes, _, cancel| inodes.close_gate(7, Some(cancel)).map(drop),
            |_, state, cancel| {
                state.close_gate_then(|| {});
                let begun = state.begin_write(100, Some(cancel)).map(drop);
                state.open_gate();
                begun
            },
        ];
        for wait in waits {
            let inodes = Inodes::default();
            let state = inodes.enter(Inode { id: 7, ..Default::default() });
            let number = state.begin_write(100, None).unwrap();
            let cancel = Cancel::new();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| wait(&inodes, &state, &cancel));
                cancel.cancel();
                assert_eq!(waiting.join().unwrap().unwrap_err().code, Code::Interrupted);
            });
            state.end_write(number, None);
            state.wait_quiet(None).unwrap();
            state.begin_write(100, None).unwrap();
        }
    }
}

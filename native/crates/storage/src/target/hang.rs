//! A disk that does not answer: the target says nothing any more and is reported as offline, without its lock,
//! which somebody may hold who waits for the disk. When the disk answers again, the target has failed like any
//! other whose disk did: it comes back verified, through a resync.

use super::{State, Target};
use crate::metrics::add;
use chain::Input;
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::{Code, Error};

impl Target {
    pub fn is_hung(&self) -> bool {
        self.hung.load(Ordering::Acquire)
    }

    /// False: that was known. Whatever is asked of the target from now on is refused.
    pub fn declare_hung(&self) -> bool {
        let news = !self.hung.swap(true, Ordering::AcqRel);
        if news {
            add(&self.shared.metrics.targets_hung, 1);
            log::error!(target: "storage", chain = self.chain, target = self.id.0; "target.hung");
        }
        news
    }

    /// `None`: the disk hangs, or whoever holds the lock has waited too long for it.
    pub(super) fn lock_state(&self) -> Option<MutexGuard<'_, State>> {
        if self.is_hung() {
            return None;
        }
        let state = self.state.try_lock_for(self.disk.patience);
        if state.is_none() {
            self.declare_hung();
        }
        state
    }

    /// On the disk's own thread, which waits for the disk like everybody else.
    pub(super) fn end_hang(self: &Arc<Self>) {
        if !self.is_hung() || self.disk.hangs() {
            return;
        }
        // Inputs were dropped meanwhile, so that the replica must not go on. It takes no step before it knows.
        let error = Error::new(Code::Io, format!("{} did not answer", self.disk.path.display()));
        let failed = Input::Flushed { ticket: 0, result: Err(error) };
        {
            let mut state = self.state.lock();
            let mut outputs = Vec::new();
            state.replica.handle(crate::clock::now(), failed, &self.chunks(), &mut outputs);
            let mut after = super::After::default();
            for output in outputs {
                self.carry_out(&mut state, output, &mut after);
            }
            self.learn(&state.replica);
            self.hung.store(false, Ordering::Release);
            drop(state);
            after.answers.into_iter().for_each(super::Answer::give);
        }
        self.deliver();
    }
}

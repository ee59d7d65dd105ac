//! Who asks for an operation, and how it takes its question back.

use parking_lot::Mutex;
use std::sync::Arc;
use wire::{Code, Error};

/// Whose permissions count, and what ends the operation early.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub pid: u32,
    pub cancel: Option<Cancel>,
}

impl Caller {
    pub(crate) fn user(&self) -> wire::message::User {
        wire::message::User { uid: self.uid, gid: self.gid, groups: self.groups.clone(), pid: self.pid }
    }
}

type Listener = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    cancelled: bool,
    listeners: Vec<Listener>,
}

/// Ends the operations of one caller with `Interrupted`. Made per request: listeners live as long as it does.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Mutex<State>>);

/// What a cancelled caller is told.
pub(crate) fn interrupted() -> Error {
    Error::new(Code::Interrupted, "by the caller")
}

impl Cancel {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn cancel(&self) {
        let listeners = {
            let mut state = self.0.lock();
            state.cancelled = true;
            std::mem::take(&mut state.listeners)
        };
        for listener in listeners {
            listener();
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.lock().cancelled
    }

    /// Runs `listener` on cancel; at once if that was before.
    pub(crate) fn on_cancel(&self, listener: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        if !state.cancelled {
            state.listeners.push(Box::new(listener));
            return;
        }
        drop(state);
        listener();
    }
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Cancel({})", self.is_cancelled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn listeners_run_once_also_those_that_come_late() {
        let cancel = Cancel::new();
        let count = Arc::new(AtomicU32::new(0));
        let listen = |count: &Arc<AtomicU32>| {
            let count = count.clone();
            move || {
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        cancel.on_cancel(listen(&count));
        assert_eq!(count.load(Ordering::SeqCst), 0);
        cancel.clone().cancel();
        cancel.cancel();
        cancel.on_cancel(listen(&count));
        assert_eq!(count.load(Ordering::SeqCst), 2);
        assert!(cancel.is_cancelled());
    }
}

//! Turns a completion into a wait, for callers that have a thread to spare. Never used on a transport's
//! thread.

use crate::Cancel;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use wire::{Code, Error, Result};

struct Slot<T> {
    value: Mutex<Option<Result<T>>>,
    ready: Condvar,
}

impl<T> Slot<T> {
    fn put(&self, value: Result<T>) {
        let mut slot = self.value.lock();
        // The first of answer and cancel counts.
        if slot.is_none() {
            *slot = Some(value);
            self.ready.notify_one();
        }
    }
}

/// Starts an operation and waits for its completion, or for `cancel`. After a cancel the operation may still
/// happen.
pub(crate) fn wait<T: Send + 'static>(
    cancel: Option<&Cancel>,
    start: impl FnOnce(Box<dyn FnOnce(Result<T>) + Send>),
) -> Result<T> {
    let slot = Arc::new(Slot { value: Mutex::new(None), ready: Condvar::new() });
    let filled = slot.clone();
    start(Box::new(move |value| filled.put(value)));
    if let Some(cancel) = cancel {
        let interrupted = slot.clone();
        cancel.on_cancel(move || interrupted.put(Err(Error::new(Code::Interrupted, "by the caller"))));
    }
    let mut value = slot.value.lock();
    loop {
        if let Some(value) = value.take() {
            return value;
        }
        slot.ready.wait(&mut value);
    }
}

//! Waits of callers that have a thread to spare, for a completion or for a change: each ends with its caller (P25).
//! Never used on a transport's thread.

use crate::Cancel;
use crate::caller::interrupted;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Instant;
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
        let cancelled = slot.clone();
        cancel.on_cancel(move || cancelled.put(Err(interrupted())));
    }
    let mut value = slot.value.lock();
    loop {
        if let Some(value) = value.take() {
            return value;
        }
        slot.ready.wait(&mut value);
    }
}

/// What callers wait for a change of.
pub(crate) trait Changing: Send + Sync + 'static {
    type State;
    fn state(&self) -> &Mutex<Self::State>;
    /// Notified with every change that somebody may wait for.
    fn changed(&self) -> &Condvar;
}

/// Waits until `ready`.
///
/// # Errors
/// `Interrupted`; `TimedOut` at `deadline`.
pub(crate) fn wait_until<'a, C: Changing>(
    changing: &'a Arc<C>,
    deadline: Option<Instant>,
    cancel: Option<&Cancel>,
    ready: impl Fn(&C::State) -> bool,
) -> Result<MutexGuard<'a, C::State>> {
    let mut state = changing.state().lock();
    if ready(&state) {
        return Ok(state);
    }
    drop(state);
    if let Some(cancel) = cancel {
        let waiting = changing.clone();
        cancel.on_cancel(move || {
            // Who has looked before waits by now.
            drop(waiting.state().lock());
            waiting.changed().notify_all();
        });
    }
    state = changing.state().lock();
    while !ready(&state) {
        if cancel.is_some_and(Cancel::is_cancelled) {
            return Err(interrupted());
        }
        match deadline {
            None => changing.changed().wait(&mut state),
            Some(deadline) if deadline <= Instant::now() => {
                return Err(Error::new(Code::TimedOut, "others did not finish in time"));
            }
            Some(deadline) => drop(changing.changed().wait_until(&mut state, deadline)),
        }
    }
    Ok(state)
}

//! A completion that is always told: dropped untold (its client was stopped) it tells `Unreachable`.

use crate::Cancel;
use crate::caller::interrupted;
use parking_lot::Mutex;
use std::sync::Arc;
use wire::{Code, Error, Result};

pub(crate) struct Done<T>(Option<Box<dyn FnOnce(Result<T>) + Send>>);

impl<T> Done<T> {
    pub fn new(done: impl FnOnce(Result<T>) + Send + 'static) -> Self {
        Done(Some(Box::new(done)))
    }

    /// Told `Interrupted` at once when that comes first. What it stood for may still happen then.
    pub fn or_cancelled(self, cancel: Option<&Cancel>) -> Self
    where
        T: 'static,
    {
        let Some(cancel) = cancel else { return self };
        let first = Arc::new(Mutex::new(Some(self)));
        let tell = |first: &Mutex<Option<Done<T>>>, result| {
            let done = first.lock().take();
            if let Some(done) = done {
                done.tell(result);
            }
        };
        let cancelled = first.clone();
        cancel.on_cancel(move || tell(&cancelled, Err(interrupted())));
        Done::new(move |result| tell(&first, result))
    }

    pub fn tell(mut self, result: Result<T>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl<T> Drop for Done<T> {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(Error::new(Code::Unreachable, "the client was stopped")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn of_an_answer_and_a_cancel_the_first_is_told() {
        for cancel_first in [false, true] {
            let (sender, told) = mpsc::channel();
            let cancel = Cancel::new();
            let done = Done::new(move |result| sender.send(result).unwrap()).or_cancelled(Some(&cancel));
            if cancel_first {
                cancel.cancel();
                assert_eq!(told.try_recv().unwrap().unwrap_err().code, Code::Interrupted);
                done.tell(Ok(1));
            } else {
                done.tell(Ok(1));
                assert_eq!(told.try_recv().unwrap(), Ok(1));
                cancel.cancel();
            }
            assert!(told.try_recv().is_err(), "told once");
        }
    }
}

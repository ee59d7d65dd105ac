//! A completion that is always told: dropped untold (its client was stopped) it tells `Unreachable`.

use wire::{Code, Error, Result};

pub(crate) struct Done<T>(Option<Box<dyn FnOnce(Result<T>) + Send>>);

impl<T> Done<T> {
    pub fn new(done: impl FnOnce(Result<T>) + Send + 'static) -> Self {
        Done(Some(Box::new(done)))
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

//! Several completions as one: told when the last part is there, with the first error if there was one.

use crate::done::Done;
use parking_lot::Mutex;
use std::sync::Arc;
use wire::{Error, Result};

struct State<T> {
    parts: Vec<Option<T>>,
    left: usize,
    error: Option<Error>,
    done: Option<Done<Vec<T>>>,
}

pub(crate) struct Gather<T>(Arc<Mutex<State<T>>>);

impl<T> Clone for Gather<T> {
    fn clone(&self) -> Self {
        Gather(self.0.clone())
    }
}

impl<T: Send + 'static> Gather<T> {
    /// With no parts it is told at once.
    pub fn new(parts: usize, done: Done<Vec<T>>) -> Self {
        let mut done = Some(done);
        if parts == 0
            && let Some(done) = done.take()
        {
            done.tell(Ok(Vec::new()));
        }
        let parts_list = (0..parts).map(|_| None).collect();
        Gather(Arc::new(Mutex::new(State { parts: parts_list, left: parts, error: None, done })))
    }

    /// The completion of one part.
    pub fn part(&self, place: usize) -> Done<T> {
        let gather = self.clone();
        Done::new(move |result| gather.put(place, result))
    }

    fn put(&self, place: usize, result: Result<T>) {
        let mut state = self.0.lock();
        match result {
            Ok(part) => state.parts[place] = Some(part),
            Err(error) => state.error = state.error.take().or(Some(error)),
        }
        state.left -= 1;
        if state.left > 0 {
            return;
        }
        let done = state.done.take().expect("the last part comes once");
        let result = match state.error.take() {
            Some(error) => Err(error),
            None => Ok(state.parts.drain(..).flatten().collect()),
        };
        drop(state);
        done.tell(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use wire::Code;

    fn gather(parts: usize) -> (Gather<usize>, mpsc::Receiver<Result<Vec<usize>>>) {
        let (sender, receiver) = mpsc::channel();
        (Gather::new(parts, Done::new(move |result| sender.send(result).unwrap())), receiver)
    }

    #[test]
    fn parts_come_in_their_places_and_an_error_wins() {
        let (all, told) = gather(3);
        for place in [2, 0, 1] {
            assert!(told.try_recv().is_err());
            all.part(place).tell(Ok(place * 10));
        }
        assert_eq!(told.recv(), Ok(Ok(vec![0, 10, 20])));
        let (all, told) = gather(2);
        let error = Error::new(Code::Io, "x");
        all.part(0).tell(Err(error.clone()));
        drop(all.part(1));
        assert_eq!(told.recv(), Ok(Err(error)));
        assert_eq!(gather(0).1.recv(), Ok(Ok(Vec::new())));
    }
}

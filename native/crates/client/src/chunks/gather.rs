//! Several completions as one: told when the last part is there, of all that came, or with the first part's error
//! that failed.

use crate::done::Done;
use parking_lot::Mutex;
use std::sync::Arc;
use wire::Result;

struct State<T> {
    parts: Vec<Option<Result<T>>>,
    left: usize,
    done: Option<Done<Vec<Result<T>>>>,
}

pub(crate) struct Gather<T>(Arc<Mutex<State<T>>>);

impl<T> Clone for Gather<T> {
    fn clone(&self) -> Self {
        Gather(self.0.clone())
    }
}

impl<T: Send + 'static> Gather<T> {
    /// All parts, or the error of the first one that failed. Without parts it is told at once.
    pub fn new(parts: usize, done: Done<Vec<T>>) -> Self {
        Gather::each(
            parts,
            Done::new(move |results: Result<Vec<Result<T>>>| {
                done.tell(results.and_then(|results| results.into_iter().collect()));
            }),
        )
    }

    /// What became of each part.
    pub fn each(parts: usize, done: Done<Vec<Result<T>>>) -> Self {
        let mut done = Some(done);
        if parts == 0
            && let Some(done) = done.take()
        {
            done.tell(Ok(Vec::new()));
        }
        let parts_list = (0..parts).map(|_| None).collect();
        Gather(Arc::new(Mutex::new(State { parts: parts_list, left: parts, done })))
    }

    /// The completion of one part.
    pub fn part(&self, place: usize) -> Done<T> {
        let gather = self.clone();
        Done::new(move |result| gather.put(place, result))
    }

    fn put(&self, place: usize, result: Result<T>) {
        let mut state = self.0.lock();
        state.parts[place] = Some(result);
        state.left -= 1;
        if state.left > 0 {
            return;
        }
        let done = state.done.take().expect("the last part comes once");
        let results = state.parts.drain(..).flatten().collect();
        drop(state);
        done.tell(Ok(results));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use wire::{Code, Error};

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

    #[test]
    fn who_asks_for_each_part_hears_of_those_that_succeeded_beside_a_failure() {
        let (sender, told) = mpsc::channel();
        let each = Gather::each(3, Done::new(move |results| sender.send(results).unwrap()));
        let error = Error::new(Code::NoSpace, "x");
        each.part(1).tell(Err(error.clone()));
        each.part(2).tell(Ok(20));
        each.part(0).tell(Ok(0));
        assert_eq!(told.recv(), Ok(Ok(vec![Ok(0), Err(error), Ok(20)])));
    }
}

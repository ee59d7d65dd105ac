//! Work that may wait for a disk for ever, at the start and at the end of a server, which serves other disks too: on a
//! thread of its own, that is left behind if need be.

use super::progress::WATCH_PAUSE;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

pub struct Errand<T>(Receiver<T>);

impl<T: Send + 'static> Errand<T> {
    pub fn start(work: impl FnOnce() -> T + Send + 'static) -> Errand<T> {
        let (done, outcome) = sync_channel(1);
        let run = move || {
            // Whoever wanted it may have given up.
            let _ = done.send(work());
        };
        let builder = std::thread::Builder::new().name("disk-errand".into());
        builder.spawn(run).expect("a thread can be started");
        Errand(outcome)
    }

    /// `None`: it was given up. What comes of it later is dropped.
    pub fn finish(self, given_up: impl Fn() -> bool) -> Option<T> {
        loop {
            match self.0.recv_timeout(WATCH_PAUSE) {
                Err(RecvTimeoutError::Timeout) if !given_up() => {}
                outcome => return outcome.ok(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn one_that_does_not_end_is_left_behind() {
        assert_eq!(Errand::start(|| 7).finish(|| false), Some(7));
        let (end, waits) = channel::<()>();
        let (left, ended) = channel();
        let stuck = Errand::start(move || {
            let _ = waits.recv();
            left.send(()).unwrap();
        });
        assert_eq!(stuck.finish(|| true), None);
        drop(end);
        ended.recv().unwrap();
    }
}

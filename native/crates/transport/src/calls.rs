//! The calls of one connection that wait for an answer. Each ends exactly once: answered, timed out, or lost
//! with its connection. Callbacks run after the lock is given back.

use crate::{CALLS_IN_FLIGHT_MAX, Done};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use wire::{Code, Error};

/// Longer waits are not told from "for ever".
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

struct Waiting {
    deadline: Instant,
    done: Done,
}

struct State {
    open: bool,
    waiting: HashMap<u64, Waiting>,
    /// When the timer looks at this connection next.
    armed: Option<Instant>,
}

pub(crate) struct Calls {
    state: Mutex<State>,
    peer: String,
}

impl Calls {
    pub fn new(peer: String) -> Self {
        Calls { state: Mutex::new(State { open: true, waiting: HashMap::new(), armed: None }), peer }
    }

    /// Registers a call before its request is sent, because the answer may come at once.
    /// `Ok(Some(instant))`: the timer is to be armed for then.
    ///
    /// # Panics
    /// If the id is in use: the caller's bug.
    pub fn begin(
        &self,
        request_id: u64,
        timeout: Duration,
        done: Done,
    ) -> Result<Option<Instant>, (Error, Done)> {
        let deadline = Instant::now() + timeout.min(TIMEOUT_MAX);
        let mut state = self.state.lock();
        if !state.open {
            return Err((self.lost(), done));
        }
        if state.waiting.len() >= CALLS_IN_FLIGHT_MAX {
            let detail = format!("{CALLS_IN_FLIGHT_MAX} calls to {} have no answer yet", self.peer);
            return Err((Error::new(Code::Overloaded, detail), done));
        }
        let other = state.waiting.insert(request_id, Waiting { deadline, done });
        assert!(other.is_none(), "request id {request_id} is used twice");
        if state.armed.is_none_or(|armed| deadline < armed) {
            state.armed = Some(deadline);
            return Ok(Some(deadline));
        }
        Ok(None)
    }

    /// `None`: unknown, or it ended before.
    pub fn finish(&self, request_id: u64) -> Option<Done> {
        self.state.lock().waiting.remove(&request_id).map(|waiting| waiting.done)
    }

    pub fn is_open(&self) -> bool {
        self.state.lock().open
    }

    /// Ends every call. False if it was closed before.
    pub fn close(&self) -> bool {
        let lost = {
            let mut state = self.state.lock();
            if !std::mem::replace(&mut state.open, false) {
                return false;
            }
            std::mem::take(&mut state.waiting)
        };
        for waiting in lost.into_values() {
            (waiting.done)(Err(self.lost()));
        }
        true
    }

    /// Ends the calls whose time is over; says when to look again. `armed`: what the timer was armed for; nothing
    /// happens if that is not what counts any more, because it was armed for an earlier time since.
    pub fn expire(&self, armed: Instant, now: Instant) -> Option<Instant> {
        let mut over = Vec::new();
        let next = {
            let mut state = self.state.lock();
            if state.armed != Some(armed) {
                return None;
            }
            let ids: Vec<u64> =
                state.waiting.iter().filter(|(_, call)| call.deadline <= now).map(|(&id, _)| id).collect();
            over.extend(ids.iter().filter_map(|id| state.waiting.remove(id)));
            state.armed = state.waiting.values().map(|call| call.deadline).min();
            state.armed
        };
        for waiting in over {
            let detail = format!("no answer from {} in time", self.peer);
            (waiting.done)(Err(Error::new(Code::TimedOut, detail)));
        }
        next
    }

    pub fn lost(&self) -> Error {
        Error::new(Code::ConnectionLost, format!("to {}", self.peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_connection_has_one_entry_however_its_timeouts_are_mixed() {
        let calls = Calls::new("peer".into());
        let (sender, ended) = mpsc::channel();
        let begin = |id: u64, seconds: u64| {
            let sender = sender.clone();
            let done = move |result: wire::Result<crate::Reply>| {
                sender.send((id, result.err().map(|error| error.code))).unwrap();
            };
            calls.begin(id, Duration::from_secs(seconds), Box::new(done)).map_err(|(error, _)| error).unwrap()
        };
        let late = begin(1, 30).expect("the first arms");
        assert_eq!(begin(2, 40), None);
        let early = begin(3, 10).expect("a shorter one arms earlier");
        assert!(early < late);
        let again = calls.expire(early, early);
        assert_eq!(ended.try_recv(), Ok((3, Some(Code::TimedOut))));
        assert_eq!(again, Some(late));
        // The first entry and this one have the same time; whichever comes second finds nothing of its own.
        let next = calls.expire(late, late).expect("one call is left");
        assert_eq!(ended.try_recv(), Ok((1, Some(Code::TimedOut))));
        assert_eq!(calls.expire(late, late), None);
        assert_eq!(calls.expire(next, next), None, "nothing waits");
        assert_eq!(ended.try_recv(), Ok((2, Some(Code::TimedOut))));
        assert!(begin(4, 10).is_some(), "it is armed again");
    }
}

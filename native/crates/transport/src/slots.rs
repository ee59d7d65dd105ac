//! Counts what one connection still owes its caller: requests without an answer, and bytes of answers that were
//! admitted and are not written yet. At the limit of requests the reader waits, which holds back the caller and
//! nobody else. At a limit of bytes the request alone waits: those of other sources go on, and the reader too.

use crate::{CALLS_IN_FLIGHT_MAX, threads};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

type Admitted = Box<dyn FnOnce(Owed) + Send>;

/// Answers of one source: how many bytes are admitted, and who waits. Bounded by the requests without an answer.
#[derive(Default)]
struct Source {
    bytes: usize,
    waiting: VecDeque<Wanted>,
    /// Somebody admits, and goes on as long as there is room.
    admitting: bool,
}

struct Wanted {
    bytes: usize,
    limit_bytes: usize,
    then: Admitted,
}

#[derive(Default)]
struct State {
    used: usize,
    sources: BTreeMap<usize, Source>,
    closed: bool,
}

#[derive(Default)]
pub(crate) struct Slots {
    state: Mutex<State>,
    freed: Condvar,
}

impl Slots {
    /// Takes one; `false` if that is not possible without waiting.
    pub fn try_take(&self) -> bool {
        let mut state = self.state.lock();
        let free = state.used < CALLS_IN_FLIGHT_MAX;
        state.used += usize::from(free);
        free
    }

    /// Takes one, waiting for it. Returns without one when the connection closes.
    pub fn take(&self) {
        let mut state = self.state.lock();
        while state.used >= CALLS_IN_FLIGHT_MAX && !state.closed {
            self.freed.wait(&mut state);
        }
        state.used += 1;
    }

    pub fn give_back(&self) {
        let mut state = self.state.lock();
        state.used = state.used.checked_sub(1).expect("a slot is given back once");
        self.freed.notify_all();
    }

    /// Owes `bytes` more of `source` when less than `limit_bytes` of it are owed, and runs `then`: at once, or where
    /// an answer leaves. Of a connection that closed it is dropped.
    pub fn owe(
        self: &Arc<Self>,
        source: usize,
        bytes: usize,
        limit_bytes: usize,
        then: impl FnOnce(Owed) + Send + 'static,
    ) {
        let mut state = self.state.lock();
        if !state.closed {
            let wanted = Wanted { bytes, limit_bytes, then: Box::new(then) };
            state.sources.entry(source).or_default().waiting.push_back(wanted);
            self.admit(state, source);
        }
    }

    fn admit<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>, number: usize) {
        let fits = |owed: usize, wanted: &Wanted| owed == 0 || owed + wanted.bytes <= wanted.limit_bytes;
        loop {
            let Some(source) = state.sources.get_mut(&number).filter(|source| !source.admitting) else {
                return;
            };
            let owed = source.bytes;
            let Some(Wanted { bytes, then, .. }) = source.waiting.pop_front_if(|wanted| fits(owed, wanted))
            else {
                return;
            };
            source.bytes += bytes;
            source.admitting = true;
            drop(state);
            let owed = Owed { slots: self.clone(), source: number, bytes };
            // May answer at once, and come back here: the loop goes on instead. Here a thread may write what others
            // queue, which must not wait for room in a queue itself.
            threads::never_wait(|| then(owed));
            state = self.state.lock();
            state.sources.get_mut(&number).expect("it stays").admitting = false;
        }
    }

    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let dropped: Vec<Wanted> =
            state.sources.values_mut().flat_map(|source| std::mem::take(&mut source.waiting)).collect();
        drop(state);
        drop(dropped);
        self.freed.notify_all();
    }
}

/// Bytes of an answer that are not written yet; dropped with the frame that carries them.
pub(crate) struct Owed {
    slots: Arc<Slots>,
    source: usize,
    bytes: usize,
}

impl Drop for Owed {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        state.sources.get_mut(&self.source).expect("it stays").bytes -= self.bytes;
        self.slots.admit(state, self.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Log = Arc<Mutex<Vec<(usize, usize)>>>;

    /// What was admitted stays owed in `held`.
    fn owe(slots: &Arc<Slots>, held: &Arc<Mutex<Vec<Owed>>>, log: &Log, (source, bytes): (usize, usize)) {
        let (held, log) = (held.clone(), log.clone());
        slots.owe(source, bytes, 10, move |owed| {
            log.lock().push((source, bytes));
            held.lock().push(owed);
        });
    }

    #[test]
    fn what_does_not_fit_waits_in_its_order_and_other_sources_do_not() {
        let (slots, held, log): (Arc<Slots>, Arc<Mutex<Vec<Owed>>>, Log) = Default::default();
        for wanted in [(0, 6), (0, 20), (0, 1), (1, 10), (1, 1)] {
            owe(&slots, &held, &log, wanted);
        }
        assert_eq!(*log.lock(), [(0, 6), (1, 10)]);
        let leaves = |place: usize| {
            let owed = held.lock().remove(place);
            drop(owed);
        };
        leaves(0);
        assert_eq!(*log.lock(), [(0, 6), (1, 10), (0, 20)], "one is always admitted");
        leaves(0);
        assert_eq!(log.lock().last(), Some(&(1, 1)));
        leaves(0);
        assert_eq!(log.lock().last(), Some(&(0, 1)));
    }

    /// However many are answered as soon as they are admitted: none inside of another.
    #[test]
    fn what_is_answered_at_once_admits_the_next_one_behind_it() {
        let (slots, held, log): (Arc<Slots>, Arc<Mutex<Vec<Owed>>>, Log) = Default::default();
        let depth = Arc::new(Mutex::new((0, 0)));
        owe(&slots, &held, &log, (0, 10));
        for _ in 0..100 {
            let depth = depth.clone();
            slots.owe(0, 10, 10, move |owed| {
                depth.lock().0 += 1;
                assert_eq!(depth.lock().0, 1);
                drop(owed);
                depth.lock().0 -= 1;
                depth.lock().1 += 1;
            });
        }
        held.lock().clear();
        assert_eq!(*depth.lock(), (0, 100));
    }

    #[test]
    fn a_closed_connection_admits_nobody() {
        let (slots, held, log): (Arc<Slots>, Arc<Mutex<Vec<Owed>>>, Log) = Default::default();
        owe(&slots, &held, &log, (0, 10));
        owe(&slots, &held, &log, (0, 10));
        slots.close();
        owe(&slots, &held, &log, (1, 10));
        held.lock().clear();
        assert_eq!(*log.lock(), [(0, 10)]);
    }
}

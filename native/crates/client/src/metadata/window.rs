//! Which metadata requests are on their way: their order, their numbers, and how many may be in the air
//! (P17). Pure bookkeeping: no clock, no I/O, no lock.

use super::pending::{Pending, passes_closes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Requests without an answer, and the span of numbers that the service keeps answers for (P17).
pub(crate) const UNANSWERED_MAX: u64 = 256;
/// Requests that wait for room in the window. Each belongs to a thread or a kernel request; a mount has at
/// most some hundred.
const WAITING_MAX: usize = 8192;

/// Patient requests that rest at most: what the service then does in one go takes it about a millisecond.
const RESTING_MAX: usize = 32;

/// Place in the order of submission; urgent ones have negative places.
pub(crate) type Place = i64;

struct Entry {
    pending: Arc<Pending>,
    /// 0: not numbered (yet).
    sequence: u64,
    ever_sent: bool,
}

pub(crate) struct Window {
    entries: BTreeMap<Place, Entry>,
    unsent: BTreeSet<Place>,
    /// Patient ones, until there are many of them, or a request that must not go past them, or time is over.
    resting: BTreeSet<Place>,
    in_air: BTreeSet<Place>,
    /// Numbers given and not answered.
    outstanding: BTreeSet<u64>,
    next_sequence: u64,
    next_place: Place,
    next_urgent: Place,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    ToSend,
    /// It rests, alone: somebody has to see to it that it does not rest for ever.
    FirstToRest,
    Rests,
    /// It was not taken: too many wait.
    TooMany,
}

/// What is to be sent now.
pub(crate) struct Sending {
    pub place: Place,
    pub pending: Arc<Pending>,
    pub sequence: u64,
    pub answered_up_to: u64,
}

impl Window {
    pub fn new() -> Self {
        Window {
            entries: BTreeMap::new(),
            unsent: BTreeSet::new(),
            resting: BTreeSet::new(),
            in_air: BTreeSet::new(),
            outstanding: BTreeSet::new(),
            next_sequence: 1,
            next_place: 1,
            next_urgent: Place::MIN,
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn submit(&mut self, pending: &Arc<Pending>) -> Submitted {
        if self.entries.len() >= WAITING_MAX && !pending.urgent {
            return Submitted::TooMany;
        }
        let counter = if pending.urgent { &mut self.next_urgent } else { &mut self.next_place };
        let place = *counter;
        *counter += 1;
        self.entries.insert(place, Entry { pending: pending.clone(), sequence: 0, ever_sent: false });
        if pending.patient && self.resting.len() + 1 < RESTING_MAX {
            self.resting.insert(place);
            return if self.resting.len() == 1 { Submitted::FirstToRest } else { Submitted::Rests };
        }
        if !passes_closes(pending.kind) {
            self.wake_resting();
        }
        self.unsent.insert(place);
        Submitted::ToSend
    }

    /// Those that rest are to be sent.
    pub fn wake_resting(&mut self) {
        self.unsent.append(&mut self.resting);
    }

    /// The next request to send, if there is room. Others wait until every urgent one is answered.
    pub fn next(&mut self) -> Option<Sending> {
        loop {
            let &place = self.unsent.first()?;
            let wanted = self.entries[&place].pending.is_wanted();
            if !wanted {
                self.remove(place);
                continue;
            }
            let behind_urgent = place > 0 && self.in_air.first().is_some_and(|&first| first < 0);
            if behind_urgent || self.in_air.len() as u64 >= UNANSWERED_MAX {
                return None;
            }
            let answered_up_to = self.answered_up_to();
            let entry = self.entries.get_mut(&place).expect("unsent places have entries");
            if entry.pending.numbered && entry.sequence == 0 {
                if self.next_sequence > answered_up_to + UNANSWERED_MAX {
                    return None;
                }
                entry.sequence = self.next_sequence;
                self.outstanding.insert(entry.sequence);
                self.next_sequence += 1;
            }
            entry.ever_sent = true;
            let (pending, sequence) = (entry.pending.clone(), entry.sequence);
            self.unsent.remove(&place);
            self.in_air.insert(place);
            // Its own number is outstanding now.
            let answered_up_to = self.answered_up_to();
            return Some(Sending { place, pending, sequence, answered_up_to });
        }
    }

    /// Its answer came, or nobody will ever get one.
    pub fn remove(&mut self, place: Place) -> Option<Arc<Pending>> {
        self.unsent.remove(&place);
        self.resting.remove(&place);
        self.in_air.remove(&place);
        let entry = self.entries.remove(&place)?;
        self.outstanding.remove(&entry.sequence);
        Some(entry.pending)
    }

    /// To be sent again, under the same number.
    pub fn again(&mut self, place: Place) {
        if self.in_air.remove(&place) {
            self.unsent.insert(place);
        }
    }

    /// Their connection is gone.
    pub fn all_again(&mut self) {
        self.unsent.append(&mut self.in_air);
    }

    /// The service has forgotten us, and perhaps what it did for these numbered requests: nobody can tell.
    /// Removes them.
    pub fn take_ambiguous(&mut self) -> Vec<Arc<Pending>> {
        let places: Vec<Place> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.ever_sent && entry.pending.numbered)
            .map(|(&place, _)| place)
            .collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    /// The requests for which `over` holds and somebody waits. Removed, but for those in the air whose late
    /// answer must be acted on: they stay until it comes, or their connection is gone.
    pub fn end_if(&mut self, over: impl Fn(&Pending) -> bool) -> Vec<Arc<Pending>> {
        let places: Vec<Place> =
            self.entries.iter().filter(|(_, entry)| over(&entry.pending)).map(|(&place, _)| place).collect();
        places
            .into_iter()
            .filter_map(|place| {
                let pending = &self.entries[&place].pending;
                if self.in_air.contains(&place) && pending.has_late() {
                    return pending.is_wanted().then(|| pending.clone());
                }
                self.remove(place)
            })
            .collect()
    }

    /// Removes the requests for which `over` holds.
    pub fn take_if(&mut self, over: impl Fn(&Pending) -> bool) -> Vec<Arc<Pending>> {
        let places: Vec<Place> =
            self.entries.iter().filter(|(_, entry)| over(&entry.pending)).map(|(&place, _)| place).collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    /// A session that was there before goes on after these numbers.
    pub fn continue_from(&mut self, next_sequence: u64) {
        self.next_sequence = self.next_sequence.max(next_sequence);
    }

    pub fn used_sequences(&self) -> bool {
        self.next_sequence > 1
    }

    /// A new session under a new id: numbers begin again.
    pub fn restart_numbers(&mut self) {
        assert!(self.outstanding.is_empty(), "ambiguous requests were taken before");
        self.next_sequence = 1;
    }

    fn answered_up_to(&self) -> u64 {
        self.outstanding.first().map_or(self.next_sequence, |&first| first) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Caller;
    use crate::metadata::CallOptions;
    use std::sync::atomic::{AtomicU32, Ordering};
    use wire::message as m;
    use wire::{Code, Error};

    fn change(urgent: bool) -> Arc<Pending> {
        let options = CallOptions { urgent, ..CallOptions::default() };
        Pending::new(&Caller::default(), options, m::UnlinkRequest::default, drop)
    }

    fn question() -> Arc<Pending> {
        Pending::new(&Caller::default(), CallOptions::default(), m::StatRequest::default, drop)
    }

    fn send_all(window: &mut Window) -> Vec<(Place, u64, u64)> {
        std::iter::from_fn(|| window.next())
            .map(|sending| (sending.place, sending.sequence, sending.answered_up_to))
            .collect()
    }

    #[test]
    fn numbers_rise_and_answered_up_to_stops_below_the_first_unanswered() {
        let mut window = Window::new();
        for pending in [change(false), question(), change(false), change(false)] {
            assert_eq!(window.submit(&pending), Submitted::ToSend);
        }
        assert_eq!(send_all(&mut window), [(1, 1, 0), (2, 0, 0), (3, 2, 0), (4, 3, 0)]);
        window.remove(3);
        window.submit(&change(false));
        assert_eq!(send_all(&mut window), [(5, 4, 0)]);
        window.remove(1);
        window.again(4);
        window.submit(&question());
        assert_eq!(send_all(&mut window), [(4, 3, 2), (6, 0, 2)], "the same number, in the old order");
    }

    #[test]
    fn the_window_is_bounded_also_when_one_old_answer_is_missing() {
        let mut window = Window::new();
        for _ in 0..1000 {
            window.submit(&change(false));
        }
        let sent = send_all(&mut window);
        assert_eq!(sent.len() as u64, UNANSWERED_MAX);
        for (place, _, _) in &sent[1..] {
            window.remove(*place);
        }
        assert_eq!(
            send_all(&mut window).len(),
            0,
            "number 257 would push number 1 out of the service's memory"
        );
        window.remove(sent[0].0);
        assert_eq!(send_all(&mut window).len() as u64, UNANSWERED_MAX);
    }

    #[test]
    fn urgent_requests_go_first_and_the_others_wait_for_them() {
        let mut window = Window::new();
        window.submit(&change(false));
        window.submit(&change(true));
        let sent = send_all(&mut window);
        assert_eq!(sent.len(), 1);
        assert!(sent[0].0 < 0);
        window.remove(sent[0].0);
        assert_eq!(send_all(&mut window).len(), 1);
    }

    #[test]
    fn what_nobody_wants_any_more_is_not_sent() {
        let mut window = Window::new();
        let told = Arc::new(AtomicU32::new(0));
        let count = told.clone();
        let pending =
            Pending::new(&Caller::default(), CallOptions::default(), m::StatRequest::default, move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            });
        window.submit(&pending);
        pending.tell(Err(Error::new(Code::Interrupted, "")));
        assert_eq!(send_all(&mut window), []);
        assert_eq!((window.len(), told.load(Ordering::SeqCst)), (0, 1));
    }

    #[test]
    fn a_request_whose_late_answer_matters_stays_until_its_connection_is_gone() {
        let mut window = Window::new();
        let options = CallOptions { late: Some(Box::new(drop)), ..CallOptions::default() };
        let open = Pending::new(&Caller::default(), options, m::OpenRequest::default, drop);
        window.submit(&open);
        assert_eq!(window.submit(&change(false)), Submitted::ToSend);
        send_all(&mut window);
        let over = window.end_if(|_| true);
        assert_eq!((over.len(), window.len()), (2, 1));
        over.iter().for_each(|pending| pending.tell(Err(Error::new(Code::TimedOut, ""))));
        assert!(window.end_if(|_| true).is_empty(), "told once");
        assert_eq!(window.len(), 1);
        window.all_again();
        assert_eq!(send_all(&mut window), []);
        assert_eq!(window.len(), 0);
    }

    fn patient() -> Arc<Pending> {
        let options = CallOptions { patient: true, ..CallOptions::default() };
        Pending::new(&Caller::default(), options, m::CloseRequest::default, drop)
    }

    fn creation() -> Arc<Pending> {
        Pending::new(&Caller::default(), CallOptions::default(), m::CreateRequest::default, drop)
    }

    fn places(window: &mut Window) -> Vec<Place> {
        send_all(window).into_iter().map(|(place, _, _)| place).collect()
    }

    #[test]
    fn a_patient_close_lets_questions_and_opens_pass_and_nothing_else() {
        let mut window = Window::new();
        assert_eq!(window.submit(&patient()), Submitted::FirstToRest);
        assert_eq!(window.submit(&patient()), Submitted::Rests);
        window.submit(&question());
        window.submit(&creation());
        assert_eq!(places(&mut window), [3, 4]);
        window.submit(&change(false));
        assert_eq!(places(&mut window), [1, 2, 5], "an unlink finds the file closed");
        window.submit(&patient());
        window.wake_resting();
        assert_eq!(places(&mut window), [6]);
    }

    #[test]
    fn patient_requests_rest_until_there_are_many_of_them_and_are_ended_like_others() {
        let mut window = Window::new();
        for _ in 1..RESTING_MAX {
            assert_ne!(window.submit(&patient()), Submitted::ToSend);
        }
        assert_eq!(places(&mut window), []);
        window.remove(2);
        assert_eq!(window.submit(&patient()), Submitted::Rests);
        assert_eq!(window.submit(&patient()), Submitted::ToSend);
        assert_eq!(places(&mut window).len(), RESTING_MAX);
        assert_eq!(window.submit(&patient()), Submitted::FirstToRest);
        assert_eq!(window.take_if(|_| true).len(), RESTING_MAX + 1);
        window.wake_resting();
        assert_eq!(places(&mut window), []);
    }

    #[test]
    fn only_numbered_requests_that_were_sent_are_ambiguous() {
        let mut window = Window::new();
        window.submit(&change(false));
        window.submit(&question());
        send_all(&mut window);
        window.submit(&change(false));
        assert_eq!(window.take_ambiguous().len(), 1);
        window.restart_numbers();
        window.again(2);
        assert_eq!(send_all(&mut window), [(2, 0, 0), (3, 1, 0)]);
    }
}

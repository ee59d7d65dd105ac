//! Is a history of one chunk linearizable? Just-in-time linearization: walk through calls and returns in
//! their order, keep every configuration (which open operations have taken effect, and the state) that
//! explains all returns so far. No configuration left = no explanation.
//!
//! An update that nobody answered may take effect at any time, or never, so its call is open for good. Two things
//! keep their many orders few: of configurations that are else equal, one that has used up fewer of them can do
//! all that the others can; and of those that do the same, the first to expire is taken first. Most histories
//! need not even that: they are explained by such updates just where nothing else explains an answer.

mod configurations;
mod places;
#[cfg(test)]
mod tests;

use crate::content::{Cells, Content, Seen};
use configurations::{Configuration, Configurations};
use places::Places;
use std::collections::BTreeMap;

/// A chunk: without a length it is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub length: Option<u32>,
    /// Those behind the length are 0.
    pub cells: Cells,
}

impl From<&Content> for State {
    fn from(content: &Content) -> State {
        let Seen { length, cells } = content.seen();
        State { length: Some(length), cells }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// These cells become `value`, after zeros from the chunk's end on.
    Write {
        first: usize,
        count: usize,
        value: u32,
    },
    /// What the chunk has of these cells becomes 0.
    Punch {
        first: usize,
        count: usize,
    },
    /// Nothing is left of the chunk from there on.
    Truncate {
        length: usize,
    },
    Remove,
    Read(Seen),
    /// The chunk's length in a list; none: it is not there.
    List(Option<u32>),
}

/// One operation: called, perhaps returned. Without a return it may take effect at any time, or never.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    pub step: Step,
    pub called: u64,
    pub returned: Option<u64>,
    /// Without a return: after this it takes effect no more, if it had not.
    pub expires: Option<u64>,
    /// The chunk's length after a step that changes it, as its answer says; none: it says nothing.
    pub length: Option<u32>,
}

/// Stands for all values that no read saw: what was overwritten unseen need not be told apart.
const UNSEEN: u32 = u32::MAX - 1;

/// Where more than this many updates that nobody answered do the same and never expire, one is always left, also for
/// those that do expire: a client whose disks are full asks a hundred times in vain. Where there are no places left,
/// one that was cut off alone: the same goes for updates that expire no earlier.
const PLENTY: usize = 5;

/// The state after a step that changes it; `None` for others.
fn change(step: &Step, state: &State) -> Option<State> {
    let State { length, mut cells } = *state;
    let length = match *step {
        Step::Write { first, count, value } => {
            cells[first..first + count].fill(value);
            Some(length.unwrap_or(0).max((first + count) as u32))
        }
        Step::Punch { first, count } => {
            cells[first..first + count].fill(0);
            length
        }
        Step::Truncate { length } => {
            cells[length..].fill(0);
            state.length.map(|held| held.min(length as u32))
        }
        Step::Remove => return Some(State::default()),
        Step::Read(_) | Step::List(_) => return None,
    };
    Some(State { length, cells })
}

/// Whether a step that changes nothing sees this.
fn sees(step: &Step, state: &State) -> bool {
    match *step {
        Step::Read(seen) => seen.length == state.length.unwrap_or(0) && seen.cells == state.cells,
        Step::List(length) => length == state.length,
        _ => false,
    }
}

/// Values that reads saw, with the first return of one that saw it.
fn seen_values(history: &[Interval]) -> BTreeMap<u32, u64> {
    let mut seen_at = BTreeMap::new();
    for interval in history {
        let (Step::Read(seen), Some(time)) = (interval.step, interval.returned) else { continue };
        for value in seen.cells {
            let first = seen_at.entry(value).or_insert(time);
            *first = time.min(*first);
        }
    }
    seen_at
}

/// An update without an answer whose value a read saw took effect before that read returned. Other ones without
/// an answer may have changed the length or made zeros, and nothing says when.
fn resolve_unanswered(history: &[Interval]) -> Vec<Interval> {
    if history.iter().all(|interval| interval.returned.is_some()) {
        return history.to_vec();
    }
    let seen_at = seen_values(history);
    let resolved = |interval: &Interval| {
        let last = interval.expires.unwrap_or(u64::MAX);
        if interval.returned.is_none() && last < interval.called {
            return None;
        }
        let Step::Write { first, count, value } = interval.step else {
            let says_nothing = matches!(interval.step, Step::Read(_) | Step::List(_));
            return (interval.returned.is_some() || !says_nothing).then_some(*interval);
        };
        Some(match (interval.returned, seen_at.get(&value)) {
            (None, Some(time)) => Interval { returned: Some(last.min(*time)), expires: None, ..*interval },
            (_, None) => Interval { step: Step::Write { first, count, value: UNSEEN }, ..*interval },
            (Some(_), Some(_)) => *interval,
        })
    };
    history.iter().filter_map(resolved).collect()
}

/// The state after an update without an answer, if that helps to explain anything. One whose value nobody saw helps
/// only where it makes the chunk longer: the cells that it overwrites are worth less then.
fn change_unanswered(step: &Step, state: &State) -> Option<State> {
    let next = change(step, state)?;
    let helps = match step {
        Step::Write { value: UNSEEN, .. } => next.length != state.length,
        _ => next != *state,
    };
    helps.then_some(next)
}

/// Of points at the same time a call comes first: it overlaps what returns then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    Call,
    Return,
    Expiry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// No order explains the return at this time.
    Impossible {
        at: u64,
    },
    /// Too many configurations to say.
    Undecided,
}

/// How hard an explanation is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    /// Updates that nobody answered take effect only where nothing else explains an answer: what is found is an
    /// explanation, and what is not found may be one.
    Little,
    Full,
}

pub fn check(initial: State, history: &[Interval]) -> Verdict {
    let history = resolve_unanswered(history);
    let answered = history.iter().all(|interval| interval.returned.is_some());
    if !answered && Search::new(&history).run(initial, Effort::Little) == Verdict::Linearizable {
        return Verdict::Linearizable;
    }
    Search::new(&history).run(initial, Effort::Full)
}

struct Search<'a> {
    history: &'a [Interval],
    /// Open operations that return: their places in the history, by bit of `Configuration::taken`.
    returning: Vec<Option<usize>>,
    /// Open updates that do not, by bit of `Configuration::spent`.
    unanswered: Vec<Option<usize>>,
    /// For each of those, the ones that do the same and expire before it: they are taken first.
    before: Vec<Places>,
    /// Those of which there are so many that they are never used up.
    plenty: Places,
}

/// Puts it into a free place.
fn open(places: &mut Vec<Option<usize>>, index: usize) -> usize {
    let place = places.iter().position(Option::is_none).unwrap_or(places.len());
    if place == places.len() {
        places.push(None);
    }
    places[place] = Some(index);
    place
}

impl Interval {
    /// Until when it may take effect without an answer.
    fn open_until(&self) -> u64 {
        self.expires.unwrap_or(u64::MAX)
    }
}

impl Search<'_> {
    fn new(history: &[Interval]) -> Search<'_> {
        Search {
            history,
            returning: Vec::new(),
            unanswered: Vec::new(),
            before: Vec::new(),
            plenty: Places::default(),
        }
    }

    fn run(mut self, initial: State, effort: Effort) -> Verdict {
        let mut points: Vec<(u64, Point, usize)> = Vec::with_capacity(self.history.len() * 2);
        for (index, interval) in self.history.iter().enumerate() {
            points.push((interval.called, Point::Call, index));
            points.extend(interval.returned.map(|time| (time, Point::Return, index)));
            points.extend(interval.expires.map(|time| (time, Point::Expiry, index)));
        }
        points.sort_unstable();
        let mut place_of = vec![usize::MAX; self.history.len()];
        let mut configurations = Configurations::of(initial);
        for (at, point, index) in points {
            let next = match point {
                Point::Call => {
                    let Some(place) = self.call(index) else { return Verdict::Undecided };
                    place_of[index] = place;
                    continue;
                }
                // One of plenty: it has no place of its own, and they go on.
                Point::Expiry if self.unanswered[place_of[index]] != Some(index) => continue,
                Point::Return => self.after_return(&configurations, place_of[index], effort),
                Point::Expiry => self.after_expiry(&configurations, place_of[index], effort),
            };
            configurations = match next {
                None => return Verdict::Undecided,
                Some(next) if next.is_empty() => return Verdict::Impossible { at },
                Some(next) => next,
            };
            match point {
                Point::Expiry => {
                    self.unanswered[place_of[index]] = None;
                    self.plenty = self.plenty.without(place_of[index]);
                    self.order_unanswered();
                }
                _ => self.returning[place_of[index]] = None,
            }
        }
        Verdict::Linearizable
    }

    /// None: too many are open.
    fn call(&mut self, index: usize) -> Option<usize> {
        let Interval { step, returned, .. } = self.history[index];
        if returned.is_some() {
            return Some(open(&mut self.returning, index)).filter(|place| *place < u64::BITS as usize);
        }
        // One that expires does nothing that one of those which never do cannot do.
        if let Some(place) = self.plenty_of(step, u64::MAX) {
            return Some(place);
        }
        if self.unanswered.iter().flatten().count() == Places::MAX {
            return self.plenty_of(step, self.history[index].open_until());
        }
        let place = open(&mut self.unanswered, index);
        self.order_unanswered();
        Some(place)
    }

    /// The place of one of plenty that do this and are open until then: of the first to expire, which may do least.
    fn plenty_of(&mut self, step: Step, until: u64) -> Option<usize> {
        let open = self.unanswered.iter().enumerate().filter_map(|(place, index)| Some((place, (*index)?)));
        let same: Vec<(usize, usize)> = open
            .filter(|(_, index)| {
                self.history[*index].step == step && self.history[*index].open_until() >= until
            })
            .collect();
        let (place, _) = same.iter().copied().min_by_key(|(_, index)| self.history[*index].open_until())?;
        if same.len() < PLENTY {
            return None;
        }
        self.plenty = self.plenty.with(place);
        Some(place)
    }

    fn order_unanswered(&mut self) {
        let history = self.history;
        let order = |place: usize, index: usize| (history[index].open_until(), place);
        let open =
            || self.unanswered.iter().enumerate().filter_map(|(place, index)| Some((place, (*index)?)));
        self.before = vec![Places::default(); self.unanswered.len()];
        for (place, index) in open() {
            let earlier = open().filter(|(other, theirs)| {
                self.history[*theirs].step == self.history[index].step
                    && order(*other, *theirs) < order(place, index)
            });
            self.before[place] = earlier.fold(Places::default(), |set, (other, _)| set.with(other));
        }
    }

    /// All configurations in which the operation at this place has taken effect, with its bit taken off again.
    fn after_return(&self, from: &Configurations, place: usize, effort: Effort) -> Option<Configurations> {
        let taken = |configuration: &Configuration| {
            let bit = 1 << place;
            let rest = Configuration { taken: configuration.taken & !bit, ..*configuration };
            (configuration.taken & bit != 0).then_some(rest)
        };
        if effort == Effort::Little {
            let without = self.expand(from, Configurations::default(), false, taken)?;
            if !without.is_empty() {
                return Some(without);
            }
        }
        self.expand(from, Configurations::default(), true, taken)
    }

    /// Those in which the update at this place has taken effect, now or before, and those in which it has not.
    fn after_expiry(&self, from: &Configurations, place: usize, effort: Effort) -> Option<Configurations> {
        let cleared = |configuration: &Configuration| Configuration {
            spent: configuration.spent.without(place),
            ..*configuration
        };
        let mut done = Configurations::default();
        from.each().for_each(|configuration| done.insert(cleared(configuration)));
        match effort {
            Effort::Little => Some(done),
            Effort::Full => self.expand(from, done, true, |configuration| {
                configuration.spent.contains(place).then(|| cleared(configuration))
            }),
        }
    }

    /// Lets open operations take effect, in every order, until `end` gives what to add to `done`. None: too many.
    fn expand(
        &self,
        from: &Configurations,
        mut done: Configurations,
        spends: bool,
        end: impl Fn(&Configuration) -> Option<Configuration>,
    ) -> Option<Configurations> {
        let mut reached = Configurations::default();
        from.each().for_each(|configuration| reached.insert(self.with_reads(*configuration)));
        while let Some(configuration) = reached.next() {
            if let Some(ended) = end(&configuration) {
                done.insert(ended);
                continue;
            }
            self.take_returning(&configuration, &mut reached);
            if spends {
                self.spend_unanswered(&configuration, &mut reached);
            }
            if reached.are_too_many() {
                return None;
            }
        }
        Some(done)
    }

    fn take_returning(&self, from: &Configuration, into: &mut Configurations) {
        for (place, index) in self.returning.iter().enumerate() {
            let Some(interval) = index.map(|index| &self.history[index]) else { continue };
            if from.taken & (1 << place) == 0
                && let Some(state) = change(&interval.step, &from.state)
                && interval.length.is_none_or(|length| length == state.length.unwrap_or(0))
            {
                let taken = from.taken | 1 << place;
                into.insert(self.with_reads(Configuration { taken, state, ..*from }));
            }
        }
    }

    fn spend_unanswered(&self, from: &Configuration, into: &mut Configurations) {
        for (place, index) in self.unanswered.iter().enumerate() {
            let Some(interval) = index.map(|index| &self.history[index]) else { continue };
            let is_next = !from.spent.contains(place) && self.before[place].is_within(from.spent);
            if is_next && let Some(state) = change_unanswered(&interval.step, &from.state) {
                let spent = if self.plenty.contains(place) { from.spent } else { from.spent.with(place) };
                into.insert(self.with_reads(Configuration { spent, state, ..*from }));
            }
        }
    }

    /// Every open read that saw just this state took effect: a read changes nothing, so the earliest moment that
    /// explains it is no worse than a later one.
    fn with_reads(&self, configuration: Configuration) -> Configuration {
        let mut taken = configuration.taken;
        for (place, index) in self.returning.iter().enumerate() {
            let saw = index.is_some_and(|index| sees(&self.history[index].step, &configuration.state));
            taken |= u64::from(saw) << place;
        }
        Configuration { taken, ..configuration }
    }
}

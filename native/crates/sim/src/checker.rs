//! Is a history of one chunk linearizable? Just-in-time linearization: walk through calls and returns in
//! their order, keep every configuration (which open operations have taken effect, and the state) that
//! explains all returns so far. No configuration left = no explanation.

use crate::engine::{CELLS, Cells};
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// These cells become `value`.
    Write {
        first: usize,
        count: usize,
        value: u32,
    },
    /// These cells become 0.
    Punch {
        first: usize,
        count: usize,
    },
    /// Every cell becomes 0.
    Remove,
    Read(Cells),
}

/// One operation: called, perhaps returned. Without a return it may take effect at any time, or never.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    pub step: Step,
    pub called: u64,
    pub returned: Option<u64>,
    /// Without a return: after this it takes effect no more, if it had not.
    pub expires: Option<u64>,
}

/// More configurations than this are not searched: such a history counts as undecided. Real ones stay below a
/// hundred.
const CONFIGURATIONS_MAX: usize = 200_000;

type Configuration = (u64, Cells);

/// FNV-1a over words: the sets are small and many, and nobody attacks them.
#[derive(Default)]
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(31);
    }
}

/// Below this many a look through the list is quicker than a hash.
const FEW: usize = 24;

/// A set that keeps the order in which its members came.
#[derive(Default)]
struct Configurations {
    list: Vec<Configuration>,
    index: HashSet<Configuration, BuildHasherDefault<Fnv>>,
}

impl Configurations {
    fn insert(&mut self, configuration: Configuration) {
        if self.list.len() < FEW {
            if !self.list.contains(&configuration) {
                self.list.push(configuration);
            }
            return;
        }
        if self.list.len() == FEW {
            self.index.extend(self.list.iter().copied());
        }
        if self.index.insert(configuration) {
            self.list.push(configuration);
        }
    }
}

/// The state after a step that changes it; `None` for a read.
fn change(step: &Step, state: &Cells) -> Option<Cells> {
    let mut next = *state;
    match step {
        Step::Write { first, count, value } => next[*first..first + count].fill(*value),
        Step::Punch { first, count } => next[*first..first + count].fill(0),
        Step::Remove => next = [0; CELLS],
        Step::Read(_) => return None,
    }
    Some(next)
}

/// Every open read that saw just this state took effect: a read changes nothing, so the earliest moment that
/// explains it is no worse than a later one.
fn take_reads(history: &[Interval], slots: &[Option<usize>], taken: u64, state: &Cells) -> u64 {
    let mut taken = taken;
    for (slot, index) in slots.iter().enumerate() {
        let saw = index.is_some_and(|index| history[index].step == Step::Read(*state));
        taken |= u64::from(saw) << slot;
    }
    taken
}

/// Writes that nobody answered for: if a read saw one, it took effect before that read returned; if none did,
/// it changes nothing that was seen.
fn resolve_unanswered(history: &[Interval]) -> Vec<Interval> {
    let mut first_seen: BTreeMap<u32, Option<u64>> = BTreeMap::new();
    for interval in history {
        if let (Step::Write { value, .. }, None) = (interval.step, interval.returned) {
            first_seen.insert(value, None);
        }
    }
    if !first_seen.is_empty() {
        for interval in history {
            let (Step::Read(cells), Some(time)) = (interval.step, interval.returned) else { continue };
            for value in cells {
                if let Some(first) = first_seen.get_mut(&value) {
                    *first = Some(first.map_or(time, |first| first.min(time)));
                }
            }
        }
    }
    let seen_at = |value: u32| first_seen.get(&value).copied().flatten();
    history
        .iter()
        .filter_map(|interval| {
            if interval.returned.is_some() {
                return Some(Interval { expires: None, ..*interval });
            }
            let last = interval.expires.unwrap_or(u64::MAX);
            match interval.step {
                _ if last < interval.called => None,
                // Zeros do not tell who wrote them.
                Step::Remove | Step::Punch { .. } => Some(*interval),
                Step::Read(_) => None,
                Step::Write { value, .. } => seen_at(value).map(|time| Interval {
                    returned: Some(time.min(last)),
                    expires: None,
                    ..*interval
                }),
            }
        })
        .collect()
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

pub fn check(initial: Cells, history: &[Interval]) -> Verdict {
    let history = resolve_unanswered(history);
    let mut points: Vec<(u64, Point, usize)> = Vec::with_capacity(history.len() * 2);
    for (index, interval) in history.iter().enumerate() {
        points.push((interval.called, Point::Call, index));
        points.extend(interval.returned.map(|time| (time, Point::Return, index)));
        points.extend(interval.expires.map(|time| (time, Point::Expiry, index)));
    }
    points.sort_unstable();
    let mut slots: Vec<Option<usize>> = Vec::new();
    let mut slot_of = vec![usize::MAX; history.len()];
    let mut configurations = Configurations { list: vec![(0, initial)], ..Configurations::default() };
    for (at, point, index) in points {
        if point == Point::Call {
            let slot = slots.iter().position(Option::is_none).unwrap_or(slots.len());
            if slot >= 64 {
                return Verdict::Undecided;
            }
            if slot == slots.len() {
                slots.push(None);
            }
            slots[slot] = Some(index);
            slot_of[index] = slot;
            continue;
        }
        let slot = slot_of[index];
        let may_be_open = point == Point::Expiry;
        configurations = match expand(&history, &slots, configurations, (1 << slot, may_be_open)) {
            None => return Verdict::Undecided,
            Some(next) if next.list.is_empty() => return Verdict::Impossible { at },
            Some(next) => next,
        };
        slots[slot] = None;
    }
    Verdict::Linearizable
}

/// All configurations in which the operation of `bit` has taken effect, with the bit taken off again; and, if
/// it `may_be_open`, those in which it has not.
fn expand(
    history: &[Interval],
    slots: &[Option<usize>],
    configurations: Configurations,
    (bit, may_be_open): (u64, bool),
) -> Option<Configurations> {
    let mut done = Configurations::default();
    let mut seen = Configurations::default();
    for (taken, state) in configurations.list {
        seen.insert((take_reads(history, slots, taken, &state), state));
    }
    let mut next = 0;
    while let Some((taken, state)) = seen.list.get(next).copied() {
        next += 1;
        if taken & bit != 0 {
            done.insert((taken & !bit, state));
            continue;
        }
        if may_be_open {
            done.insert((taken, state));
        }
        for (slot, index) in slots.iter().enumerate() {
            let Some(index) = index else { continue };
            if taken & (1 << slot) == 0
                && let Some(state) = change(&history[*index].step, &state)
            {
                let taken = taken | 1 << slot;
                seen.insert((take_reads(history, slots, taken, &state), state));
            }
        }
        if seen.list.len() > CONFIGURATIONS_MAX {
            return None;
        }
    }
    Some(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: u32, called: u64, returned: u64) -> Interval {
        Interval {
            step: Step::Write { first: 0, count: CELLS, value },
            called,
            returned: Some(returned),
            expires: None,
        }
    }
    fn lost(value: u32, called: u64) -> Interval {
        Interval { returned: None, ..write(value, called, 0) }
    }
    fn read(value: u32, called: u64, returned: u64) -> Interval {
        Interval { step: Step::Read([value; CELLS]), called, returned: Some(returned), expires: None }
    }
    fn possible(history: &[Interval]) -> bool {
        let verdict = check([0; CELLS], history);
        assert_ne!(verdict, Verdict::Undecided);
        verdict == Verdict::Linearizable
    }

    #[test]
    fn sequential_histories() {
        assert!(possible(&[write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7)]));
        assert!(!possible(&[write(1, 0, 1), read(0, 2, 3)]), "a stale read");
        assert!(!possible(&[write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)]), "an overwritten value");
        assert!(!possible(&[read(9, 0, 1)]), "a value nobody wrote");
        assert_eq!(check([0; CELLS], &[write(1, 0, 1), read(0, 2, 3)]), Verdict::Impossible { at: 3 });
    }

    #[test]
    fn overlapping_operations_may_take_effect_in_any_order_but_one() {
        assert!(possible(&[write(1, 0, 10), read(0, 1, 2), read(1, 3, 4)]));
        assert!(!possible(&[write(1, 0, 10), read(1, 1, 2), read(0, 3, 4)]), "new, then old again");
        assert!(possible(&[write(1, 0, 10), write(2, 0, 10), read(1, 11, 12)]));
        assert!(!possible(&[write(1, 0, 10), write(2, 0, 10), read(1, 11, 12), read(2, 13, 14)]));
    }

    #[test]
    fn unanswered_writes_may_take_effect_late_or_never_but_only_once() {
        assert!(possible(&[lost(1, 0), read(0, 1, 2), read(1, 3, 4)]));
        assert!(possible(&[lost(1, 0), read(0, 1, 2)]));
        assert!(!possible(&[lost(1, 0), read(1, 1, 2), read(0, 3, 4)]));
        assert!(!possible(&[lost(1, 0), write(2, 1, 2), read(1, 3, 4), write(3, 5, 6), read(1, 7, 8)]));
        assert!(!possible(&[read(1, 0, 1), lost(1, 2)]), "seen before it was called");
    }

    #[test]
    fn parts_of_a_chunk_and_removals() {
        let part = Interval {
            step: Step::Write { first: 1, count: 1, value: 7 },
            called: 2,
            returned: Some(3),
            expires: None,
        };
        let sees = |cells, called| Interval {
            step: Step::Read(cells),
            called,
            returned: Some(called + 1),
            expires: None,
        };
        assert!(possible(&[write(1, 0, 1), part, sees([1, 7, 1, 1], 4)]));
        assert!(!possible(&[write(1, 0, 1), part, sees([7, 7, 7, 7], 4)]));
        let removal = Interval { step: Step::Remove, called: 6, returned: Some(7), expires: None };
        assert!(possible(&[write(1, 0, 1), part, removal, sees([0; 4], 8)]));
        assert!(!possible(&[write(1, 0, 1), part, removal, sees([1, 7, 1, 1], 8)]));
        let punch = Interval { step: Step::Punch { first: 1, count: 2 }, ..removal };
        assert!(possible(&[write(1, 0, 1), part, punch, sees([1, 0, 0, 1], 8)]));
        assert!(!possible(&[write(1, 0, 1), part, punch, sees([1, 7, 0, 1], 8)]), "half of a punch");
        assert!(!possible(&[write(1, 0, 1), part, punch, sees([0; 4], 8)]), "too much of it");
        let lost = Interval { returned: None, ..punch };
        assert!(possible(&[write(1, 0, 1), part, lost, sees([1, 7, 1, 1], 8), sees([1, 0, 0, 1], 10)]));
        assert!(!possible(&[write(1, 0, 1), part, lost, sees([1, 0, 0, 1], 8), sees([1, 7, 1, 1], 10)]));
    }

    #[test]
    fn what_expired_takes_effect_no_more() {
        let until = |expires, interval| Interval { expires: Some(expires), ..interval };
        assert!(possible(&[until(5, lost(1, 0)), read(0, 1, 2), read(1, 6, 7)]));
        assert!(possible(&[until(5, lost(1, 0)), read(0, 6, 7)]));
        assert!(!possible(&[until(5, lost(1, 0)), read(0, 6, 7), read(1, 8, 9)]), "late");
        assert!(!possible(&[until(5, lost(1, 6)), read(1, 8, 9)]), "called after its fence");
        let removal = Interval { step: Step::Remove, called: 2, returned: None, expires: Some(5) };
        assert!(possible(&[write(1, 0, 1), removal, read(1, 3, 4), read(0, 8, 9)]));
        assert!(possible(&[write(1, 0, 1), removal, read(1, 3, 9)]));
        assert!(!possible(&[write(1, 0, 1), removal, read(1, 6, 7), read(0, 8, 9)]), "a late removal");
    }
}

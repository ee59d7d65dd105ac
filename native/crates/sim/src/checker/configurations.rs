//! The configurations of a search, without those that another one makes needless.

use super::State;
use super::places::Places;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// More than this are not searched: such a history counts as undecided. Real ones stay below a thousand.
const CONFIGURATIONS_MAX: usize = 200_000;

/// Which open operations have taken effect, and the state that they left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Configuration {
    /// Of those that return.
    pub taken: u64,
    /// Of those that nobody answered.
    pub spent: Places,
    pub state: State,
}

impl Configuration {
    /// It can do all that the other one can: it has more left.
    fn is_no_worse(&self, other: &Configuration) -> bool {
        self.taken == other.taken && self.state == other.state && self.spent.is_within(other.spent)
    }
}

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

#[derive(Default)]
pub(super) struct Configurations {
    /// In the order in which they came; none: a better one came later.
    list: Vec<Option<Configuration>>,
    /// Of more than a few: where those with the same operations and state are.
    index: HashMap<(u64, State), Vec<usize>, BuildHasherDefault<Fnv>>,
    /// The first that `next` did not give out.
    next: usize,
}

impl Configurations {
    pub fn of(state: State) -> Configurations {
        let mut configurations = Configurations::default();
        configurations.insert(Configuration { taken: 0, spent: Places::default(), state });
        configurations
    }

    pub fn insert(&mut self, new: Configuration) {
        if self.list.len() < FEW {
            if !self.list.iter().flatten().any(|known| known.is_no_worse(&new)) {
                let worse =
                    |known: &Option<Configuration>| known.is_some_and(|known| new.is_no_worse(&known));
                self.list.iter_mut().filter(|known| worse(known)).for_each(|known| *known = None);
                self.list.push(Some(new));
            }
            return;
        }
        if self.list.len() == FEW && self.index.is_empty() {
            for (place, known) in self.list.iter().enumerate() {
                if let Some(known) = known {
                    self.index.entry((known.taken, known.state)).or_default().push(place);
                }
            }
        }
        let places = self.index.entry((new.taken, new.state)).or_default();
        let known = |place: usize| self.list[place].expect("only those that count have a place");
        if places.iter().any(|place| known(*place).is_no_worse(&new)) {
            return;
        }
        for worse in places.extract_if(.., |place| new.is_no_worse(&known(*place))).collect::<Vec<_>>() {
            self.list[worse] = None;
        }
        places.push(self.list.len());
        self.list.push(Some(new));
    }

    /// The next one that was not given out yet, in the order in which they came.
    pub fn next(&mut self) -> Option<Configuration> {
        loop {
            let place = self.next;
            let found = *self.list.get(place)?;
            self.next += 1;
            if found.is_some() {
                return found;
            }
        }
    }

    pub fn each(&self) -> impl Iterator<Item = &Configuration> {
        self.list.iter().flatten()
    }

    pub fn is_empty(&self) -> bool {
        self.each().next().is_none()
    }

    pub fn are_too_many(&self) -> bool {
        self.list.len() > CONFIGURATIONS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few and many are kept in different ways.
    #[test]
    fn what_has_spent_more_for_the_same_is_not_kept() {
        let of = |places: &[usize]| places.iter().fold(Places::default(), |set, place| set.with(*place));
        for others in [0, 100] {
            let mut configurations = Configurations::default();
            let state = |value: u32| State { length: Some(4), cells: [value; 4] };
            for value in 1..=others {
                configurations.insert(Configuration { taken: 1, spent: of(&[0]), state: state(value) });
            }
            let mut insert =
                |taken, spent| configurations.insert(Configuration { taken, spent, state: state(0) });
            insert(1, of(&[0, 1, 2]));
            insert(1, of(&[1, 2]));
            insert(1, of(&[1, 2, 3]));
            insert(1, of(&[0, 3]));
            insert(2, of(&[0, 1, 2, 3]));
            let left = configurations.each().filter(|known| known.state == state(0));
            let left: Vec<(u64, Places)> = left.map(|known| (known.taken, known.spent)).collect();
            assert_eq!(left, [(1, of(&[1, 2])), (1, of(&[0, 3])), (2, of(&[0, 1, 2, 3]))]);
            let mut given = 0;
            while configurations.next().is_some() {
                given += 1;
            }
            assert_eq!(given, others + 3);
        }
    }
}

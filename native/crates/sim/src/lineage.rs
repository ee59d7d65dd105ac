//! Which updates made a chunk's content: a set of operation numbers, shared between copies until it changes.

use std::rc::Rc;

#[derive(Clone, Debug, Default)]
pub struct Lineage(Rc<Vec<u64>>);

impl Lineage {
    pub fn contains(&self, operation: u32) -> bool {
        let word = self.0.get(operation as usize / 64).copied().unwrap_or(0);
        word >> (operation % 64) & 1 == 1
    }

    /// The same set with one more.
    pub fn with(&self, operation: u32) -> Lineage {
        let place = operation as usize / 64;
        let mut words = Vec::with_capacity(self.0.len().max(place + 1));
        words.extend_from_slice(&self.0);
        if words.len() <= place {
            words.resize(place + 1, 0);
        }
        words[place] |= 1 << (operation % 64);
        Lineage(Rc::new(words))
    }

    pub fn union(&self, other: &Lineage) -> Lineage {
        let (short, long) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        let mut words = long.0.to_vec();
        words.iter_mut().zip(short.0.iter()).for_each(|(word, more)| *word |= more);
        Lineage(Rc::new(words))
    }

    pub fn operations(&self) -> impl Iterator<Item = u32> + '_ {
        let bits = |(place, word): (usize, &u64)| {
            let word = *word;
            (0..64u32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place as u32 * 64 + bit)
        };
        self.0.iter().enumerate().flat_map(bits)
    }
}

/// As sets: trailing words without an operation do not count.
impl PartialEq for Lineage {
    fn eq(&self, other: &Lineage) -> bool {
        let (short, long) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        long.0[..short.0.len()] == short.0[..] && long.0[short.0.len()..].iter().all(|word| *word == 0)
    }
}

impl Eq for Lineage {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set() {
        let one = Lineage::default().with(3).with(64).with(200);
        assert_eq!(one.operations().collect::<Vec<_>>(), [3, 64, 200]);
        assert!(one.contains(64) && !one.contains(65) && !one.contains(100_000));
        assert_eq!(one, Lineage::default().with(200).with(3).with(64).with(3));
        assert_ne!(one, one.with(1));
        let other = Lineage::default().with(4);
        assert_eq!(one.union(&other), one.with(4));
        assert_eq!(other.union(&one), one.with(4));
        assert_ne!(Lineage::default(), Lineage::default().with(0));
    }
}

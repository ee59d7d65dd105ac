//! Sets of places of updates that nobody answered.

/// A client that is fenced while disks are full leaves dozens of them, and each is another one until it expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places([u128; 2]);

impl Places {
    /// Places have lower numbers than this.
    pub const MAX: usize = 2 * u128::BITS as usize;

    pub fn contains(self, place: usize) -> bool {
        self.0[place / 128] & (1 << (place % 128)) != 0
    }

    pub fn with(mut self, place: usize) -> Places {
        self.0[place / 128] |= 1 << (place % 128);
        self
    }

    pub fn without(mut self, place: usize) -> Places {
        self.0[place / 128] &= !(1 << (place % 128));
        self
    }

    pub fn is_within(self, other: Places) -> bool {
        self.0[0] & !other.0[0] == 0 && self.0[1] & !other.0[1] == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn every_place_is_its_own() {
        let mut places = Places::default();
        for place in (0..Places::MAX).rev() {
            let before = places;
            places = places.with(place);
            assert!(places.contains(place) && !before.contains(place));
            assert!(before.is_within(places) && !places.is_within(before));
            assert_eq!(places.without(place), before);
        }
    }
}

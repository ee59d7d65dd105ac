//! Content that tells where and of which write it is: each 8-byte word is a function of the seed, its offset in
//! its file and a generation, so that a verifying read finds lost, stale, misplaced and flipped bytes.

use bytes::Bytes;

/// Which write of a block its content is of; 0: of none, as the file was laid out. It stands twice in each word,
/// so that a reader that knows none finds flipped bytes all the same.
pub type Generation = u32;

const TWICE: u64 = 0x1_0000_0001;

/// One step of splitmix64: a well-mixed function of its input.
pub fn mix(input: u64) -> u64 {
    let mut word = input.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

fn word(seed: u64, at: u64, generation: Generation) -> [u8; 8] {
    (mix(seed ^ at) ^ (u64::from(generation) * TWICE)).to_le_bytes()
}

/// The generation that a word is of, or none if it is of no write of this seed and offset.
fn generation_of(seed: u64, at: u64, word: [u8; 8]) -> Option<Generation> {
    let twice = u64::from_le_bytes(word) ^ mix(seed ^ at);
    let generation = twice as Generation;
    (u64::from(generation) * TWICE == twice).then_some(generation)
}

/// The file's bytes from `offset`, as many as there is room for; both are multiples of 8.
pub fn fill(seed: u64, offset: u64, generation: Generation, into: &mut [u8]) {
    assert!(offset.is_multiple_of(8) && into.len().is_multiple_of(8), "patterns are made of 8-byte words");
    for (index, place) in into.chunks_exact_mut(8).enumerate() {
        place.copy_from_slice(&word(seed, offset + index as u64 * 8, generation));
    }
}

pub fn make(seed: u64, offset: u64, generation: Generation, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    fill(seed, offset, generation, &mut bytes);
    bytes.into()
}

/// A byte that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub offset: u64,
    /// It is what another write, or the layout of the file, left there.
    pub of_another_write: bool,
}

/// The first wrong byte, or none. `got` starts at `offset`; without a generation each word may be of any.
pub fn first_wrong(seed: u64, offset: u64, generation: Option<Generation>, got: &[u8]) -> Option<Wrong> {
    let mut expected = generation.unwrap_or(0);
    for (index, have) in got.chunks(8).enumerate() {
        let at = offset + index as u64 * 8;
        let want = word(seed, at, expected);
        if have == &want[..have.len()] {
            continue;
        }
        let found = have.try_into().ok().and_then(|have| generation_of(seed, at, have));
        if let (None, Some(found)) = (generation, found) {
            expected = found;
            continue;
        }
        let byte = have.iter().zip(&want).position(|(have, want)| have != want).unwrap_or(0);
        return Some(Wrong { offset: at + byte as u64, of_another_write: found.is_some() });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(offset: u64, of_another_write: bool) -> Option<Wrong> {
        Some(Wrong { offset, of_another_write })
    }

    #[test]
    fn one_wrong_byte_is_found_where_it_is() {
        let mut bytes = make(7, 4096, 9, 512).to_vec();
        for generation in [None, Some(9)] {
            assert_eq!(first_wrong(7, 4096, generation, &bytes), None);
        }
        bytes[300] ^= 1;
        for generation in [None, Some(9)] {
            assert_eq!(first_wrong(7, 4096, generation, &bytes), wrong(4096 + 300, false));
            let misplaced = first_wrong(7, 0, generation, &make(7, 4096, 9, 512));
            assert!(misplaced.is_some_and(|wrong| !wrong.of_another_write), "misplaced bytes are wrong");
            assert!(first_wrong(8, 4096, generation, &bytes).is_some(), "another seed's bytes are wrong");
        }
    }

    #[test]
    fn another_generation_is_right_only_for_who_expects_none() {
        let mut bytes = make(7, 0, 3, 1024).to_vec();
        fill(7, 512, u32::MAX, &mut bytes[512..]);
        assert_eq!(first_wrong(7, 0, None, &bytes), None, "written in smaller blocks than it is read");
        assert!(
            first_wrong(7, 0, Some(3), &bytes)
                .is_some_and(|wrong| { (512..520).contains(&wrong.offset) && wrong.of_another_write })
        );
        assert!(first_wrong(7, 0, Some(0), &bytes).is_some_and(|wrong| wrong.of_another_write));
    }
}

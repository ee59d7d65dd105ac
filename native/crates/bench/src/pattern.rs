//! Content that tells where it belongs: each 8-byte word is a function of the seed and its offset in its
//! file, so that a verifying read finds lost, stale, misplaced and flipped bytes.

use bytes::Bytes;

/// One step of splitmix64: a well-mixed function of its input.
pub fn mix(input: u64) -> u64 {
    let mut word = input.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// `len` bytes of the file from `offset`; both are multiples of 8.
pub fn fill(seed: u64, offset: u64, into: &mut [u8]) {
    assert!(offset.is_multiple_of(8) && into.len().is_multiple_of(8), "patterns are made of 8-byte words");
    for (index, word) in into.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&mix(seed ^ (offset + index as u64 * 8)).to_le_bytes());
    }
}

pub fn make(seed: u64, offset: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    fill(seed, offset, &mut bytes);
    bytes.into()
}

/// The offset of the first wrong byte, or none. `got` starts at `offset`.
pub fn first_wrong(seed: u64, offset: u64, got: &[u8]) -> Option<u64> {
    for (index, word) in got.chunks(8).enumerate() {
        let at = offset + index as u64 * 8;
        let want = mix(seed ^ at).to_le_bytes();
        if word != &want[..word.len()] {
            let byte = word.iter().zip(&want).position(|(have, want)| have != want).unwrap_or(0);
            return Some(at + byte as u64);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_byte_is_found_where_it_is() {
        let mut bytes = make(7, 4096, 512).to_vec();
        assert_eq!(first_wrong(7, 4096, &bytes), None);
        bytes[300] ^= 1;
        assert_eq!(first_wrong(7, 4096, &bytes), Some(4096 + 300));
        assert!(first_wrong(7, 0, &make(7, 4096, 512)).is_some(), "misplaced bytes are wrong");
        assert!(first_wrong(8, 4096, &make(7, 4096, 512)).is_some(), "another seed's bytes are wrong");
    }
}

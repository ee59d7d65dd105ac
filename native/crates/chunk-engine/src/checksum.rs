//! CRC32C of blocks, and of whatever blocks make up, without a second pass over the bytes.
//! `combine` joins checksums of neighbouring ranges; it must equal the checksum of the joined bytes, always.

use std::sync::OnceLock;

/// What one checksum covers, and the unit of allocation.
pub const BLOCK_BYTES: usize = 4096;

/// Longest range that `combine` accepts as a power of two: 64 MiB chunks and a margin.
const POWERS: usize = 32;

static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

type Shift = [[u32; 256]; 4];

/// `tables()[k]` advances a checksum over 2^k zero bytes.
fn tables() -> &'static [Shift] {
    static TABLES: OnceLock<Vec<Shift>> = OnceLock::new();
    TABLES.get_or_init(|| {
        // One zero bit in the reflected polynomial of CRC32C.
        let mut matrix = [0u32; 32];
        matrix[0] = 0x82f6_3b78;
        for (bit, column) in matrix.iter_mut().enumerate().skip(1) {
            *column = 1 << (bit - 1);
        }
        for _ in 0..3 {
            matrix = square(&matrix);
        }
        let mut tables = Vec::with_capacity(POWERS);
        for _ in 0..POWERS {
            tables.push(expand(&matrix));
            matrix = square(&matrix);
        }
        tables
    })
}

fn times(matrix: &[u32; 32], vector: u32) -> u32 {
    (0..32).filter(|bit| vector >> bit & 1 == 1).fold(0, |sum, bit| sum ^ matrix[bit as usize])
}

fn square(matrix: &[u32; 32]) -> [u32; 32] {
    std::array::from_fn(|column| times(matrix, matrix[column]))
}

fn expand(matrix: &[u32; 32]) -> Shift {
    std::array::from_fn(|byte| std::array::from_fn(|value| times(matrix, (value as u32) << (8 * byte))))
}

/// The checksum of A followed by B, from A's and B's checksums and B's length.
pub fn combine(first: u32, second: u32, second_bytes: usize) -> u32 {
    let mut sum = first;
    let mut rest = second_bytes;
    while rest != 0 {
        let table = &tables()[rest.trailing_zeros() as usize];
        let [a, b, c, d] = sum.to_le_bytes();
        sum = table[0][a as usize] ^ table[1][b as usize] ^ table[2][c as usize] ^ table[3][d as usize];
        rest &= rest - 1;
    }
    sum ^ second
}

/// CRC32C of `bytes`.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// CRC32C of at most one block of zeros.
pub fn of_zeros(length: usize) -> u32 {
    static WHOLE: OnceLock<u32> = OnceLock::new();
    if length == BLOCK_BYTES {
        return *WHOLE.get_or_init(|| crc32c::crc32c(&ZEROS));
    }
    crc32c::crc32c(&ZEROS[..length])
}

/// At most one block of zeros.
pub(crate) fn zeros(length: usize) -> &'static [u8] {
    &ZEROS[..length]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn combining_equals_one_pass(bytes in prop::collection::vec(any::<u8>(), 0..20_000), cut in 0usize..20_000) {
            let cut = cut.min(bytes.len());
            let (first, second) = bytes.split_at(cut);
            prop_assert_eq!(combine(checksum(first), checksum(second), second.len()), checksum(&bytes));
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        assert_eq!(of_zeros(32), 0x8a91_36aa);
        assert_eq!(of_zeros(BLOCK_BYTES), checksum(&[0; BLOCK_BYTES]));
        let large = vec![7u8; 3 << 20];
        assert_eq!(
            combine(checksum(b"x"), checksum(&large), large.len()),
            checksum(&[b"x", &large[..]].concat())
        );
    }
}

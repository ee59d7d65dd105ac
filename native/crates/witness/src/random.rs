//! Chance from a printed seed (splitmix64), so that a failed run is repeated with the same operations.

pub struct Random(u64);

/// One step of splitmix64: a well-mixed function of its input.
pub fn mix(input: u64) -> u64 {
    let mut word = input.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(mix(seed))
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Less than `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }
}

/// `length` bytes that depend on every bit of `number`: no two writes of a run write the same.
pub fn content(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut index = 0;
    while bytes.len() < length {
        bytes.extend_from_slice(&mix(mix(number) ^ index).to_le_bytes());
        index += 1;
    }
    bytes.truncate(length);
    bytes
}

//! Which operation comes next: a function of the seed and the file's length alone.

use crate::random::Random;

/// The file never grows beyond this: several chunks, and small enough to be compared whole.
pub const LENGTH_MAX: u64 = 5 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Write {
        offset: u64,
        length: u64,
    },
    /// Through a file that was opened with O_APPEND.
    Append {
        length: u64,
    },
    Truncate {
        length: u64,
    },
    /// As truncate does it, and never shorter (fallocate of mode 0).
    Extend {
        length: u64,
    },
    /// A hole; the length stays.
    Punch {
        offset: u64,
        length: u64,
    },
    /// Zeros, also behind the end unless the length is kept.
    Zero {
        offset: u64,
        length: u64,
        keeps_length: bool,
    },
    Read {
        offset: u64,
        length: u64,
    },
    /// Through memory, never behind the end.
    MapRead {
        offset: u64,
        length: u64,
    },
    MapWrite {
        offset: u64,
        length: u64,
    },
    Stat,
    Fsync,
    /// Close and open again.
    Reopen,
}

/// Most are small, some span pages, few span chunks and requests of the kernel.
fn length_of(random: &mut Random, bound: u64) -> u64 {
    let most = match random.below(16) {
        0..8 => 600,
        8..12 => 4096 * 3,
        12..15 => 200_000,
        _ => 2_300_000,
    };
    random.below(most.min(bound)) + 1
}

/// A range that begins inside the file and ends there too.
fn inside(random: &mut Random, file_length: u64) -> (u64, u64) {
    let offset = random.below(file_length);
    (offset, length_of(random, file_length - offset))
}

/// `maps`: also through memory.
pub fn next(random: &mut Random, file_length: u64, maps: bool) -> Operation {
    match random.below(100) {
        0..8 if maps && file_length > 0 => {
            let (offset, length) = inside(random, file_length);
            Operation::MapWrite { offset, length }
        }
        8..16 if maps && file_length > 0 => {
            let (offset, length) = inside(random, file_length);
            Operation::MapRead { offset, length }
        }
        0..26 => {
            let offset = random.below(LENGTH_MAX - 1);
            // Half of them where something is.
            let offset = if random.below(2) == 0 { offset.min(file_length) } else { offset };
            Operation::Write { offset, length: length_of(random, LENGTH_MAX - offset) }
        }
        26..31 => {
            let offset = random.below(LENGTH_MAX - 1);
            let offset = if random.below(4) > 0 { offset.min(file_length) } else { offset };
            Operation::Punch { offset, length: length_of(random, LENGTH_MAX - offset) }
        }
        31..34 => {
            let offset = random.below(LENGTH_MAX - 1).min(file_length);
            let length = length_of(random, LENGTH_MAX - offset);
            Operation::Zero { offset, length, keeps_length: random.below(2) == 0 }
        }
        34..40 if file_length < LENGTH_MAX => {
            Operation::Append { length: length_of(random, LENGTH_MAX - file_length) }
        }
        40..47 => Operation::Truncate { length: random.below(LENGTH_MAX) },
        47..50 => Operation::Extend { length: random.below(LENGTH_MAX - 1) + 1 },
        50..56 => Operation::Fsync,
        56..60 => Operation::Reopen,
        60..68 => Operation::Stat,
        _ => {
            let offset = random.below(file_length + 4096);
            Operation::Read { offset, length: length_of(random, LENGTH_MAX) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_operation_comes_and_stays_inside() {
        for maps in [false, true] {
            let mut random = Random::new(1);
            let mut kinds = HashSet::new();
            for file_length in (0..20_000).map(|number| number * 7919 % (LENGTH_MAX + 1)) {
                let operation = next(&mut random, file_length, maps);
                kinds.insert(std::mem::discriminant(&operation));
                let (end, most) = match operation {
                    Operation::Write { offset, length }
                    | Operation::Punch { offset, length }
                    | Operation::Zero { offset, length, .. } => (offset + length, LENGTH_MAX),
                    Operation::Append { length } => (file_length + length, LENGTH_MAX),
                    Operation::Truncate { length } | Operation::Extend { length } => (length, LENGTH_MAX),
                    Operation::MapRead { offset, length } | Operation::MapWrite { offset, length } => {
                        assert!(length > 0);
                        (offset + length, file_length)
                    }
                    _ => (0, 0),
                };
                assert!(end <= most, "{operation:?} of {file_length}");
            }
            assert_eq!(kinds.len(), if maps { 12 } else { 10 });
        }
    }
}

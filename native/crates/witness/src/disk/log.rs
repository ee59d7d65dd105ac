//! What was done to the disk, in the order in which it was told done: records of a fixed head and, after a
//! write, its bytes.

use std::fs::File;
use std::io::{BufReader, Read, Result, Write};
use std::path::Path;

const WRITE: u64 = 1;
const FLUSH: u64 = 2;
const HEAD_BYTES: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// `place`: where its bytes stand in the log.
    Write { offset: u64, length: u64, place: u64, called_ns: u64, done_ns: u64 },
    /// Covers every write that was done when it was called.
    Flush { called_ns: u64, done_ns: u64 },
}

impl Record {
    pub fn done_ns(&self) -> u64 {
        match *self {
            Record::Write { done_ns, .. } | Record::Flush { done_ns, .. } => done_ns,
        }
    }
}

fn head(words: [u64; 5]) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    for (into, word) in bytes.chunks_exact_mut(8).zip(words) {
        into.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

pub fn append_write(log: &mut File, offset: u64, data: &[u8], called_ns: u64, done_ns: u64) -> Result<()> {
    log.write_all(&head([WRITE, offset, data.len() as u64, called_ns, done_ns]))?;
    log.write_all(data)
}

pub fn append_flush(log: &mut File, called_ns: u64, done_ns: u64) -> Result<()> {
    log.write_all(&head([FLUSH, 0, 0, called_ns, done_ns]))
}

/// All whole records; the writes' bytes stay in the file.
///
/// # Errors
/// The file cannot be read, or is no log.
pub fn read_log(path: &Path) -> Result<Vec<Record>> {
    let mut from = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut records, mut place) = (Vec::new(), 0);
    let mut bytes = [0; HEAD_BYTES];
    while from.read_exact(&mut bytes).is_ok() {
        let word =
            |index: usize| u64::from_le_bytes(bytes[index * 8..][..8].try_into().expect("eight bytes"));
        let (offset, length, called_ns, done_ns) = (word(1), word(2), word(3), word(4));
        place += HEAD_BYTES as u64;
        match word(0) {
            WRITE => {
                records.push(Record::Write { offset, length, place, called_ns, done_ns });
                place += length;
                from.seek_relative(length.cast_signed())?;
            }
            FLUSH => records.push(Record::Flush { called_ns, done_ns }),
            other => return Err(std::io::Error::other(format!("record {other} at {place}: this is no log"))),
        }
    }
    Ok(records)
}

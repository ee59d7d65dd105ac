//! The disk as a cut of the power leaves it.

use super::log::Record;
use crate::random::{Random, mix};
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;

/// A disk writes sectors whole.
const SECTOR_BYTES: u64 = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Nothing after this moment happened.
    pub at_ns: u64,
    /// Which of the unflushed writes are there, and of which only some sectors.
    pub seed: u64,
    /// Flushes within so long before the cut did nothing, as on a disk that lies; 0: an honest disk.
    pub flushes_ignored_ns: u64,
}

/// A moment between the two at which a write has just ended: at least that one is not flushed. None: nothing
/// was written then.
pub fn moment(records: &[Record], from_ns: u64, to_ns: u64, seed: u64) -> Option<u64> {
    let ends: Vec<u64> = records
        .iter()
        .filter(|record| matches!(record, Record::Write { .. }))
        .map(Record::done_ns)
        .filter(|done_ns| (from_ns..=to_ns).contains(done_ns))
        .collect();
    let index = Random::new(seed).below(ends.len().max(1) as u64) as usize;
    ends.get(index).copied()
}

/// What became of the writes that had begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// A flush covers them.
    pub flushed: usize,
    /// Not covered, and there by chance, whole or in part.
    pub kept: usize,
    pub lost: usize,
}

/// Makes an image, which holds zeros, into the disk after the cut.
///
/// # Errors
/// Those of the files.
pub fn cut(records: &[Record], log: &File, image: &File, how: Cut) -> Result<Outcome> {
    let honest_until = how.at_ns.saturating_sub(how.flushes_ignored_ns);
    let covers = |record: &Record| match *record {
        Record::Flush { called_ns, done_ns } if done_ns <= honest_until => Some(called_ns),
        _ => None,
    };
    let covered_ns = records.iter().filter_map(covers).max().unwrap_or(0);
    let mut random = Random::new(mix(how.seed) ^ how.at_ns);
    let lost_percent = random.below(101);
    let mut outcome = Outcome::default();
    // Records are in the order of their ends, and so are the writes here: of two unflushed writes to one
    // sector any subset may be there, and the later of those that are there is seen.
    for record in records {
        // A write that was under way at the cut may be there too.
        let Record::Write { offset, length, place, called_ns, done_ns } = *record else { continue };
        if called_ns > how.at_ns {
            continue;
        }
        let mut data = vec![0; length as usize];
        log.read_exact_at(&mut data, place)?;
        if done_ns <= covered_ns {
            outcome.flushed += 1;
            image.write_all_at(&data, offset)?;
            continue;
        }
        let torn = random.below(8) == 0;
        if !torn && random.below(100) < lost_percent {
            outcome.lost += 1;
            continue;
        }
        outcome.kept += 1;
        for (index, sector) in data.chunks(SECTOR_BYTES as usize).enumerate() {
            if !torn || random.below(2) == 0 {
                image.write_all_at(sector, offset + index as u64 * SECTOR_BYTES)?;
            }
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::super::log::{append_flush, append_write, read_log};
    use super::*;
    use std::collections::HashSet;

    /// One sector of a letter.
    fn sector(letter: u8) -> Vec<u8> {
        vec![letter; SECTOR_BYTES as usize]
    }

    /// Sector 0: `a` flushed, then `b`; sector 1: `c`, unflushed; sector 2: `d`, done only after the flush was
    /// called.
    fn recorded(folder: &std::path::Path) -> (Vec<Record>, File) {
        let path = folder.join("log");
        let mut log = File::create(&path).unwrap();
        append_write(&mut log, 0, &sector(b'a'), 1, 2).unwrap();
        append_write(&mut log, 1024, &sector(b'd'), 1, 4).unwrap();
        append_flush(&mut log, 3, 5).unwrap();
        append_write(&mut log, 0, &sector(b'b'), 6, 7).unwrap();
        append_write(&mut log, 512, &[sector(b'c'), sector(b'C')].concat(), 8, 9).unwrap();
        (read_log(&path).unwrap(), File::open(&path).unwrap())
    }

    fn states(at_ns: u64, flushes_ignored_ns: u64) -> HashSet<String> {
        let folder = tempfile::tempdir().unwrap();
        let (records, log) = recorded(folder.path());
        let one = |seed| {
            let path = folder.path().join("image");
            std::fs::write(&path, []).unwrap();
            let image = File::options().read(true).write(true).open(path).unwrap();
            image.set_len(4 * SECTOR_BYTES).unwrap();
            cut(&records, &log, &image, Cut { at_ns, seed, flushes_ignored_ns }).unwrap();
            let mut bytes = vec![0; 3 * SECTOR_BYTES as usize];
            image.read_exact_at(&mut bytes, 0).unwrap();
            bytes.chunks(SECTOR_BYTES as usize).map(|sector| sector[0].max(b'.') as char).collect::<String>()
        };
        (0..500).map(one).collect()
    }

    fn set(states: &[&str]) -> HashSet<String> {
        states.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn flushed_writes_are_there_and_others_in_any_part() {
        // `d` was not done when the flush was called, so the flush says nothing of it.
        assert_eq!(states(5, 0), set(&["a..", "a.d"]));
        assert_eq!(states(7, 0), set(&["a..", "a.d", "b..", "b.d"]));
        let all = ["a..", "a.d", "b..", "b.d", "ac.", "acd", "bc.", "bcd", "acC", "bcC", "a.C", "b.C"];
        assert_eq!(states(9, 0), set(&all), "torn in the middle too");
    }

    #[test]
    fn nothing_after_the_cut_is_there() {
        assert_eq!(states(0, 0), set(&["..."]));
        assert_eq!(states(5, 0), states(5, 0), "the same seed, the same disk");
    }

    #[test]
    fn a_moment_is_the_end_of_a_write() {
        let folder = tempfile::tempdir().unwrap();
        let (records, _) = recorded(folder.path());
        let moments = |from, to| -> HashSet<u64> {
            (0..100).filter_map(|seed| moment(&records, from, to, seed)).collect()
        };
        assert_eq!(moments(0, 100), HashSet::from([2, 4, 7, 9]));
        assert_eq!(moments(3, 8), HashSet::from([4, 7]));
        assert_eq!(moment(&records, 5, 6, 1), None);
    }

    #[test]
    fn a_disk_that_ignores_flushes_loses_what_it_promised() {
        assert!(states(9, 9).contains("..."), "flushed and lost");
        assert!(!states(9, 4).iter().any(|state| state.starts_with('.')), "the earlier flush counts");
    }
}

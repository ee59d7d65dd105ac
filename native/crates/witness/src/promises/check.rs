//! Compares what is there with what was promised before the cut.

use super::{BLOCK_BYTES, BLOCKS_PER_FILE, block_of};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Error, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// For words about a block that is not as it must be: no version's bytes stand in another by chance.
const PIECE_BYTES: usize = 16;

/// The page cache's.
const PAGE_BYTES: usize = 4096;

/// A file is one chunk: nothing but the kernel cuts a write in two.
const _: () = assert!(BLOCKS_PER_FILE as usize * BLOCK_BYTES <= 1 << 20);

/// How much of a block goes in a request of its own. The kernel (fs/fuse/file.c, fuse_fill_write_pages) ends a
/// request at the end of a page that is written in part and whose rest is not in the page cache: so the rest of
/// the page in which the write begins, and then, in one request, all that follows. Each is one update of one
/// chunk, which is there or not (P12); both together are not.
fn first_request_bytes(block: u64) -> usize {
    let start = block as usize * BLOCK_BYTES;
    start.next_multiple_of(PAGE_BYTES) - start
}

#[derive(Debug, Default)]
pub struct Checked {
    /// Blocks with a promise.
    pub blocks: u64,
    pub promises: u64,
    /// Blocks that hold more than was promised: begun, and there by chance.
    pub ahead: u64,
    /// Of these, blocks that hold parts of the promised version and of later ones.
    pub torn: u64,
    pub broken: Vec<Broken>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub file: String,
    pub block: u64,
    pub what: String,
}

#[derive(Default)]
struct Versions {
    promised: u64,
    begun: u64,
}

/// # Errors
/// The log cannot be read.
pub fn check(folder: &Path, log: &Path, cut_ns: u64) -> Result<Checked> {
    let mut checked = Checked::default();
    let mut blocks: BTreeMap<(String, u64), Versions> = BTreeMap::new();
    for line in BufReader::new(File::open(log)?).lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let [what, file, block, version, at_ns] = words[..] else { continue };
        let number = |text: &str| text.parse::<u64>().map_err(|_| Error::other(format!("no number: {line}")));
        if number(at_ns)? > cut_ns {
            continue;
        }
        let versions = blocks.entry((file.into(), number(block)?)).or_default();
        match what {
            "promised" => {
                versions.promised = number(version)?;
                checked.promises += 1;
            }
            _ => versions.begun = number(version)?,
        }
    }
    for ((file, block), versions) in blocks.iter().filter(|(_, versions)| versions.promised > 0) {
        checked.blocks += 1;
        match read_versions(folder, file, *block, versions) {
            Ok(found) => {
                checked.ahead += u64::from(found != [versions.promised]);
                checked.torn += u64::from(found.len() > 1);
            }
            Err(what) => checked.broken.push(Broken { file: file.clone(), block: *block, what }),
        }
    }
    Ok(checked)
}

/// The versions that are there, of the first request and of the second: each at least the promised one, at most
/// the last that was begun. Without an fsync nobody promised that the whole write is there, but what is of the
/// second request came after the first one.
fn read_versions(
    folder: &Path,
    name: &str,
    block: u64,
    versions: &Versions,
) -> std::result::Result<Vec<u64>, String> {
    let file = File::open(folder.join(name)).map_err(|error| error.to_string())?;
    let mut got = vec![0; BLOCK_BYTES];
    file.read_exact_at(&mut got, block * BLOCK_BYTES as u64).map_err(|error| error.to_string())?;
    let Versions { promised, begun } = *versions;
    let allowed: Vec<_> =
        (promised..=begun).map(|version| (version, block_of(name, block, version))).collect();
    let first = first_request_bytes(block);
    let requests = [0..first, first..BLOCK_BYTES];
    let mut found = Vec::new();
    for request in requests.into_iter().filter(|request| !request.is_empty()) {
        let same = |(_, bytes): &&(u64, Vec<u8>)| bytes[request.clone()] == got[request.clone()];
        match allowed.iter().find(same) {
            Some((version, _)) if found.last().is_none_or(|before| version <= before) => found.push(*version),
            _ => {
                let parts = parts_of(&got, name, block, begun);
                return Err(format!("holds {parts}; version {promised} was promised, {begun} begun"));
            }
        }
    }
    found.dedup();
    Ok(found)
}

/// What stands where, in words: `0..4192 version 2, 4192..12000 zeros`.
fn parts_of(got: &[u8], name: &str, block: u64, begun: u64) -> String {
    let versions: Vec<(String, Vec<u8>)> =
        (1..=begun).map(|version| (format!("version {version}"), block_of(name, block, version))).collect();
    let name_of = |from: usize| {
        let piece = &got[from..(from + PIECE_BYTES).min(got.len())];
        let found = versions.iter().find(|(_, bytes)| bytes[from..].starts_with(piece));
        match found {
            Some((name, _)) => name.clone(),
            None if piece.iter().all(|&byte| byte == 0) => "zeros".into(),
            None => "something else".into(),
        }
    };
    let mut parts: Vec<(usize, String)> = Vec::new();
    for from in (0..got.len()).step_by(PIECE_BYTES) {
        let name = name_of(from);
        if parts.last().is_none_or(|(_, last)| *last != name) {
            parts.push((from, name));
        }
    }
    let ends = parts.iter().skip(1).map(|(from, _)| *from).chain([got.len()]);
    let told: Vec<_> =
        parts.iter().zip(ends).map(|((from, name), to)| format!("{from}..{to} {name}")).collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::{WriterOptions, write};
    use super::*;
    use std::time::Duration;

    #[test]
    fn kept_promises_pass_and_each_broken_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let options = WriterOptions {
            folder: folder.path().into(),
            log: log.clone(),
            seed: 4,
            lanes: 2,
            duration: Duration::from_millis(300),
        };
        let promises = write(&options).unwrap();
        let found = check(folder.path(), &log, u64::MAX).unwrap();
        assert_eq!((found.promises, found.broken.len(), found.ahead), (promises, 0, 0));
        assert!(found.blocks > 2);

        let text = std::fs::read_to_string(&log).unwrap();
        let last = text.lines().rfind(|line| line.starts_with("promised lane-0")).unwrap();
        let words: Vec<&str> = last.split(' ').collect();
        let (name, block) = (words[1], words[2].parse::<u64>().unwrap());
        let path = folder.path().join(name);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0; BLOCK_BYTES], block * BLOCK_BYTES as u64).unwrap();
        let found = check(folder.path(), &log, u64::MAX).unwrap();
        assert_eq!(found.broken.len(), 1);
        assert!(found.broken[0].what.starts_with("holds 0..12000 zeros;"), "{}", found.broken[0].what);
        file.write_all_at(b"x", block * BLOCK_BYTES as u64 + 9_008).unwrap();
        let found = check(folder.path(), &log, u64::MAX).unwrap();
        let what = &found.broken[0].what;
        assert!(what.contains("0..9008 zeros, 9008..9024 something else, 9024..12000 zeros"), "{what}");
        std::fs::remove_file(path).unwrap();
        assert!(!check(folder.path(), &log, u64::MAX).unwrap().broken.is_empty(), "a lost file");
        assert_eq!(check(folder.path(), &log, 0).unwrap().blocks, 0, "nothing was promised before the cut");
    }

    #[test]
    fn what_was_begun_may_be_there_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "begun f 0 1 10\npromised f 0 1 20\nbegun f 0 2 30\n").unwrap();
        for (version, broken, ahead) in [(1, 0, 0), (2, 0, 1), (3, 1, 0)] {
            std::fs::write(folder.path().join("f"), block_of("f", 0, version)).unwrap();
            let found = check(folder.path(), &log, 40).unwrap();
            assert_eq!((found.broken.len(), found.ahead), (broken, ahead), "version {version}");
        }
        std::fs::write(folder.path().join("f"), block_of("f", 0, 2)).unwrap();
        assert_eq!(
            check(folder.path(), &log, 25).unwrap().broken.len(),
            1,
            "version 2 was begun after the cut"
        );
    }
    #[test]
    fn a_write_may_be_cut_where_the_kernel_cuts_it_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let name_and_block = "f 1";
        std::fs::write(&log, format!("promised {name_and_block} 1 20\nbegun {name_and_block} 2 30\n"))
            .unwrap();
        // Block 1 begins 3,808 bytes into a page; block 0 at one, and goes in one request.
        assert_eq!((first_request_bytes(0), first_request_bytes(1)), (0, 288));
        let [old, new] = [1, 2].map(|version| block_of("f", 1, version));
        for (begins, ends, at, broken, torn) in [
            (&new, &old, 288, 0, 1),
            (&old, &new, 288, 1, 0),
            (&new, &old, 287, 1, 0),
            (&new, &old, 4384, 1, 0),
            (&old, &new, 11_984, 1, 0),
            (&new, &new, 288, 0, 0),
            (&old, &old, 288, 0, 0),
        ] {
            let block = [&begins[..at], &ends[at..]].concat();
            std::fs::write(folder.path().join("f"), [vec![0; BLOCK_BYTES], block].concat()).unwrap();
            let found = check(folder.path(), &log, 40).unwrap();
            assert_eq!((found.broken.len(), found.torn), (broken, torn), "cut at {at}: {:?}", found.broken);
        }
        std::fs::write(&log, "promised f 0 1 20\nbegun f 0 2 30\n").unwrap();
        let [old, new] = [1, 2].map(|version| block_of("f", 0, version));
        std::fs::write(folder.path().join("f"), [&new[..4096], &old[4096..]].concat()).unwrap();
        assert_eq!(check(folder.path(), &log, 40).unwrap().broken.len(), 1, "one request");
    }
}

//! Compares what is there with what was promised before the cut.

use super::{BLOCK_BYTES, block_of};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Error, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;

#[derive(Debug, Default)]
pub struct Checked {
    /// Blocks with a promise.
    pub blocks: u64,
    pub promises: u64,
    /// Blocks that hold more than was promised: begun, and there by chance.
    pub ahead: u64,
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
        match read_version(folder, file, *block, versions) {
            Ok(version) => checked.ahead += u64::from(version > versions.promised),
            Err(what) => checked.broken.push(Broken { file: file.clone(), block: *block, what }),
        }
    }
    Ok(checked)
}

/// The version that is there, at least the promised one, at most the last that was begun.
fn read_version(
    folder: &Path,
    name: &str,
    block: u64,
    versions: &Versions,
) -> std::result::Result<u64, String> {
    let file = File::open(folder.join(name)).map_err(|error| error.to_string())?;
    let mut got = vec![0; BLOCK_BYTES];
    file.read_exact_at(&mut got, block * BLOCK_BYTES as u64).map_err(|error| error.to_string())?;
    let Versions { promised, begun } = versions;
    if let Some(version) = (*promised..=*begun).find(|&version| block_of(name, block, version) == got) {
        return Ok(version);
    }
    let old = (1..*promised).find(|&version| block_of(name, block, version) == got);
    let holds = match old {
        Some(version) => format!("version {version}"),
        None if got.iter().all(|&byte| byte == 0) => "zeros".into(),
        None => {
            let wanted = block_of(name, block, *promised);
            let at = got.iter().zip(&wanted).position(|(have, want)| have != want).unwrap_or(0);
            format!("something else from byte {at} on")
        }
    };
    Err(format!("holds {holds}; version {promised} was promised, {begun} begun"))
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
        assert!(found.broken[0].what.starts_with("holds zeros"), "{}", found.broken[0].what);
        file.write_all_at(b"x", block * BLOCK_BYTES as u64 + 9_000).unwrap();
        let found = check(folder.path(), &log, u64::MAX).unwrap();
        assert!(found.broken[0].what.contains("from byte 0 on"), "{}", found.broken[0].what);
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
}

//! Long runs: a range of seeds in steps, each a line of a results file. A run that was ended goes on where
//! the file ends.

use crate::options::Options;
use crate::say;
use crate::totals::Totals;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Seeds of one line: about half a minute, so that an end loses little.
const STEP: u64 = 5000;

/// The seed after the last recorded one of this range.
fn resume(file: &Path, (first, last): (u64, u64)) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let field = |line: &str, name: &str| -> Option<u64> {
        let rest = line.split_once(&format!("\"{name}\":"))?.1;
        rest.split([',', '}']).next()?.trim().parse().ok()
    };
    let ends = text.lines().filter_map(|line| Some((field(line, "first")?, field(line, "last")?)));
    let within = ends.filter(|(from, to)| *from >= first && *to <= last);
    within.map(|(_, to)| to).max().unwrap_or(first)
}

/// What was built; `+` if files differ from it.
fn commit() -> String {
    let git = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", "native"]);
    let mark = if changed.is_none_or(|changed| changed.is_empty()) { "" } else { "+" };
    git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into()) + mark
}

fn line(commit: &str, totals: &Totals, kept: bool) -> String {
    format!(
        "{{\"commit\":\"{commit}\",\"first\":{},\"last\":{},\"events\":{},\"operations\":{},\"faults\":{},\
         \"undecided\":{},\"cpuSeconds\":{:.1},\"hash\":\"{:016x}\",\"kept\":{kept}}}",
        totals.first,
        totals.last,
        totals.events,
        totals.operations,
        totals.faults,
        totals.undecided,
        totals.seconds(),
        totals.hash,
    )
}

pub fn run(options: &Options, range: (u64, u64), file: &Path) -> bool {
    let commit = commit();
    let mut first = resume(file, range);
    while first < range.1 {
        let last = range.1.min(first + STEP);
        let (kept, totals) = crate::run(options, first, |seed, _| seed >= last);
        let line = line(&commit, &totals, kept);
        say(&line);
        let appended = OpenOptions::new().create(true).append(true).open(file);
        if let Err(error) = appended.and_then(|mut file| writeln!(file, "{line}")) {
            say(&format!("{} cannot be written: {error}", file.display()));
            return false;
        }
        if !kept {
            return false;
        }
        first = last;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_behind_its_last_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("seeds.jsonl");
        assert_eq!(resume(&file, (100, 900)), 100);
        let ended = |first, last| {
            let mut totals = Totals::new(first);
            totals.last = last;
            totals
        };
        let totals = ended(100, 300);
        let other = ended(1000, 5000);
        let text = format!("{}\n{}\n", line("abc", &totals, true), line("abc", &other, true));
        std::fs::write(&file, text).expect("written");
        assert_eq!(resume(&file, (100, 900)), 300);
        assert_eq!(resume(&file, (1000, 9000)), 5000);
        assert_eq!(resume(&file, (9000, 9900)), 9000);
    }
}

//! A history as text: a head line, then one operation a line, in any order:
//! `r|w REGISTER VALUE CALLED_NS RETURNED_NS|-`. A failed history is evidence that people read.

use super::{Kind, Operation, Violation, check};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Error, ErrorKind, Result, Write};
use std::path::Path;

const HEAD: &str = "catena history 1";
/// Operations that are checked at once, 48 bytes each; a longer history is read several times, each time for
/// a part of its registers.
const OPERATIONS_MAX: usize = 4 << 20;

pub struct HistoryFile {
    to: BufWriter<File>,
}

impl HistoryFile {
    /// # Errors
    /// Those of the file system.
    pub fn create(path: &Path) -> Result<Self> {
        let mut to = BufWriter::new(File::create(path)?);
        writeln!(to, "{HEAD}")?;
        Ok(HistoryFile { to })
    }

    /// # Errors
    /// Those of the file system.
    pub fn write(&mut self, operation: &Operation) -> Result<()> {
        let Operation { register, kind, value, called_ns, returned_ns } = operation;
        let kind = if *kind == Kind::Read { 'r' } else { 'w' };
        match returned_ns {
            Some(returned_ns) => writeln!(self.to, "{kind} {register} {value} {called_ns} {returned_ns}"),
            None => writeln!(self.to, "{kind} {register} {value} {called_ns} -"),
        }
    }

    /// # Errors
    /// Those of the file system.
    pub fn finish(mut self) -> Result<()> {
        self.to.flush()
    }
}

/// The number of operations, and what is wrong with them.
///
/// # Errors
/// The file cannot be read, or is no history.
pub fn check_file(path: &Path) -> Result<(usize, Vec<Violation>)> {
    let mut total: usize = 0;
    for_each(path, |_| total += 1)?;
    let passes = u32::try_from(total.div_ceil(OPERATIONS_MAX)).unwrap_or(u32::MAX);
    let mut violations = Vec::new();
    for pass in 0..passes {
        let mut part = Vec::new();
        for_each(path, |operation| {
            if operation.register % passes == pass {
                part.push(operation);
            }
        })?;
        violations.extend(check(&part));
    }
    Ok((total, violations))
}

fn for_each(path: &Path, mut see: impl FnMut(Operation)) -> Result<()> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    for (index, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line = line?;
        if index == 0 {
            if line != HEAD {
                return Err(invalid(format!("is no history: it does not start with '{HEAD}'")));
            }
            continue;
        }
        see(parse(&line).ok_or_else(|| invalid(format!("line {}: '{line}' is no operation", index + 1)))?);
    }
    Ok(())
}

fn parse(line: &str) -> Option<Operation> {
    let mut words = line.split(' ');
    let kind = match words.next()? {
        "r" => Kind::Read,
        "w" => Kind::Write,
        _ => return None,
    };
    let register = words.next()?.parse().ok()?;
    let value = words.next()?.parse().ok()?;
    let called_ns = words.next()?.parse().ok()?;
    let returned_ns = match words.next()? {
        "-" => None,
        text => Some(text.parse().ok()?),
    };
    words.next().is_none().then_some(Operation { register, kind, value, called_ns, returned_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let one = |kind, value, called_ns, returned_ns| Operation {
            register: 3,
            kind,
            value,
            called_ns,
            returned_ns,
        };
        let mut history = HistoryFile::create(&path).unwrap();
        history.write(&one(Kind::Write, 1, 10, Some(20))).unwrap();
        history.write(&one(Kind::Write, 2, 30, None)).unwrap();
        history.write(&one(Kind::Read, 0, 40, Some(50))).unwrap();
        history.finish().unwrap();
        let (total, violations) = check_file(&path).unwrap();
        assert_eq!((total, violations.len()), (3, 1));
        assert!(violations[0].to_string().starts_with("register 3:"), "{}", violations[0]);
    }

    #[test]
    fn no_history_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        for (text, sentence) in [("hello\n", "is no history"), ("catena history 1\nr 1 2\n", "line 2")] {
            std::fs::write(&path, text).unwrap();
            let error = check_file(&path).unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
    }
}

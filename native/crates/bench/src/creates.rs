//! How fast one process creates files: open(O_CREAT | O_EXCL) and close, one after another, in a folder of
//! its own.

use crate::driver::cpu_time;
use crate::histogram::Histogram;
use crate::report::Report;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};
use wire::{Code, Error, Result};

/// Creates empty files in `folder`/creates until `runtime` is over, then removes them all, unmeasured.
///
/// # Errors
/// When the folder cannot be made (`Exists` if a run was interrupted: remove it), or a create fails.
pub fn create_files(folder: &Path, runtime: Duration) -> Result<Report> {
    let place = folder.join("creates");
    let failed = |error: std::io::Error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let code = if exists { Code::Exists } else { Code::Io };
        Error::new(code, format!("{}: {error}", place.display()))
    };
    std::fs::create_dir(&place).map_err(failed)?;
    let mut latencies = Histogram::new();
    let (cpu, started) = (cpu_time(), Instant::now());
    while started.elapsed() < runtime {
        let begun = Instant::now();
        drop(File::create_new(place.join(format!("{}", latencies.count()))).map_err(failed)?);
        latencies.record(begun.elapsed().as_nanos() as u64);
    }
    let (elapsed, cpu) = (started.elapsed(), cpu_time().saturating_sub(cpu));
    std::fs::remove_dir_all(&place).map_err(failed)?;
    Ok(Report {
        operations: latencies.count(),
        bytes: 0,
        elapsed,
        errors: 0,
        first_error: String::new(),
        verified_bytes: 0,
        cpu,
        latencies,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_created_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let report = create_files(folder.path(), Duration::from_millis(50)).unwrap();
        assert!(report.operations > 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::create_dir(folder.path().join("creates")).unwrap();
        assert_eq!(create_files(folder.path(), Duration::ZERO).err().unwrap().code, Code::Exists);
    }
}

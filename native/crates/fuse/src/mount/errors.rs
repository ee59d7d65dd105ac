//! From the one error table to errno, and a log line for what an administrator should see.

use parking_lot::Mutex;
use rustix::io::Errno;
use std::time::{Duration, Instant};
use wire::{Code, Error};

/// A file system in trouble fails thousands of times a second for the same reason.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Troubles {
    /// When a line was written last, and how many were left out since.
    last: Mutex<(Option<Instant>, u64)>,
}

impl Troubles {
    pub fn errno(&self, operation: &'static str, error: &Error) -> Errno {
        let errno = errno(error.code);
        if matches!(errno, Errno::IO | Errno::PROTO | Errno::AGAIN) {
            self.report(operation, error);
        }
        errno
    }

    fn report(&self, operation: &'static str, error: &Error) {
        let mut last = self.last.lock();
        if last.0.is_some_and(|at| at.elapsed() < PERIOD) {
            last.1 += 1;
            return;
        }
        let left_out = std::mem::take(&mut last.1);
        last.0 = Some(Instant::now());
        drop(last);
        log::warn!(target: "mount", operation, code = error.code.name(), error:%, left_out; "operation.failed");
    }
}

/// By the name in the table. A test shows that every name there is known here.
fn errno(code: Code) -> Errno {
    named(code.errno_name()).unwrap_or(Errno::IO)
}

fn named(name: &str) -> Option<Errno> {
    Some(match name {
        "ENOENT" => Errno::NOENT,
        "EEXIST" => Errno::EXIST,
        "ENOTDIR" => Errno::NOTDIR,
        "EISDIR" => Errno::ISDIR,
        "ENOTEMPTY" => Errno::NOTEMPTY,
        "EACCES" => Errno::ACCESS,
        "EPERM" => Errno::PERM,
        "EINVAL" => Errno::INVAL,
        "ENAMETOOLONG" => Errno::NAMETOOLONG,
        "EMLINK" => Errno::MLINK,
        "EFBIG" => Errno::FBIG,
        "ENOSPC" => Errno::NOSPC,
        "EDQUOT" => Errno::DQUOT,
        "EROFS" => Errno::ROFS,
        "ESTALE" => Errno::STALE,
        "EXDEV" => Errno::XDEV,
        "ENODATA" => Errno::NODATA,
        "EOPNOTSUPP" => Errno::OPNOTSUPP,
        "EBADF" => Errno::BADF,
        "ELOOP" => Errno::LOOP,
        "EIO" => Errno::IO,
        "EINTR" => Errno::INTR,
        "EBUSY" => Errno::BUSY,
        "EAGAIN" => Errno::AGAIN,
        "EPROTO" => Errno::PROTO,
        "ENOMEM" => Errno::NOMEM,
        "ENOTTY" => Errno::NOTTY,
        "ECANCELED" => Errno::CANCELED,
        "ENOLCK" => Errno::NOLCK,
        "EDEADLK" => Errno::DEADLK,
        "ETXTBSY" => Errno::TXTBSY,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_of_the_table_is_known() {
        // Numbers are below 256; those that no row has read as Internal.
        for number in 1..256 {
            let code = Code::from_number(number);
            assert!(named(code.errno_name()).is_some(), "{}: {}", code.name(), code.errno_name());
        }
        assert_eq!(errno(Code::NotFound), Errno::NOENT);
        assert_eq!(errno(Code::Interrupted), Errno::INTR);
        assert_eq!(errno(Code::TimedOut), Errno::IO);
    }
}

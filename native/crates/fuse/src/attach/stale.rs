//! A mount whose process died answers every call with ENOTCONN ("Transport endpoint is not connected") until
//! somebody unmounts it. The next start does.

use super::fusermount;
use super::mount_table;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use wire::{Code, Error, Result};

/// Mounts stacked on one point are dead ones of earlier starts; more than this many is something else.
const LAYERS_MAX: usize = 16;

/// A living file system answers sooner, even a loaded one; one that does not is not ours to remove.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removes dead FUSE mounts from `mount_point`. Whatever answers, or is no FUSE mount, stays.
pub fn clear_stale(mount_point: &Path) -> Result<()> {
    // The dead mount itself cannot be resolved, its parent can.
    let absolute = std::path::absolute(mount_point).unwrap_or_else(|_| mount_point.to_path_buf());
    let path = match (absolute.parent().map(Path::canonicalize), absolute.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => absolute,
    };
    for _ in 0..LAYERS_MAX {
        let fuse = mount_table::find(&path)?.is_some_and(|mounted| mounted.is_fuse());
        if !fuse || !is_dead(&path) {
            return Ok(());
        }
        log::warn!(target: "fuse", path = path.display().to_string().as_str(); "mount.stale");
        let detached = if rustix::process::geteuid().is_root() {
            rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        } else {
            fusermount::unmount(&path, true)
        };
        detached.map_err(|errno| {
            let text = format!("a dead mount is on {0}: {errno}; remove it: umount -l {0}", path.display());
            Error::new(Code::AlreadyRunning, text)
        })?;
    }
    Err(Error::new(Code::AlreadyRunning, format!("{} carries too many dead mounts", path.display())))
}

/// Asks on another thread: a mount that is stuck must not stop us.
fn is_dead(path: &Path) -> bool {
    let (sender, receiver) = mpsc::channel();
    let path: PathBuf = path.to_path_buf();
    let asked = std::thread::Builder::new().spawn(move || {
        let _ = sender.send(rustix::fs::stat(&path).err());
    });
    asked.is_ok() && matches!(receiver.recv_timeout(PATIENCE), Ok(Some(Errno::NOTCONN | Errno::CONNABORTED)))
}

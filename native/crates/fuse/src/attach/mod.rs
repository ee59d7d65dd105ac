//! The mount point: mount(2) as root, `fusermount3` otherwise; read-ahead; unmounting; mounts left by a dead
//! process. It never touches a mount that answers.

mod fusermount;
mod mount_table;
mod stale;

pub use stale::clear_stale;

use crate::session::open_device;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wire::{Code, Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMethod {
    /// Direct as root, else through the helper.
    Automatic,
    Direct,
    /// `fusermount3`, which is set-user-id root.
    Helper,
}

#[derive(Clone, Debug)]
pub struct AttachOptions {
    pub mount_point: PathBuf,
    /// Shown as the device in mount(8) and df(1).
    pub source: String,
    /// Other users than the one who mounts may use it; always with the kernel checking permissions.
    pub allow_other: bool,
    pub read_only: bool,
    pub method: AttachMethod,
}

impl AttachOptions {
    /// As root, everybody may use the mount.
    pub fn new(mount_point: impl Into<PathBuf>) -> Self {
        AttachOptions {
            mount_point: mount_point.into(),
            source: "catena".into(),
            allow_other: rustix::process::geteuid().is_root(),
            read_only: false,
            method: AttachMethod::Automatic,
        }
    }

    /// The options that mount(2) and the helper have in common.
    fn common(&self) -> String {
        let mut text = format!("max_read={}", crate::session::REQUEST_BYTES_MAX);
        if self.allow_other {
            text += ",allow_other";
        }
        text + ",default_permissions"
    }
}

/// A mounted mount point.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Absolute, as the kernel lists it.
    path: PathBuf,
    /// "major:minor", if the kernel listed it.
    device: Option<String>,
    helper: bool,
}

pub fn attach(options: &AttachOptions) -> Result<(OwnedFd, Attached)> {
    clear_stale(&options.mount_point)?;
    let shown = options.mount_point.display();
    let path = options.mount_point.canonicalize().map_err(|error| {
        Error::new(Code::BadConfig, format!("mount point {shown}: {error}; create the directory first"))
    })?;
    if !path.is_dir() {
        return Err(Error::new(Code::BadConfig, format!("mount point {shown} is not a directory")));
    }
    if mount_table::find(&path)?.is_some_and(|mounted| mounted.is_fuse()) {
        let text = format!("{shown} is a FUSE mount already; unmount it first: umount {}", path.display());
        return Err(Error::new(Code::AlreadyRunning, text));
    }
    let helper = match options.method {
        AttachMethod::Automatic => !rustix::process::geteuid().is_root(),
        AttachMethod::Direct => false,
        AttachMethod::Helper => true,
    };
    let fd = if helper { fusermount::mount(options, &path)? } else { mount_directly(options, &path)? };
    let device = mount_table::find(&path)?.map(|mounted| mounted.device);
    Ok((fd, Attached { path, device, helper }))
}

fn mount_directly(options: &AttachOptions, path: &Path) -> Result<OwnedFd> {
    let fd = open_device().map_err(|errno| {
        let hint = match errno {
            Errno::NOENT => "load the kernel module: modprobe fuse; in a container: --device /dev/fuse",
            Errno::ACCESS | Errno::PERM => "in a container: --device /dev/fuse --cap-add SYS_ADMIN",
            _ => "is the kernel's FUSE support there?",
        };
        Error::new(Code::Io, format!("/dev/fuse: {errno}; {hint}"))
    })?;
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},{}",
        fd.as_fd().as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
        options.common()
    );
    let data = CString::new(data).expect("options have no zero byte");
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::RDONLY, options.read_only);
    rustix::mount::mount(&options.source, path, "fuse.catena", flags, &*data).map_err(|errno| {
        let hint = if errno == Errno::PERM { "; mounting needs root or CAP_SYS_ADMIN" } else { "" };
        Error::new(Code::NotPermitted, format!("mount {}: {errno}{hint}", path.display()))
    })?;
    Ok(fd)
}

impl Attached {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel reads ahead 128 KiB unless the mount's device says otherwise; only root may say so.
    pub fn set_readahead(&self, bytes: u32) {
        let Some(device) = &self.device else { return };
        let file = format!("/sys/class/bdi/{device}/read_ahead_kb");
        if let Err(error) = std::fs::write(&file, (bytes / 1024).to_string()) {
            log::info!(target: "fuse", file = file.as_str(), error = error.to_string().as_str();
                "readahead.unchanged");
        }
    }

    /// Unmounts; if it is still in use at `deadline`, aborts its connection and detaches it.
    pub fn detach(&self, deadline: Instant) -> Result<()> {
        loop {
            let unmounted = if self.helper {
                fusermount::unmount(&self.path, false)
            } else {
                rustix::mount::unmount(&self.path, UnmountFlags::NOFOLLOW)
            };
            match unmounted {
                // EINVAL: no mount there, somebody was faster.
                Ok(()) | Err(Errno::INVAL) => return Ok(()),
                Err(Errno::BUSY) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(Errno::BUSY) => {
                    log::warn!(target: "fuse", path = self.path.display().to_string().as_str();
                        "unmount.forced");
                    return self.detach_now();
                }
                Err(errno) => {
                    return Err(Error::new(Code::Io, format!("umount {}: {errno}", self.path.display())));
                }
            }
        }
    }

    /// Takes the mount out of the tree at once; calls on files that are still open fail.
    pub fn detach_now(&self) -> Result<()> {
        let detached = if self.helper {
            fusermount::unmount(&self.path, true)
        } else {
            let flags = UnmountFlags::FORCE | UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            rustix::mount::unmount(&self.path, flags)
        };
        match detached {
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(Error::new(Code::Io, format!("umount {}: {errno}", self.path.display()))),
        }
    }

    /// Ends the connection itself, where the kernel's control files are mounted.
    pub fn abort(&self) {
        let minor = self.device.as_deref().and_then(|device| device.split(':').nth(1));
        if let Some(minor) = minor {
            let _ = std::fs::write(format!("/sys/fs/fuse/connections/{minor}/abort"), "1");
        }
    }
}

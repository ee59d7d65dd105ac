//! `fusermount3`: mounts for users that are not root, and hands over the descriptor of /dev/fuse through a
//! socket.

use super::AttachOptions;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::{Command, Stdio};
use wire::{Code, Error, Result};

const PROGRAM: &str = "fusermount3";

pub fn mount(options: &AttachOptions, path: &Path) -> Result<OwnedFd> {
    let failed = |error: &dyn std::fmt::Display| {
        let text = format!("{PROGRAM}: {error}; install it (apt-get install fuse3) or mount as root");
        Error::new(Code::NotPermitted, text)
    };
    let kind = SocketType::STREAM;
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(|errno| failed(&errno))?;
    // Only this end crosses exec.
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).map_err(|errno| failed(&errno))?;
    let access = if options.read_only { "ro" } else { "rw" };
    let text = format!("{access},nosuid,nodev,fsname={},subtype=catena,{}", options.source, options.common());
    let output = Command::new(PROGRAM)
        .args(["-o", &text, "--"])
        .arg(path)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| failed(&error))?;
    drop(theirs);
    if !output.status.success() {
        return Err(failed(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    receive_descriptor(&ours).map_err(|errno| failed(&errno))
}

fn receive_descriptor(socket: &OwnedFd) -> std::result::Result<OwnedFd, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    received.ok_or(Errno::BADF)
}

/// EBUSY whenever it fails: the helper's reasons are only text.
pub fn unmount(path: &Path, lazy: bool) -> std::result::Result<(), Errno> {
    let mut command = Command::new(PROGRAM);
    command.args(["-u", "-q"]);
    if lazy {
        command.arg("-z");
    }
    let status = command.arg("--").arg(path).stdin(Stdio::null()).status().map_err(|_| Errno::NOENT)?;
    if status.success() { Ok(()) } else { Err(Errno::BUSY) }
}

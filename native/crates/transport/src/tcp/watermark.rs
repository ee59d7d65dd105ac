//! How many bytes must lie in a socket before its reader is woken. Large payloads come in pieces of up to 64 KiB, and
//! a wake-up for each of them costs as much as the copy of its bytes.
#![allow(unsafe_code)]

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Bytes that a reader of a large payload waits for at a time. The kernel wakes it earlier when the socket can take no
/// more, and at its end. More than this gains nothing, and would make the kernel enlarge its buffers.
pub(super) const WAIT_BYTES: usize = 64 << 10;

/// Wakes the reader of `socket` for that many bytes, and not for fewer. Who waits for less than these must set it to
/// 1 before, or waits until its peer says more.
///
/// # Errors
/// Those of `setsockopt(2)`.
pub(super) fn wake_for(socket: &TcpStream, bytes: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).expect("a watermark is small");
    // SAFETY: the kernel reads one `c_int` from the pointer, which is valid for the call, and keeps nothing of it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

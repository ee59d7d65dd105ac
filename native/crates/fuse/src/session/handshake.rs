//! INIT: what this side asks for, out of what the kernel offers.

use super::channel::Channel;
use crate::protocol::abi::{self, init};
use crate::protocol::{Arguments, Opcode};
use rustix::io::Errno;
use std::io::IoSlice;
use zerocopy::IntoBytes;

/// 1 MiB requests: the kernel's own limit without a raised `max_pages_limit`.
pub const PAGES_MAX: u16 = 256;
pub const REQUEST_BYTES_MAX: u32 = 1 << 20;

/// Background requests (read-ahead, direct I/O) in the air: 128 MiB at most, enough to keep three servers'
/// disks busy.
const BACKGROUND_MAX: u16 = 128;

/// `POSIX_LOCKS` and `FLOCK_LOCKS` are absent so that the kernel keeps locks itself; `WRITEBACK_CACHE` is
/// absent because with it the kernel would own sizes and times (P22).
const WANTED: u64 = init::ASYNC_READ
    | init::ATOMIC_O_TRUNC
    | init::BIG_WRITES
    | init::AUTO_INVALIDATE_DATA
    | init::READDIRPLUS
    | init::READDIRPLUS_AUTO
    | init::ASYNC_DIRECT_IO
    | init::PARALLEL_DIRECTORY_OPERATIONS
    | init::ABORT_ERROR
    | init::MAX_PAGES
    | init::HANDLE_KILLPRIV_V2
    | init::EXTENDED
    | init::EXPIRE_ONLY
    | init::DIRECT_IO_ALLOW_MMAP;

#[derive(Clone, Copy, Debug)]
pub struct Negotiated {
    pub kernel_minor: u32,
    /// Features (`abi::init`) that both sides have.
    pub features: u64,
    pub request_bytes_max: u32,
}

/// Answers INIT, which the kernel sends first.
pub fn shake_hands(channel: &dyn Channel, readahead_bytes: u32) -> Result<Negotiated, Errno> {
    let mut buffer = vec![0; buffer_bytes()];
    loop {
        let length = channel.receive(&mut buffer)?;
        let mut arguments = Arguments::new(&buffer[..length]);
        let header: abi::InHeader = arguments.take()?;
        let kernel: abi::InitIn = arguments.take()?;
        if header.opcode != Opcode::Init as u32 || kernel.major < abi::MAJOR {
            send(channel, header.unique, -Errno::PROTO.raw_os_error(), &[])?;
            return Err(Errno::PROTO);
        }
        if kernel.major > abi::MAJOR {
            // The kernel takes our major version and asks again.
            let out = abi::InitOut { major: abi::MAJOR, minor: abi::MINOR, ..Default::default() };
            send(channel, header.unique, 0, out.as_bytes())?;
            continue;
        }
        let extended = kernel.flags & init::EXTENDED as u32 != 0;
        let flags2 = if extended { arguments.take::<u32>()? } else { 0 };
        let offered = u64::from(kernel.flags) | u64::from(flags2) << 32;
        let features = offered & WANTED;
        let pages = if features & init::MAX_PAGES != 0 { PAGES_MAX } else { 32 };
        let out = abi::InitOut {
            major: abi::MAJOR,
            minor: kernel.minor.min(abi::MINOR),
            readahead_max: readahead_bytes,
            flags: features as u32,
            background_max: BACKGROUND_MAX,
            congestion_threshold: BACKGROUND_MAX / 4 * 3,
            write_max: u32::from(pages) * 4096,
            time_granularity: 1,
            pages_max: pages,
            flags2: (features >> 32) as u32,
            ..Default::default()
        };
        send(channel, header.unique, 0, out.as_bytes())?;
        let request_bytes_max = u32::from(pages) * 4096;
        return Ok(Negotiated { kernel_minor: kernel.minor, features, request_bytes_max });
    }
}

/// The kernel refuses reads into less than its largest request: header, arguments of WRITE, data.
pub fn buffer_bytes() -> usize {
    REQUEST_BYTES_MAX as usize + 4096
}

fn send(channel: &dyn Channel, unique: u64, error: i32, body: &[u8]) -> Result<(), Errno> {
    let length = (size_of::<abi::OutHeader>() + body.len()) as u32;
    let header = abi::OutHeader { len: length, error, unique };
    channel.send(&[IoSlice::new(header.as_bytes()), IoSlice::new(body)])
}

#[cfg(test)]
#[path = "handshake_test.rs"]
mod tests;

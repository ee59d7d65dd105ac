//! FALLOCATE: makes a file longer. Space is not reserved and holes are not punched; who asks for that is told
//! so.

use super::config::CacheMode;
use super::volume::Volume;
use crate::session::{Reply, Request};
use client::{Caller, OpenFile};
use rustix::io::Errno;
use std::sync::Arc;
use wire::{Code, Error, Result};

pub fn fallocate(
    volume: &Volume,
    request: &Request,
    handle: u64,
    range: (u64, u64),
    mode: u32,
    reply: Reply<()>,
) {
    if mode != 0 {
        reply.send(Err(Errno::OPNOTSUPP));
        return;
    }
    let file = match volume.handles.get(handle) {
        Ok(file) => file,
        Err(errno) => {
            reply.send(Err(errno));
            return;
        }
    };
    let extended = extend(volume, &volume.caller(request), &file, range);
    volume.send_empty("fallocate", extended, reply);
}

/// A write of no bytes: it raises the length and never lowers it, whatever others write meanwhile.
fn extend(
    volume: &Volume,
    caller: &Caller,
    file: &Arc<OpenFile>,
    (offset, length): (u64, u64),
) -> Result<()> {
    let end = offset
        .checked_add(length)
        .ok_or_else(|| Error::new(Code::FileTooLarge, "fallocate beyond the largest file"))?;
    if volume.cache == CacheMode::None {
        // Under the generation of now, as in `write`.
        volume.client.stat(caller, file.inode())?;
    }
    file.write_wait(caller, end, Vec::new())?;
    file.report(caller)
}

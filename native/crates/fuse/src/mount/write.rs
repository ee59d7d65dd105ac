//! WRITE: answered when every serving member holds the bytes (P11), from the thread that got the last
//! acknowledgement.

use super::config::CacheMode;
use super::volume::Volume;
use crate::protocol::Written;
use crate::session::{Reply, Request};
use bytes::Bytes;
use client::{Caller, OpenFile};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::sync::Arc;
use wire::Result;
use wire::message::SetAttributesRequest;

const SET_ID_BITS: u32 = 0o6000;

pub fn write(
    volume: &Arc<Volume>,
    request: &Request,
    handle: u64,
    offset: u64,
    data: Bytes,
    kill_suid: bool,
    reply: Reply<Written>,
) {
    let file = match volume.used_file(handle) {
        Ok(file) => file,
        Err(errno) => {
            reply.send(Err(errno));
            return;
        }
    };
    let caller = volume.caller(request);
    if kill_suid && let Err(errno) = clear_set_id_bits(volume, &caller, &file) {
        reply.send(Err(errno));
        return;
    }
    let size = data.len() as u32;
    if volume.cache == CacheMode::None {
        let written = write_through(volume, &caller, &file, offset, data);
        reply.send(written.map(|()| Written(size)).map_err(|error| volume.errno("write", &error)));
        return;
    }
    let shared = volume.clone();
    file.write(&caller, offset, vec![data], move |result| {
        reply.send(result.map(|()| Written(size)).map_err(|error| shared.errno("write", &error)));
    });
}

/// The writer lacks CAP_FSETID, and the kernel leaves it to us (HANDLE_KILLPRIV_V2).
fn clear_set_id_bits(volume: &Volume, caller: &Caller, file: &OpenFile) -> std::result::Result<(), Errno> {
    if file.attributes().mode & SET_ID_BITS == 0 {
        return Ok(());
    }
    let (inode, session) = (file.inode(), file.session());
    let request = SetAttributesRequest { inode, session, kill_suid: true, ..Default::default() };
    let cleared = volume.client.set_attributes(caller, request);
    cleared.map(drop).map_err(|error| volume.errno("write", &error))
}

/// Without caches another client sees the new length as soon as the write is answered, and this one asks for
/// what others did before it writes (P20): a length reported under the generation before somebody's
/// truncation would be dropped, and the kernel's idea of where to append may be old.
fn write_through(
    volume: &Volume,
    caller: &Caller,
    file: &Arc<OpenFile>,
    offset: u64,
    data: Bytes,
) -> Result<()> {
    volume.client.stat(caller, file.inode())?;
    let length = file.attributes().length;
    let appends = OFlags::from_bits_retain(file.flags()).contains(OFlags::APPEND);
    let offset = if appends { length } else { offset };
    let extends = offset.saturating_add(data.len() as u64) > length;
    let written = file.write_wait(caller, offset, vec![data]);
    // Also when it failed in part: what was written must not lie behind the file's end.
    let told = if extends { file.report(caller) } else { Ok(()) };
    written.and(told)
}

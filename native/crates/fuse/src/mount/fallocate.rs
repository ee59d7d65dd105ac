//! FALLOCATE: makes a file longer, punches holes into it, makes zeros of a range. Space is never reserved: a
//! later write may still find the disks full.

use super::config::CacheMode;
use super::volume::Volume;
use crate::session::{Reply, Request};
use client::{Caller, OpenFile};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::sync::Arc;
use wire::{Code, Error, Result};

/// What a mode asks for, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    punches: bool,
    extends: bool,
}

pub fn fallocate(
    volume: &Arc<Volume>,
    request: &Request,
    handle: u64,
    (offset, length): (u64, u64),
    mode: u32,
    reply: Reply<()>,
) {
    let planned = plan(mode).and_then(|plan| Ok((plan, volume.handles.get(handle)?)));
    let (plan, file) = match planned {
        Ok(planned) => planned,
        Err(errno) => {
            reply.send(Err(errno));
            return;
        }
    };
    let caller = volume.caller(request);
    let punched = if plan.punches { file.punch(&caller, offset, length) } else { Ok(()) };
    let done = punched.and_then(|()| match plan.extends {
        true => extend(volume, &caller, &file, (offset, length)),
        false => Ok(()),
    });
    if plan.punches && done.is_err() {
        return refuse_after_part(volume, &file, (offset, length), done, reply);
    }
    volume.send_empty("fallocate", done, reply);
}

/// The kernel drops the pages of a range that it knows to be punched. Here a part of it may be: it must not show what
/// was there before. This may wait for a read of these pages, and holds up nobody but the caller. With too many notices
/// waiting nothing is dropped now, which would change nothing of the answer: an open drops the pages, as it finds
/// that nothing is known of them any more; only who has the file open may see them until then.
fn refuse_after_part(
    volume: &Arc<Volume>,
    file: &OpenFile,
    (offset, length): (u64, u64),
    done: Result<()>,
    reply: Reply<()>,
) {
    let Some(notifier) = volume.notifier.get().filter(|_| volume.cache != CacheMode::None) else {
        return volume.send_empty("fallocate", done, reply);
    };
    let (offset, length) = (offset.cast_signed(), length.cast_signed());
    volume.view.forget(file.inode());
    let shared = volume.clone();
    notifier.invalidate_inode(volume.swap_root(file.inode()), offset, length, move |_| {
        shared.send_empty("fallocate", done, reply);
    });
}

fn plan(mode: u32) -> std::result::Result<Plan, Errno> {
    let mode = FallocateFlags::from_bits_retain(mode);
    let keeps_size = mode.contains(FallocateFlags::KEEP_SIZE);
    let what = mode - FallocateFlags::KEEP_SIZE;
    if what.is_empty() {
        Ok(Plan { punches: false, extends: !keeps_size })
    } else if what == FallocateFlags::ZERO_RANGE {
        Ok(Plan { punches: true, extends: !keeps_size })
    } else if what == FallocateFlags::PUNCH_HOLE && keeps_size {
        Ok(Plan { punches: true, extends: false })
    } else {
        Err(Errno::OPNOTSUPP)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_does_what_it_says_or_is_refused() {
        let done = |punches, extends| Ok(Plan { punches, extends });
        assert_eq!(plan(0), done(false, true));
        assert_eq!(plan(1), done(false, false), "nothing is reserved behind the end");
        assert_eq!(plan(0x10), done(true, true), "ZERO_RANGE");
        assert_eq!(plan(0x11), done(true, false));
        assert_eq!(plan(0x03), done(true, false), "PUNCH_HOLE");
        // Without KEEP_SIZE no kernel sends it; COLLAPSE, INSERT, UNSHARE, two at once, what is not known yet.
        for mode in [0x02, 0x08, 0x20, 0x40, 0x13, 0x80] {
            assert_eq!(plan(mode), Err(Errno::OPNOTSUPP), "{mode:#x}");
        }
    }
}

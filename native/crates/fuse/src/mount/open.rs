//! OPEN: each is a request that makes a session (P20). The service's answer decides whether the kernel's
//! caches are still right.

use super::config::CacheMode;
use super::volume::Volume;
use crate::protocol::{Opened, abi::opened};
use crate::session::{Reply, Request};
use client::OpenFile;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::sync::Arc;
use std::time::Instant;
use wire::Result;

pub fn open(volume: &Arc<Volume>, request: &Request, node: u64, flags: u32, reply: Reply<Opened>) {
    let caller = volume.caller(request);
    let shared = volume.clone();
    volume.client.open_then(&caller, volume.swap_root(node), flags, move |result| {
        answer(&shared, flags, result, reply);
    });
}

/// Runs on the client's thread and must not block: attributes that the kernel must drop first are dropped by
/// the notifier, behind no page. Pages the kernel drops itself, in the opener, where waiting for one holds up nobody
/// else.
fn answer(volume: &Arc<Volume>, flags: u32, result: Result<Arc<OpenFile>>, reply: Reply<Opened>) {
    let file = match result {
        Ok(file) => file,
        Err(error) => {
            reply.send(Err(volume.errno("open", &error)));
            return;
        }
    };
    let inode = file.attributes();
    let opening = volume.view.opened(&inode, Instant::now());
    let opened = Opened {
        handle: volume.handles.add(file, opening.content),
        flags: volume.opened_flags(flags, opening.pages_are_fresh),
    };
    let shared = volume.clone();
    let send = move |dropped: std::result::Result<(), Errno>| {
        // With attributes that it should have dropped the kernel would show the file's old end.
        if !reply.send(dropped.map(|()| opened)) || dropped.is_err() {
            shared.handles.close(opened.handle);
        }
    };
    match volume.notifier.get() {
        Some(notifier) if opening.attributes_are_stale => {
            let shared = volume.clone();
            notifier.invalidate_inode(volume.swap_root(inode.id), -1, 0, move |dropped| {
                if dropped.is_ok() {
                    shared.view.attributes_dropped(inode.id, opening.telling);
                }
                send(dropped);
            });
        }
        _ => send(Ok(())),
    }
}

impl Volume {
    /// How the kernel treats the open file.
    pub fn opened_flags(&self, flags: u32, pages_are_fresh: bool) -> u32 {
        let flags = OFlags::from_bits_retain(flags);
        // O_DIRECT: without DIRECT_IO the kernel would wait for the parts of a request where no signal
        // reaches it.
        let cache = if self.cache == CacheMode::None || flags.contains(OFlags::DIRECT) {
            opened::DIRECT_IO | opened::PARALLEL_DIRECT_WRITES
        } else if pages_are_fresh {
            opened::KEEP_CACHE
        } else {
            0
        };
        // A reader's close has nothing to report.
        let reads_only = !flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        cache | if reads_only { opened::NO_FLUSH } else { 0 }
    }
}

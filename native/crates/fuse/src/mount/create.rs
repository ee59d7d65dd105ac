//! CREATE: makes and opens a file with one request of the service; opens it if somebody else was faster.

use super::volume::Volume;
use crate::protocol::{Created, Opened};
use crate::session::{Reply, Request};
use client::OpenFile;
use std::sync::Arc;
use std::time::Instant;
use wire::Result;

pub fn create(
    volume: &Arc<Volume>,
    request: &Request,
    parent: u64,
    name: &[u8],
    mode: u32,
    flags: u32,
    reply: Reply<Created>,
) {
    let caller = volume.caller(request);
    let shared = volume.clone();
    let parent = volume.swap_root(parent);
    volume.client.create_then(&caller, parent, name, mode & 0o7777, flags, move |result| {
        answer(&shared, parent, flags, result, reply);
    });
}

fn answer(
    volume: &Volume,
    parent: u64,
    flags: u32,
    result: Result<(Arc<OpenFile>, bool)>,
    reply: Reply<Created>,
) {
    let (file, made) = match result {
        Ok(opened) => opened,
        Err(error) => {
            volume.directory_view.changed(parent);
            reply.send(Err(volume.errno("create", &error)));
            return;
        }
    };
    let inode = file.attributes();
    if made {
        volume.directory_view.gained_file(parent, &inode);
    }
    let entry = volume.entry(&inode);
    // The kernel takes the attributes of this answer whatever else it was told.
    let opening = volume.view.opened(&inode, Instant::now());
    let opened = Opened {
        handle: volume.handles.add(file, opening.content),
        flags: volume.opened_flags(flags, opening.pages_are_fresh),
    };
    if !reply.send(Ok(Created { entry, opened })) {
        volume.view.forget(inode.id);
        volume.handles.close(opened.handle);
    }
}

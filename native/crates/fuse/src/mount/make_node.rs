//! MKNOD: fifos, sockets, devices, and regular files that are not opened.

use super::answers::file_type;
use super::volume::Volume;
use crate::protocol::Entry;
use crate::session::{Reply, Request};
use rustix::io::Errno;

pub fn make_node(
    volume: &Volume,
    request: &Request,
    parent: u64,
    name: &[u8],
    mode: u32,
    device: u32,
    reply: Reply<Entry>,
) {
    let Some(kind) = file_type(mode) else {
        reply.send(Err(Errno::INVAL));
        return;
    };
    let caller = volume.caller(request);
    let parent = volume.swap_root(parent);
    let made = volume.client.make_node(&caller, parent, name, mode & 0o7777, kind, device);
    volume.directory_view.changed(parent);
    volume.send_entry("mknod", made, reply);
}

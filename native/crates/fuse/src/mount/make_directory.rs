//! MKDIR. The kernel has applied the umask.

use super::volume::Volume;
use crate::protocol::Entry;
use crate::session::{Reply, Request};

pub fn make_directory(
    volume: &Volume,
    request: &Request,
    parent: u64,
    name: &[u8],
    mode: u32,
    reply: Reply<Entry>,
) {
    let caller = volume.caller(request);
    let made = volume.client.make_directory(&caller, volume.swap_root(parent), name, mode & 0o7777);
    volume.directory_view.changed(volume.swap_root(parent));
    volume.send_entry("mkdir", made, reply);
}

//! SYMLINK.

use super::volume::Volume;
use crate::protocol::Entry;
use crate::session::{Reply, Request};

pub fn symlink(
    volume: &Volume,
    request: &Request,
    parent: u64,
    name: &[u8],
    target: &[u8],
    reply: Reply<Entry>,
) {
    let caller = volume.caller(request);
    let made = volume.client.symlink(&caller, volume.swap_root(parent), name, target);
    volume.directory_view.changed(volume.swap_root(parent));
    volume.send_entry("symlink", made, reply);
}

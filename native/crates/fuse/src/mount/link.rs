//! LINK.

use super::volume::Volume;
use crate::protocol::Entry;
use crate::session::{Reply, Request};

pub fn link(volume: &Volume, request: &Request, node: u64, parent: u64, name: &[u8], reply: Reply<Entry>) {
    let caller = volume.caller(request);
    let linked = volume.client.link(&caller, volume.swap_root(node), volume.swap_root(parent), name);
    volume.directory_view.changed(volume.swap_root(parent));
    volume.send_entry("link", linked, reply);
}

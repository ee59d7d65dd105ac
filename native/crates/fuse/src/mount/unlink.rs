//! UNLINK.

use super::volume::Volume;
use crate::session::{Reply, Request};

pub fn unlink(volume: &Volume, request: &Request, parent: u64, name: &[u8], reply: Reply<()>) {
    let caller = volume.caller(request);
    let removed = volume.client.unlink(&caller, volume.swap_root(parent), name);
    volume.directory_view.changed(volume.swap_root(parent));
    volume.send_empty("unlink", removed, reply);
}

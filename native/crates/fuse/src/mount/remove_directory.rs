//! RMDIR.

use super::volume::Volume;
use crate::session::{Reply, Request};

pub fn remove_directory(volume: &Volume, request: &Request, parent: u64, name: &[u8], reply: Reply<()>) {
    let caller = volume.caller(request);
    let removed = volume.client.remove_directory(&caller, volume.swap_root(parent), name);
    volume.directory_view.lost_directory();
    volume.send_empty("rmdir", removed, reply);
}

//! FSYNCDIR: every answered change of names is on the medium (P11).

use super::volume::Volume;
use crate::session::{Reply, Request};

pub fn sync_directory(volume: &Volume, request: &Request, reply: Reply<()>) {
    let synced = volume.client.sync(&volume.caller(request));
    volume.send_empty("fsyncdir", synced, reply);
}

//! FSYNC in the order of P11: the data on all members, flushed by all of them, then the durable length.

use super::volume::Volume;
use crate::session::{Reply, Request};

pub fn sync(volume: &Volume, request: &Request, handle: u64, reply: Reply<()>) {
    let file = match volume.handles.get(handle) {
        Ok(file) => file,
        Err(errno) => {
            reply.send(Err(errno));
            return;
        }
    };
    let synced = file.fsync(&volume.caller(request));
    volume.send_empty("fsync", synced, reply);
}

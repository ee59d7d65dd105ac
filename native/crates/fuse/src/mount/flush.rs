//! FLUSH, one per close(2): the service knows the length before close returns (close-to-open, P20).

use super::volume::Volume;
use crate::session::{Reply, Request};
use rustix::fs::OFlags;

pub fn flush(volume: &Volume, request: &Request, handle: u64, reply: Reply<()>) {
    let file = match volume.handles.get(handle) {
        Ok(file) => file,
        Err(errno) => {
            reply.send(Err(errno));
            return;
        }
    };
    let writes = OFlags::from_bits_retain(file.flags()).intersects(OFlags::WRONLY | OFlags::RDWR);
    let reported = if writes { file.report(&volume.caller(request)) } else { Ok(()) };
    volume.send_empty("flush", reported, reply);
}

//! READ: the chunks' bytes go to the kernel as they came, from the thread that received them; many are in the
//! air.

use super::volume::Volume;
use crate::protocol::Data;
use crate::session::{Reply, Request};
use std::sync::Arc;

pub fn read(
    volume: &Arc<Volume>,
    request: &Request,
    handle: u64,
    offset: u64,
    size: u32,
    reply: Reply<Data>,
) {
    let file = match volume.used_file(handle) {
        Ok(file) => file,
        Err(errno) => {
            reply.send(Err(errno));
            return;
        }
    };
    let caller = volume.caller(request);
    let shared = volume.clone();
    file.read(&caller, offset, size.into(), move |result| {
        reply.send(match result {
            Ok(pieces) => Ok(Data(pieces)),
            Err(error) => Err(shared.errno("read", &error)),
        });
    });
}

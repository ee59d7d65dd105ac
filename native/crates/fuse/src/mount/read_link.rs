//! READLINK.

use super::volume::Volume;
use crate::session::{Reply, Request};
use bytes::Bytes;

pub fn read_link(volume: &Volume, request: &Request, node: u64, reply: Reply<Bytes>) {
    let caller = volume.caller(request);
    let target = volume.client.read_link(&caller, volume.swap_root(node));
    reply.send(target.map_err(|error| volume.errno("readlink", &error)));
}

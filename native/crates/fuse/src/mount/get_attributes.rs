//! GETATTR. The client adds what this host has written and not reported yet.

use super::volume::Volume;
use crate::protocol::FileAttributes;
use crate::session::{Reply, Request};

pub fn get_attributes(volume: &Volume, request: &Request, node: u64, reply: Reply<FileAttributes>) {
    let caller = volume.caller(request);
    let found = volume.client.stat(&caller, volume.swap_root(node));
    reply.send(match found {
        Ok(inode) => Ok(volume.file_attributes(&inode)),
        Err(error) => Err(volume.errno("getattr", &error)),
    });
}

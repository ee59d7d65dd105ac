//! GETATTR. The client adds what this host has written and not reported yet.

use super::volume::Volume;
use crate::protocol::FileAttributes;
use crate::session::{Reply, Request};

pub fn get_attributes(volume: &Volume, request: &Request, node: u64, reply: Reply<FileAttributes>) {
    let inode = volume.swap_root(node);
    if let Some((known, left)) = volume.directory_view.get(inode, volume.valid) {
        reply.send(Ok(FileAttributes { valid: left, ..volume.file_attributes(&known) }));
        return;
    }
    let caller = volume.caller(request);
    let asked = volume.directory_view.ask();
    let found = volume.client.stat(&caller, inode);
    reply.send(match found {
        Ok(inode) => {
            volume.directory_view.answered(asked, &inode, volume.valid);
            Ok(volume.file_attributes(&inode))
        }
        Err(error) => Err(volume.errno("getattr", &error)),
    });
}

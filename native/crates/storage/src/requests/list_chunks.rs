//! Committed chunks of a target, page by page: for clients (lengths, verification) and for the predecessor
//! in a resync.

use crate::service::Service;
use transport::Incoming;
use wire::message::{ListChunksReply, ListChunksRequest};
use wire::{Code, Error, Result};

/// A page of this many rows (about 60 bytes each) is far below the longest message.
const PAGE_MAX: u32 = 4096;

pub fn handle(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let request: ListChunksRequest = incoming.decode()?;
    let target = service.target(request.chain)?;
    if request.target != 0 && request.target != target.id.0 {
        let detail = format!("target {} is not on this node, {} is", request.target, target.id);
        return Err(Error::new(Code::NoChain, detail));
    }
    let limit = if request.limit == 0 { PAGE_MAX } else { request.limit.min(PAGE_MAX) } as usize;
    let replier = incoming.replier();
    // Checksums read the disk: never on a connection's thread.
    let disk = target.disk_share();
    disk.readers.push(move || {
        let from = request.from.unwrap_or_default().into();
        let inode = (request.inode != 0).then_some(request.inode);
        let in_resync = request.target != 0;
        let listed = target
            .may_list(request.chain_version, inode, in_resync)
            .and_then(|()| target.list(from, inode, limit, request.with_checksum))
            // The lease is tested after the choice (P2).
            .and_then(|chunks| target.may_list(request.chain_version, inode, in_resync).map(|()| chunks));
        replier.respond(listed.map(|chunks| {
            let more = chunks.len() == limit;
            ListChunksReply { header: None, chunks, more }
        }));
    });
    Ok(())
}

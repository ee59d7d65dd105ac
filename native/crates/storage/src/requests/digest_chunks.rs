//! Digests of ranges of chunks, for the predecessor in a resync: only ranges that differ are listed (P9).

use crate::service::Service;
use chain::range_digest;
use transport::Incoming;
use wire::message::{ChunkRange, DigestChunksReply, DigestChunksRequest};
use wire::{ChunkId, Code, Error, Result};

/// Ranges of one answer. Whoever asked compares them with as many of its own under the lock of its replica: that is a
/// millisecond or two.
const RANGES_MAX: usize = 8;

/// Chunks of a range: what the engine gathers in one look.
const CHUNKS_PER_RANGE_MAX: u32 = 4096;

const LAST: ChunkId = ChunkId { inode: u64::MAX, index: u64::MAX };

pub fn handle(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let request: DigestChunksRequest = incoming.decode()?;
    let target = service.target(request.chain)?;
    if request.target != target.id.0 {
        let detail = format!("target {} is not on this node, {} is", request.target, target.id);
        return Err(Error::new(Code::NoChain, detail));
    }
    let chunks = request.chunks_per_range.clamp(1, CHUNKS_PER_RANGE_MAX) as usize;
    let replier = incoming.replier();
    let disk = target.disk_share();
    disk.readers.push(move || {
        let digests = || {
            target.may_list(request.chain_version, None, true)?;
            let mut ranges: Vec<ChunkRange> = Vec::new();
            let mut from = Some(ChunkId::from(request.from.unwrap_or_default()));
            while let Some(first) = from.filter(|_| ranges.len() < RANGES_MAX) {
                let (listed, next) = target.list_range(first, chunks)?;
                let last = if next.is_some() { listed[chunks - 1].chunk } else { LAST };
                ranges.push(ChunkRange {
                    last: Some(last.into()),
                    chunks: listed.len() as u32,
                    digest: range_digest(&listed),
                });
                from = next;
            }
            target.may_list(request.chain_version, None, true)?;
            Ok(DigestChunksReply { header: None, ranges })
        };
        replier.respond(digests());
    });
    Ok(())
}

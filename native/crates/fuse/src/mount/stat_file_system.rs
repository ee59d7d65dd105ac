//! STATFS.

use super::volume::Volume;
use crate::protocol::Statistics;
use crate::session::{Reply, Request};

/// The unit that df(1) counts in.
const BLOCK_BYTES: u64 = 4096;

/// Inodes are bounded by the metadata service's disk alone; df(1) wants a figure.
const FILES_FREE: u64 = 1 << 40;

pub fn stat_file_system(volume: &Volume, request: &Request, reply: Reply<Statistics>) {
    let found = volume.client.stat_file_system(&volume.caller(request));
    reply.send(match found {
        Ok(space) => {
            let free_bytes = space.capacity_bytes.saturating_sub(space.used_bytes);
            Ok(Statistics {
                block_size: BLOCK_BYTES as u32,
                blocks: space.capacity_bytes / BLOCK_BYTES,
                blocks_free: free_bytes / BLOCK_BYTES,
                files: space.files + FILES_FREE,
                files_free: FILES_FREE,
            })
        }
        Err(error) => Err(volume.errno("statfs", &error)),
    });
}

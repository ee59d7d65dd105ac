//! RENAME and RENAME2, with NOREPLACE and EXCHANGE.

use super::volume::Volume;
use crate::session::{Reply, Request};
use rustix::io::Errno;

const NOREPLACE: u32 = 1;
const EXCHANGE: u32 = 2;

pub fn rename(
    volume: &Volume,
    request: &Request,
    from: (u64, &[u8]),
    to: (u64, &[u8]),
    flags: u32,
    reply: Reply<()>,
) {
    // WHITEOUT is for overlay file systems, which ask before they use us.
    if flags & !(NOREPLACE | EXCHANGE) != 0 {
        reply.send(Err(Errno::INVAL));
        return;
    }
    let caller = volume.caller(request);
    let (source, target) = (volume.swap_root(from.0), volume.swap_root(to.0));
    let renamed = volume.client.rename(&caller, source, from.1, target, to.1, flags);
    volume.directory_view.lost_directory();
    volume.send_empty("rename", renamed, reply);
}

//! LOOKUP. A missing name is not cached: another client may make it at any time (P20).

use super::volume::Volume;
use crate::protocol::Entry;
use crate::session::{Reply, Request};

pub fn lookup(volume: &Volume, request: &Request, parent: u64, name: &[u8], reply: Reply<Entry>) {
    let caller = volume.caller(request);
    let found = volume.client.lookup(&caller, volume.swap_root(parent), name);
    volume.send_entry("lookup", found, reply);
}

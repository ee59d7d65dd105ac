//! READDIR and READDIRPLUS.

use super::answers::type_bits;
use super::directory_handles::{DirectoryHandle, PAGE_ENTRIES, Page};
use super::volume::Volume;
use crate::protocol::{DirectoryList, abi};
use crate::session::{Reply, Request};
use client::Caller;
use rustix::io::Errno;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use wire::message::DirectoryEntry;

/// The offsets of "." and ".."; the service's are larger.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;
const DIRECTORY: u32 = 0o040_000;

/// Attributes older than this are not given out: as long as the kernel believes them.
const PAGE_VALID: Duration = Duration::from_secs(1);

/// Where a listing goes on.
pub struct Position {
    pub node: u64,
    pub handle: u64,
    pub offset: u64,
    pub plus: bool,
}

pub fn read_directory(
    volume: &Volume,
    request: &Request,
    from: Position,
    mut list: DirectoryList,
    reply: Reply<DirectoryList>,
) {
    let directory = match volume.directories.get(from.handle) {
        Ok(directory) => directory,
        Err(errno) => {
            reply.send(Err(errno));
            return;
        }
    };
    let caller = volume.caller(request);
    let mut given = Vec::new();
    let listing = Listing {
        volume,
        caller: &caller,
        directory: &directory,
        inode: volume.swap_root(from.node),
        plus: from.plus,
    };
    let filled = listing.fill(from.offset, &mut list, &mut given);
    // What was listed before an error is an answer; the error comes with the next request.
    let answer = filled.or_else(|errno| if list.is_empty() { Err(errno) } else { Ok(()) });
    if !reply.send(answer.map(|()| list)) {
        given.iter().for_each(|&inode| volume.view.forget(inode));
    }
}

struct Listing<'a> {
    volume: &'a Volume,
    caller: &'a Caller,
    directory: &'a DirectoryHandle,
    inode: u64,
    plus: bool,
}

impl Listing<'_> {
    fn fill(&self, from: u64, list: &mut DirectoryList, given: &mut Vec<u64>) -> Result<(), Errno> {
        // One at a time per handle: it reads one page after the other.
        let mut page = self.directory.page.lock();
        let usable = page.as_ref().is_some_and(|page| {
            from > DOT_DOT
                && page.plus >= self.plus
                && page.fetched.elapsed() < PAGE_VALID
                && page.rest(from).is_some()
        });
        if !usable {
            *page = Some(self.fetch(if from > DOT_DOT { from } else { 0 })?);
        }
        if !self.push_dots(from, list) {
            return Ok(());
        }
        let mut offset = if from > DOT_DOT { from } else { 0 };
        loop {
            let current = page.as_ref().expect("fetched above");
            for entry in current.rest(offset).expect("the page knows the offset it was fetched for") {
                if !self.push(entry, list, given) {
                    return Ok(());
                }
                offset = entry.offset;
            }
            if current.end {
                return Ok(());
            }
            *page = Some(self.fetch(offset)?);
        }
    }

    fn push_dots(&self, from: u64, list: &mut DirectoryList) -> bool {
        let parent = self.directory.parent.load(Ordering::Relaxed);
        let dots = [(DOT, self.inode, &b"."[..]), (DOT_DOT, parent, &b".."[..])];
        dots.into_iter()
            .filter(|(offset, ..)| from < *offset)
            .all(|(offset, inode, name)| list.push(inode.max(abi::ROOT), offset, DIRECTORY, name, None))
    }

    fn push(&self, entry: &DirectoryEntry, list: &mut DirectoryList, given: &mut Vec<u64>) -> bool {
        let attributes = entry.attributes.as_ref().filter(|_| self.plus);
        let known = attributes.map(|inode| self.volume.entry(inode));
        let pushed = list.push(entry.inode, entry.offset, type_bits(entry.r#type()), &entry.name, known);
        if pushed && attributes.is_some() {
            given.push(entry.inode);
        }
        pushed
    }

    fn fetch(&self, after: u64) -> Result<Page, Errno> {
        let fetched = Instant::now();
        let client = &self.volume.client;
        let reply = client
            .read_directory(self.caller, self.inode, after, PAGE_ENTRIES, self.plus)
            .map_err(|error| self.volume.errno("readdir", &error))?;
        self.directory.parent.store(reply.parent, Ordering::Relaxed);
        let end = reply.end || reply.entries.is_empty();
        Ok(Page { after, entries: reply.entries, end, plus: self.plus, fetched })
    }
}

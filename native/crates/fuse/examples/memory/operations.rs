//! The operations: each takes the tree's lock once, and answers on the worker's thread.

use crate::content::Content;
use crate::tree::{self, Kind, NewNode, REGULAR, SYMLINK, TYPE_MASK, Tree};
use bytes::Bytes;
use fuse::abi::opened;
use fuse::{
    Created, Data, DirectoryList, Entry, Errno, FileAttributes, FileSystem, Negotiated, Notifier, Opened,
    Reply, Request, SetAttributes, Statistics, Written,
};
use parking_lot::{Condvar, Mutex, RwLock};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const O_TRUNC: u32 = 0o1000;
const O_ACCESS_MASK: u32 = 3;
const O_EXCL: u32 = 0o200;
const O_DIRECT: u32 = libc::O_DIRECT as u32;
const FALLOCATE_KEEP_SIZE: u32 = 1;
const FALLOCATE_PUNCH_HOLE: u32 = 2;
const FALLOCATE_ZERO_RANGE: u32 = 0x10;

pub struct Memory {
    tree: RwLock<Tree>,
    /// Reads of files whose names start so wait until they are interrupted: for tests of INTERRUPT.
    stall: Option<Vec<u8>>,
    stalled: RwLock<Vec<u64>>,
    notifier: OnceLock<Notifier>,
    valid: Duration,
    zeros: Bytes,
}

impl Memory {
    pub fn new(uid: u32, gid: u32, stall: Option<Vec<u8>>, valid: Duration) -> Self {
        let zeros = Bytes::from(vec![0; 1 << 20]);
        let (stalled, notifier) = (RwLock::default(), OnceLock::new());
        Memory { tree: RwLock::new(Tree::new(uid, gid)), stall, stalled, notifier, valid, zeros }
    }

    fn entry(&self, tree: &mut Tree, inode: u64) -> Result<Entry, Errno> {
        let attributes = tree.remember(inode)?;
        Ok(Entry { node: inode, attributes, entry_valid: self.valid, attributes_valid: self.valid })
    }

    /// The kernel holds a lookup that nobody told it of: take it back.
    fn send_entry(&self, result: Result<Entry, Errno>, reply: Reply<Entry>) {
        let node = result.as_ref().ok().map(|entry| entry.node);
        if !reply.send(result)
            && let Some(node) = node
        {
            self.tree.write().forget(node, 1);
        }
    }

    fn add(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        mode: u32,
        device: u32,
        kind: Kind,
    ) -> Result<Entry, Errno> {
        let mut tree = self.tree.write();
        let new = NewNode { mode, device, uid: request.uid, gid: request.gid, kind };
        let inode = tree.add(parent, name, new)?;
        if self.stall.as_ref().is_some_and(|prefix| name.starts_with(prefix)) {
            self.stalled.write().push(inode);
        }
        self.entry(&mut tree, inode)
    }

    /// Its content is never read, written or synchronized.
    fn stalls(&self, node: u64) -> bool {
        self.stall.is_some() && self.stalled.read().contains(&node)
    }

    /// Blocks the worker, as a slow metadata call would, until the caller gives up.
    fn wait_for_interrupt(request: &Request) {
        let state = Arc::new((Mutex::new(false), Condvar::new()));
        let waker = state.clone();
        request.on_interrupt(move || {
            *waker.0.lock() = true;
            waker.1.notify_all();
        });
        let mut interrupted = state.0.lock();
        while !*interrupted {
            state.1.wait(&mut interrupted);
        }
    }

    fn create_or_open(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        mode: u32,
        flags: u32,
        kill_suid: bool,
    ) -> Result<Created, Errno> {
        let file = || Kind::File(Arc::new(RwLock::new(Content::default())));
        match self.add(request, parent, name, mode & !TYPE_MASK | REGULAR, 0, file()) {
            // Somebody was faster.
            Err(Errno::EXIST) if flags & O_EXCL == 0 => {
                let mut tree = self.tree.write();
                let inode = tree.find(parent, name)?;
                open(&mut tree, inode, flags, kill_suid)?;
                Ok(Created { entry: self.entry(&mut tree, inode)?, opened: opened_file(flags) })
            }
            added => Ok(Created { entry: added?, opened: opened_file(flags) }),
        }
    }

    fn write_content(
        &self,
        node: u64,
        kill_suid: bool,
        change: impl FnOnce(&mut Content),
    ) -> Result<(), Errno> {
        let mut tree = self.tree.write();
        let content = tree.content(node)?;
        let length = {
            let mut locked = content.write();
            change(&mut locked);
            locked.length()
        };
        let node = tree.node_mut(node)?;
        node.set_content(content, length);
        if kill_suid {
            tree::kill_suid(&mut node.attributes);
        }
        Ok(())
    }

    fn list(&self, node: u64, offset: u64, list: &mut DirectoryList, plus: bool) -> Result<(), Errno> {
        let mut tree = self.tree.write();
        let directory = tree.directory(node)?;
        let dots = [(1, node, &b"."[..]), (2, directory.parent(), &b".."[..])];
        for (number, inode, name) in dots {
            if offset < number && !list.push(inode, number, tree::DIRECTORY, name, None) {
                return Ok(());
            }
        }
        let mut remembered = Vec::new();
        for (&number, (name, inode)) in directory.entries.range(offset.max(2) + 1..) {
            let attributes = tree.node(*inode)?.attributes;
            let entry =
                Entry { node: *inode, attributes, entry_valid: self.valid, attributes_valid: self.valid };
            if !list.push(*inode, number, attributes.mode, name, plus.then_some(entry)) {
                break;
            }
            remembered.push(*inode);
        }
        if plus {
            for inode in remembered {
                tree.remember(inode)?;
            }
        }
        Ok(())
    }
}

fn open(tree: &mut Tree, inode: u64, flags: u32, kill_suid: bool) -> Result<(), Errno> {
    tree.content(inode)?;
    if flags & O_TRUNC != 0 {
        tree.set_attributes(inode, &SetAttributes { size: Some(0), kill_suid, ..Default::default() })?;
    }
    Ok(())
}

/// Nobody else changes these files, so the kernel may keep what it has cached; a reader's close has nothing
/// to report. O_DIRECT: without DIRECT_IO the kernel would wait for its parts where no signal reaches it.
fn opened_file(flags: u32) -> Opened {
    let no_flush = if flags & O_ACCESS_MASK == 0 { opened::NO_FLUSH } else { 0 };
    let direct = opened::DIRECT_IO | opened::PARALLEL_DIRECT_WRITES;
    let cache = if flags & O_DIRECT != 0 { direct } else { opened::KEEP_CACHE };
    Opened { handle: 0, flags: cache | no_flush }
}

impl FileSystem for Memory {
    fn started(&self, _: &Negotiated, notifier: Notifier) {
        // Without files that stall nobody needs one.
        if self.stall.is_some() {
            let _ = self.notifier.set(notifier);
        }
    }

    fn lookup(&self, _: &Request, parent: u64, name: &[u8], reply: Reply<Entry>) {
        let mut tree = self.tree.write();
        let found = tree.find(parent, name).and_then(|inode| self.entry(&mut tree, inode));
        drop(tree);
        self.send_entry(found, reply);
    }

    fn forget(&self, node: u64, lookups: u64) {
        self.tree.write().forget(node, lookups);
    }

    fn get_attributes(&self, _: &Request, node: u64, _: Option<u64>, reply: Reply<FileAttributes>) {
        let attributes = self.tree.read().node(node).map(|node| node.attributes);
        reply.send(attributes.map(|attributes| FileAttributes { attributes, valid: self.valid }));
    }

    fn set_attributes(&self, _: &Request, node: u64, set: SetAttributes, reply: Reply<FileAttributes>) {
        let attributes = self.tree.write().set_attributes(node, &set);
        reply.send(attributes.map(|attributes| FileAttributes { attributes, valid: self.valid }));
    }

    fn read_link(&self, _: &Request, node: u64, reply: Reply<Bytes>) {
        let tree = self.tree.read();
        let target = tree.node(node).and_then(|node| match &node.kind {
            Kind::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL),
        });
        drop(tree);
        reply.send(target);
    }

    fn symlink(&self, request: &Request, parent: u64, name: &[u8], target: &[u8], reply: Reply<Entry>) {
        let kind = Kind::Symlink(Bytes::copy_from_slice(target));
        let added = self.add(request, parent, name, SYMLINK | 0o777, 0, kind);
        self.send_entry(added, reply);
    }

    fn make_node(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        mode: u32,
        device: u32,
        reply: Reply<Entry>,
    ) {
        let kind = match mode & TYPE_MASK {
            REGULAR => Kind::File(Arc::new(RwLock::new(Content::default()))),
            _ => Kind::Special,
        };
        let added = self.add(request, parent, name, mode, device, kind);
        self.send_entry(added, reply);
    }

    fn make_directory(&self, request: &Request, parent: u64, name: &[u8], mode: u32, reply: Reply<Entry>) {
        let mode = tree::DIRECTORY | mode & !TYPE_MASK;
        let added = self.add(request, parent, name, mode, 0, tree::new_directory());
        self.send_entry(added, reply);
    }

    fn unlink(&self, _: &Request, parent: u64, name: &[u8], reply: Reply<()>) {
        let removed = self.tree.write().unlink(parent, name);
        reply.send(removed);
    }

    fn remove_directory(&self, _: &Request, parent: u64, name: &[u8], reply: Reply<()>) {
        let removed = self.tree.write().remove_directory(parent, name);
        reply.send(removed);
    }

    fn rename(
        &self,
        _: &Request,
        parent: u64,
        name: &[u8],
        new_parent: u64,
        new_name: &[u8],
        flags: u32,
        reply: Reply<()>,
    ) {
        let renamed = self.tree.write().rename((parent, name), (new_parent, new_name), flags);
        reply.send(renamed);
    }

    fn link(&self, _: &Request, node: u64, new_parent: u64, new_name: &[u8], reply: Reply<Entry>) {
        let mut tree = self.tree.write();
        let linked = tree.link(node, new_parent, new_name).and_then(|()| self.entry(&mut tree, node));
        drop(tree);
        self.send_entry(linked, reply);
    }

    fn open(&self, _: &Request, node: u64, flags: u32, kill_suid: bool, reply: Reply<Opened>) {
        let result = open(&mut self.tree.write(), node, flags, kill_suid);
        let answer = move |dropped: Result<(), Errno>| {
            reply.send(result.and(dropped).map(|()| opened_file(flags)));
        };
        match self.notifier.get() {
            Some(notifier) => notifier.invalidate_inode(node, -1, 0, answer),
            None => answer(Ok(())),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        mode: u32,
        flags: u32,
        kill_suid: bool,
        reply: Reply<Created>,
    ) {
        let created = self.create_or_open(request, parent, name, mode, flags, kill_suid);
        let node = created.as_ref().ok().map(|created| created.entry.node);
        if !reply.send(created)
            && let Some(node) = node
        {
            self.tree.write().forget(node, 1);
        }
    }

    fn read(&self, request: &Request, node: u64, _: u64, offset: u64, size: u32, _: u32, reply: Reply<Data>) {
        if self.stalls(node) {
            Memory::wait_for_interrupt(request);
            reply.send(Err(Errno::INTR));
            return;
        }
        let content = self.tree.read().content(node);
        reply.send(content.map(|content| Data(content.read().read(offset, size, &self.zeros))));
    }

    fn write(
        &self,
        request: &Request,
        node: u64,
        _: u64,
        offset: u64,
        data: Bytes,
        _: u32,
        kill_suid: bool,
        reply: Reply<Written>,
    ) {
        if self.stalls(node) {
            Memory::wait_for_interrupt(request);
            reply.send(Err(Errno::INTR));
            return;
        }
        let written = self.write_content(node, kill_suid, |content| content.write(offset, &data));
        reply.send(written.map(|()| Written(data.len() as u32)));
    }

    fn flush(&self, _: &Request, _: u64, _: u64, reply: Reply<()>) {
        reply.send(Ok(()));
    }

    fn release(&self, _: &Request, _: u64, _: u64, reply: Reply<()>) {
        reply.send(Ok(()));
    }

    fn sync(&self, request: &Request, node: u64, _: u64, _: bool, reply: Reply<()>) {
        let stalls = self.stalls(node);
        if stalls {
            Memory::wait_for_interrupt(request);
        }
        reply.send(if stalls { Err(Errno::INTR) } else { Ok(()) });
    }

    fn open_directory(&self, _: &Request, node: u64, reply: Reply<Opened>) {
        let found = self.tree.read().directory(node).map(|_| Opened::default());
        reply.send(found);
    }

    fn read_directory(
        &self,
        _: &Request,
        node: u64,
        _: u64,
        offset: u64,
        mut list: DirectoryList,
        plus: bool,
        reply: Reply<DirectoryList>,
    ) {
        let listed = self.list(node, offset, &mut list, plus);
        reply.send(listed.map(|()| list));
    }

    fn release_directory(&self, _: &Request, _: u64, _: u64, reply: Reply<()>) {
        reply.send(Ok(()));
    }

    fn stat_file_system(&self, _: &Request, reply: Reply<Statistics>) {
        let files = self.tree.read().len();
        // As much as tmpfs would claim on a small machine: only a figure for df(1).
        let blocks = (1u64 << 30) / 4096;
        reply.send(Ok(Statistics {
            block_size: 4096,
            blocks,
            blocks_free: blocks,
            files,
            files_free: u64::MAX >> 1,
        }));
    }

    fn fallocate(
        &self,
        _: &Request,
        node: u64,
        _: u64,
        offset: u64,
        length: u64,
        mode: u32,
        reply: Reply<()>,
    ) {
        let end = offset.saturating_add(length);
        let extend = mode & FALLOCATE_KEEP_SIZE == 0;
        let changed = match mode & !FALLOCATE_KEEP_SIZE {
            0 | FALLOCATE_PUNCH_HOLE | FALLOCATE_ZERO_RANGE => self.write_content(node, false, |content| {
                if mode & !FALLOCATE_KEEP_SIZE != 0 {
                    content.clear(offset, length);
                }
                if extend && end > content.length() {
                    content.set_length(end);
                }
            }),
            _ => Err(Errno::OPNOTSUPP),
        };
        // Where pages are held for ever, they are dropped as of a file that others changed.
        if let Some(notifier) = self.notifier.get().filter(|_| self.stalls(node)) {
            notifier.invalidate_inode(node, 0, 0, |_| ());
        }
        reply.send(changed);
    }
}

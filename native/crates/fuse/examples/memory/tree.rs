//! Names and inodes, in memory. Every method is one step under the caller's lock.

use crate::content::Content;
use bytes::Bytes;
use fuse::{Errno, SetAttributes, TimeChange, abi};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub const TYPE_MASK: u32 = 0o170_000;
pub const DIRECTORY: u32 = 0o040_000;
pub const REGULAR: u32 = 0o100_000;
pub const SYMLINK: u32 = 0o120_000;
const SET_GROUP_ID: u32 = 0o2000;
const RENAME_NOREPLACE: u32 = 1;
const RENAME_EXCHANGE: u32 = 2;

/// Entries by name, and by a number that never changes, so that a listing goes on where it stopped.
#[derive(Default)]
pub struct Directory {
    parent: u64,
    numbers: HashMap<Vec<u8>, u64>,
    pub entries: BTreeMap<u64, (Vec<u8>, u64)>,
    last: u64,
}

pub enum Kind {
    File(Arc<RwLock<Content>>),
    Directory(Directory),
    Symlink(Bytes),
    Special,
}

pub struct Node {
    pub attributes: abi::Attributes,
    pub kind: Kind,
    /// How many lookups the kernel holds; while it holds any, an unlinked inode lives on.
    lookups: u64,
}

/// What a new inode needs to know.
pub struct NewNode {
    pub mode: u32,
    pub device: u32,
    pub uid: u32,
    pub gid: u32,
    pub kind: Kind,
}

pub struct Tree {
    nodes: HashMap<u64, Node>,
    last: u64,
}

pub fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos() as i64
}

impl Directory {
    /// Numbers start behind "." and "..".
    fn new(parent: u64) -> Self {
        Directory { parent, last: 2, ..Default::default() }
    }

    pub fn parent(&self) -> u64 {
        self.parent
    }

    fn find(&self, name: &[u8]) -> Option<u64> {
        self.numbers.get(name).map(|number| self.entries[number].1)
    }

    fn insert(&mut self, name: &[u8], inode: u64) {
        self.last += 1;
        let before = self.numbers.insert(name.to_vec(), self.last);
        assert!(before.is_none(), "a name is inserted once");
        self.entries.insert(self.last, (name.to_vec(), inode));
    }

    fn remove(&mut self, name: &[u8]) {
        let number = self.numbers.remove(name).expect("the name was found before");
        self.entries.remove(&number);
    }
}

impl Tree {
    pub fn new(uid: u32, gid: u32) -> Self {
        let mut tree = Tree { nodes: HashMap::new(), last: abi::ROOT };
        let kind = Kind::Directory(Directory::new(abi::ROOT));
        let mut root = node(abi::ROOT, NewNode { mode: DIRECTORY | 0o755, device: 0, uid, gid, kind });
        root.lookups = 1;
        tree.nodes.insert(abi::ROOT, root);
        tree
    }

    pub fn len(&self) -> u64 {
        self.nodes.len() as u64
    }

    pub fn node(&self, inode: u64) -> Result<&Node, Errno> {
        self.nodes.get(&inode).ok_or(Errno::STALE)
    }

    pub fn node_mut(&mut self, inode: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&inode).ok_or(Errno::STALE)
    }

    pub fn directory(&self, inode: u64) -> Result<&Directory, Errno> {
        match &self.node(inode)?.kind {
            Kind::Directory(directory) => Ok(directory),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn directory_mut(&mut self, inode: u64) -> Result<&mut Directory, Errno> {
        match &mut self.node_mut(inode)?.kind {
            Kind::Directory(directory) => Ok(directory),
            _ => Err(Errno::NOTDIR),
        }
    }

    pub fn find(&self, parent: u64, name: &[u8]) -> Result<u64, Errno> {
        self.directory(parent)?.find(name).ok_or(Errno::NOENT)
    }

    /// One more lookup is the kernel's.
    pub fn remember(&mut self, inode: u64) -> Result<abi::Attributes, Errno> {
        let node = self.node_mut(inode)?;
        node.lookups += 1;
        Ok(node.attributes)
    }

    pub fn forget(&mut self, inode: u64, lookups: u64) {
        let Ok(node) = self.node_mut(inode) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        self.collect(inode);
    }

    fn collect(&mut self, inode: u64) {
        let unused = |node: &Node| node.attributes.nlink == 0 && node.lookups == 0;
        if self.nodes.get(&inode).is_some_and(unused) {
            self.nodes.remove(&inode);
        }
    }

    /// A directory's new entry or the loss of one.
    fn changed(&mut self, parent: u64) {
        let (seconds, nanoseconds) = abi::Attributes::split_time(now_ns());
        let attributes = &mut self.nodes.get_mut(&parent).expect("the parent was found before").attributes;
        (attributes.mtime, attributes.mtime_ns) = (seconds, nanoseconds);
        (attributes.ctime, attributes.ctime_ns) = (seconds, nanoseconds);
    }

    fn touch_ctime(&mut self, inode: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            (node.attributes.ctime, node.attributes.ctime_ns) = abi::Attributes::split_time(now_ns());
        }
    }

    fn add_links(&mut self, inode: u64, by: i32) {
        let node = self.nodes.get_mut(&inode).expect("linked inodes exist");
        node.attributes.nlink = node.attributes.nlink.checked_add_signed(by).expect("links are counted");
    }

    /// A new inode under a name. In a directory with set-group-id the group is the directory's.
    pub fn add(&mut self, parent: u64, name: &[u8], mut new: NewNode) -> Result<u64, Errno> {
        if self.directory(parent)?.find(name).is_some() {
            return Err(Errno::EXIST);
        }
        let parent_node = self.node(parent)?;
        if parent_node.attributes.nlink == 0 {
            return Err(Errno::NOENT);
        }
        let is_directory = matches!(new.kind, Kind::Directory(_));
        if parent_node.attributes.mode & SET_GROUP_ID != 0 {
            new.gid = parent_node.attributes.gid;
            new.mode |= if is_directory { SET_GROUP_ID } else { 0 };
        }
        self.last += 1;
        let inode = self.last;
        self.nodes.insert(inode, node(inode, new));
        if let Kind::Directory(directory) = &mut self.node_mut(inode)?.kind {
            *directory = Directory::new(parent);
            self.add_links(parent, 1);
        }
        self.directory_mut(parent)?.insert(name, inode);
        self.changed(parent);
        Ok(inode)
    }

    pub fn link(&mut self, inode: u64, parent: u64, name: &[u8]) -> Result<(), Errno> {
        if matches!(self.node(inode)?.kind, Kind::Directory(_)) {
            return Err(Errno::PERM);
        }
        if self.directory(parent)?.find(name).is_some() {
            return Err(Errno::EXIST);
        }
        self.directory_mut(parent)?.insert(name, inode);
        self.add_links(inode, 1);
        self.touch_ctime(inode);
        self.changed(parent);
        Ok(())
    }

    pub fn unlink(&mut self, parent: u64, name: &[u8]) -> Result<(), Errno> {
        let inode = self.find(parent, name)?;
        if matches!(self.node(inode)?.kind, Kind::Directory(_)) {
            return Err(Errno::ISDIR);
        }
        self.directory_mut(parent)?.remove(name);
        self.changed(parent);
        self.drop_link(inode, parent);
        Ok(())
    }

    pub fn remove_directory(&mut self, parent: u64, name: &[u8]) -> Result<(), Errno> {
        let inode = self.find(parent, name)?;
        if !self.directory(inode)?.entries.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.directory_mut(parent)?.remove(name);
        self.changed(parent);
        self.drop_link(inode, parent);
        Ok(())
    }

    /// An inode lost a name in `parent`; a directory loses its own "." and the parent its "..".
    fn drop_link(&mut self, inode: u64, parent: u64) {
        if matches!(self.nodes[&inode].kind, Kind::Directory(_)) {
            self.add_links(inode, -1);
            self.add_links(parent, -1);
        }
        self.add_links(inode, -1);
        self.touch_ctime(inode);
        self.collect(inode);
    }

    pub fn rename(&mut self, from: (u64, &[u8]), to: (u64, &[u8]), flags: u32) -> Result<(), Errno> {
        if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE) != 0 {
            return Err(Errno::INVAL);
        }
        let inode = self.find(from.0, from.1)?;
        let target = self.directory(to.0)?.find(to.1);
        self.refuse_loop(inode, to.0)?;
        if flags & RENAME_EXCHANGE != 0 {
            let target = target.ok_or(Errno::NOENT)?;
            self.refuse_loop(target, from.0)?;
            self.move_entry(inode, from, to.0);
            self.move_entry(target, to, from.0);
            self.directory_mut(to.0)?.insert(to.1, inode);
            self.directory_mut(from.0)?.insert(from.1, target);
            return Ok(());
        }
        match target {
            Some(_) if flags & RENAME_NOREPLACE != 0 => return Err(Errno::EXIST),
            Some(target) if target == inode => return Ok(()),
            Some(target) => self.replace(inode, target, to)?,
            None => {}
        }
        self.move_entry(inode, from, to.0);
        self.directory_mut(to.0)?.insert(to.1, inode);
        Ok(())
    }

    fn replace(&mut self, inode: u64, target: u64, to: (u64, &[u8])) -> Result<(), Errno> {
        let is_directory = |inode| Ok(matches!(self.node(inode)?.kind, Kind::Directory(_)));
        match (is_directory(inode)?, is_directory(target)?) {
            (true, false) => Err(Errno::NOTDIR),
            (false, true) => Err(Errno::ISDIR),
            (true, true) => self.remove_directory(to.0, to.1),
            (false, false) => self.unlink(to.0, to.1),
        }
    }

    /// A directory cannot move into itself.
    fn refuse_loop(&self, inode: u64, mut parent: u64) -> Result<(), Errno> {
        while parent != abi::ROOT {
            if parent == inode {
                return Err(Errno::INVAL);
            }
            parent = self.directory(parent)?.parent;
        }
        Ok(())
    }

    /// Takes the entry out of its directory and makes `parent` the inode's new one.
    fn move_entry(&mut self, inode: u64, from: (u64, &[u8]), parent: u64) {
        self.directory_mut(from.0).expect("found before").remove(from.1);
        if let Kind::Directory(directory) = &mut self.nodes.get_mut(&inode).expect("found before").kind {
            directory.parent = parent;
            self.add_links(from.0, -1);
            self.add_links(parent, 1);
        }
        self.touch_ctime(inode);
        self.changed(from.0);
        self.changed(parent);
    }

    pub fn set_attributes(&mut self, inode: u64, set: &SetAttributes) -> Result<abi::Attributes, Errno> {
        let node = self.node_mut(inode)?;
        if let Some(size) = set.size {
            let Kind::File(content) = &node.kind else { return Err(Errno::INVAL) };
            content.write().set_length(size);
            node.set_content(content.clone(), size);
        }
        let attributes = &mut node.attributes;
        if let Some(mode) = set.mode {
            attributes.mode = attributes.mode & TYPE_MASK | mode;
        }
        attributes.uid = set.uid.unwrap_or(attributes.uid);
        attributes.gid = set.gid.unwrap_or(attributes.gid);
        if set.kill_suid || set.uid.is_some() || set.gid.is_some() {
            kill_suid(attributes);
        }
        let now = now_ns();
        let split = |time| match time {
            TimeChange::Now => abi::Attributes::split_time(now),
            TimeChange::At(time_ns) => abi::Attributes::split_time(time_ns),
        };
        if let Some(time) = set.atime {
            (attributes.atime, attributes.atime_ns) = split(time);
        }
        if let Some(time) = set.mtime {
            (attributes.mtime, attributes.mtime_ns) = split(time);
        }
        (attributes.ctime, attributes.ctime_ns) = split(TimeChange::Now);
        Ok(*attributes)
    }

    pub fn content(&self, inode: u64) -> Result<Arc<RwLock<Content>>, Errno> {
        match &self.node(inode)?.kind {
            Kind::File(content) => Ok(content.clone()),
            Kind::Directory(_) => Err(Errno::ISDIR),
            _ => Err(Errno::INVAL),
        }
    }
}

impl Node {
    /// The attributes follow a change of the content.
    pub fn set_content(&mut self, content: Arc<RwLock<Content>>, size: u64) {
        let allocated = content.read().allocated_bytes();
        self.kind = Kind::File(content);
        let attributes = &mut self.attributes;
        (attributes.size, attributes.blocks) = (size, allocated.div_ceil(512));
        (attributes.mtime, attributes.mtime_ns) = abi::Attributes::split_time(now_ns());
        (attributes.ctime, attributes.ctime_ns) = (attributes.mtime, attributes.mtime_ns);
    }
}

/// Set-group-id goes only where the group may execute: elsewhere it means mandatory locking.
pub fn kill_suid(attributes: &mut abi::Attributes) {
    if attributes.mode & TYPE_MASK == DIRECTORY {
        return;
    }
    attributes.mode &= !0o4000;
    if attributes.mode & 0o010 != 0 {
        attributes.mode &= !SET_GROUP_ID;
    }
}

fn node(inode: u64, new: NewNode) -> Node {
    let mut attributes = abi::Attributes {
        inode,
        mode: new.mode,
        nlink: if matches!(new.kind, Kind::Directory(_)) { 2 } else { 1 },
        uid: new.uid,
        gid: new.gid,
        device: new.device,
        block_size: 4096,
        ..Default::default()
    };
    if let Kind::Symlink(target) = &new.kind {
        attributes.size = target.len() as u64;
    }
    let now = now_ns();
    attributes.set_times(now, now, now);
    Node { attributes, kind: new.kind, lookups: 0 }
}

pub fn new_directory() -> Kind {
    Kind::Directory(Directory::default())
}

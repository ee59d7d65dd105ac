//! The kernel's requests, each to the file of its operation.

use super::volume::Volume;
use super::{
    create, fallocate, flush, get_attributes, link, lookup, make_directory, make_node, open, read,
    read_directory, read_link, release, remove_directory, rename, set_attributes, stat_file_system, symlink,
    sync, sync_directory, unlink, write,
};
use crate::file_system::FileSystem;
use crate::protocol::{
    Created, Data, DirectoryList, Entry, FileAttributes, Opened, SetAttributes, Statistics, Written,
};
use crate::session::{Negotiated, Notifier, Reply, Request};
use bytes::Bytes;
use std::sync::Arc;

pub struct CatenaFileSystem(pub Arc<Volume>);

impl FileSystem for CatenaFileSystem {
    fn started(&self, _: &Negotiated, notifier: Notifier) {
        let first = self.0.notifier.set(notifier).is_ok();
        assert!(first, "a session starts once");
    }

    fn lookup(&self, request: &Request, parent: u64, name: &[u8], reply: Reply<Entry>) {
        lookup::lookup(&self.0, request, parent, name, reply);
    }

    fn forget(&self, node: u64, _: u64) {
        // Also when lookups are left: it costs at most some cached pages.
        self.0.view.forget(self.0.swap_root(node));
    }

    fn get_attributes(&self, request: &Request, node: u64, _: Option<u64>, reply: Reply<FileAttributes>) {
        get_attributes::get_attributes(&self.0, request, node, reply);
    }

    fn set_attributes(&self, request: &Request, node: u64, set: SetAttributes, reply: Reply<FileAttributes>) {
        set_attributes::set_attributes(&self.0, request, node, set, reply);
    }

    fn read_link(&self, request: &Request, node: u64, reply: Reply<Bytes>) {
        read_link::read_link(&self.0, request, node, reply);
    }

    fn symlink(&self, request: &Request, parent: u64, name: &[u8], target: &[u8], reply: Reply<Entry>) {
        symlink::symlink(&self.0, request, parent, name, target, reply);
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
        make_node::make_node(&self.0, request, parent, name, mode, device, reply);
    }

    fn make_directory(&self, request: &Request, parent: u64, name: &[u8], mode: u32, reply: Reply<Entry>) {
        make_directory::make_directory(&self.0, request, parent, name, mode, reply);
    }

    fn unlink(&self, request: &Request, parent: u64, name: &[u8], reply: Reply<()>) {
        unlink::unlink(&self.0, request, parent, name, reply);
    }

    fn remove_directory(&self, request: &Request, parent: u64, name: &[u8], reply: Reply<()>) {
        remove_directory::remove_directory(&self.0, request, parent, name, reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        new_parent: u64,
        new_name: &[u8],
        flags: u32,
        reply: Reply<()>,
    ) {
        rename::rename(&self.0, request, (parent, name), (new_parent, new_name), flags, reply);
    }

    fn link(&self, request: &Request, node: u64, new_parent: u64, new_name: &[u8], reply: Reply<Entry>) {
        link::link(&self.0, request, node, new_parent, new_name, reply);
    }

    fn open(&self, request: &Request, node: u64, flags: u32, _: bool, reply: Reply<Opened>) {
        open::open(&self.0, request, node, flags, reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        mode: u32,
        flags: u32,
        _: bool,
        reply: Reply<Created>,
    ) {
        create::create(&self.0, request, parent, name, mode, flags, reply);
    }

    fn read(
        &self,
        request: &Request,
        _: u64,
        handle: u64,
        offset: u64,
        size: u32,
        _: u32,
        reply: Reply<Data>,
    ) {
        read::read(&self.0, request, handle, offset, size, reply);
    }

    fn write(
        &self,
        request: &Request,
        _: u64,
        handle: u64,
        offset: u64,
        data: Bytes,
        _: u32,
        kill_suid: bool,
        reply: Reply<Written>,
    ) {
        write::write(&self.0, request, handle, offset, data, kill_suid, reply);
    }

    fn flush(&self, request: &Request, _: u64, handle: u64, reply: Reply<()>) {
        flush::flush(&self.0, request, handle, reply);
    }

    fn release(&self, _: &Request, _: u64, handle: u64, reply: Reply<()>) {
        release::release(&self.0, handle, reply);
    }

    fn sync(&self, request: &Request, _: u64, handle: u64, _: bool, reply: Reply<()>) {
        sync::sync(&self.0, request, handle, reply);
    }

    fn open_directory(&self, _: &Request, _: u64, reply: Reply<Opened>) {
        let handle = self.0.directories.add();
        if !reply.send(Ok(Opened { handle, flags: 0 })) {
            self.0.directories.remove(handle);
        }
    }

    fn read_directory(
        &self,
        request: &Request,
        node: u64,
        handle: u64,
        offset: u64,
        list: DirectoryList,
        plus: bool,
        reply: Reply<DirectoryList>,
    ) {
        let from = read_directory::Position { node, handle, offset, plus };
        read_directory::read_directory(&self.0, request, from, list, reply);
    }

    fn release_directory(&self, _: &Request, _: u64, handle: u64, reply: Reply<()>) {
        self.0.directories.remove(handle);
        reply.send(Ok(()));
    }

    fn sync_directory(&self, request: &Request, _: u64, _: u64, reply: Reply<()>) {
        sync_directory::sync_directory(&self.0, request, reply);
    }

    fn stat_file_system(&self, request: &Request, reply: Reply<Statistics>) {
        stat_file_system::stat_file_system(&self.0, request, reply);
    }

    fn fallocate(
        &self,
        request: &Request,
        _: u64,
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
        reply: Reply<()>,
    ) {
        fallocate::fallocate(&self.0, request, handle, (offset, length), mode, reply);
    }
}

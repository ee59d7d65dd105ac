//! What a file system does with each request. A method gets the caller, the decoded arguments and a `Reply`;
//! it may answer at once or later from any thread. Methods run on the session's workers and may block;
//! `forget` and `interrupt hooks` run on the thread that reads the kernel's requests and must not.

use crate::protocol::abi::{FileLock, OffsetOut, SizeOut};
use crate::protocol::{
    CopyRange, Created, Data, DirectoryList, Entry, FileAttributes, Lock, Opened, SetAttributes, Statistics,
    Written,
};
use crate::session::{Negotiated, Notifier, Reply, Request};
use bytes::Bytes;
use rustix::io::Errno;

/// `node` is the inode number that this file system gave in an earlier `Entry`; the root is 1.
#[allow(clippy::too_many_arguments)]
pub trait FileSystem: Send + Sync + 'static {
    /// Called once, before any request.
    fn started(&self, _negotiated: &Negotiated, _notifier: Notifier) {}
    /// Called once, when the session has ended; no request follows.
    fn ended(&self) {}

    fn lookup(&self, request: &Request, parent: u64, name: &[u8], reply: Reply<Entry>);
    /// The kernel gives back lookups that it got with `Entry`s.
    fn forget(&self, node: u64, lookups: u64);
    fn get_attributes(&self, request: &Request, node: u64, handle: Option<u64>, reply: Reply<FileAttributes>);
    fn set_attributes(&self, request: &Request, node: u64, set: SetAttributes, reply: Reply<FileAttributes>);
    fn read_link(&self, request: &Request, node: u64, reply: Reply<Bytes>);
    fn symlink(&self, request: &Request, parent: u64, name: &[u8], target: &[u8], reply: Reply<Entry>);
    fn make_node(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        mode: u32,
        device: u32,
        reply: Reply<Entry>,
    );
    fn make_directory(&self, request: &Request, parent: u64, name: &[u8], mode: u32, reply: Reply<Entry>);
    fn unlink(&self, request: &Request, parent: u64, name: &[u8], reply: Reply<()>);
    fn remove_directory(&self, request: &Request, parent: u64, name: &[u8], reply: Reply<()>);
    fn rename(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        new_parent: u64,
        new_name: &[u8],
        flags: u32,
        reply: Reply<()>,
    );
    fn link(&self, request: &Request, node: u64, new_parent: u64, new_name: &[u8], reply: Reply<Entry>);

    fn open(&self, request: &Request, node: u64, flags: u32, kill_suid: bool, reply: Reply<Opened>);
    fn create(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        mode: u32,
        flags: u32,
        kill_suid: bool,
        reply: Reply<Created>,
    );
    /// `flags` are those of open(2), now.
    fn read(
        &self,
        request: &Request,
        node: u64,
        handle: u64,
        offset: u64,
        size: u32,
        flags: u32,
        reply: Reply<Data>,
    );
    /// `kill_suid`: the writer lacks CAP_FSETID, set-user-id bits go.
    fn write(
        &self,
        request: &Request,
        node: u64,
        handle: u64,
        offset: u64,
        data: Bytes,
        flags: u32,
        kill_suid: bool,
        reply: Reply<Written>,
    );
    /// One close(2) of perhaps many on this handle.
    fn flush(&self, request: &Request, node: u64, handle: u64, reply: Reply<()>);
    /// The last close; its answer reaches nobody.
    fn release(&self, request: &Request, node: u64, handle: u64, reply: Reply<()>);
    fn sync(&self, request: &Request, node: u64, handle: u64, data_only: bool, reply: Reply<()>);

    fn open_directory(&self, request: &Request, node: u64, reply: Reply<Opened>);
    fn read_directory(
        &self,
        request: &Request,
        node: u64,
        handle: u64,
        offset: u64,
        list: DirectoryList,
        plus: bool,
        reply: Reply<DirectoryList>,
    );
    fn release_directory(&self, request: &Request, node: u64, handle: u64, reply: Reply<()>);
    fn sync_directory(&self, _request: &Request, _node: u64, _handle: u64, reply: Reply<()>) {
        reply.send(Err(Errno::NOSYS));
    }
    fn stat_file_system(&self, request: &Request, reply: Reply<Statistics>);
    fn sync_file_system(&self, _request: &Request, reply: Reply<()>) {
        reply.send(Err(Errno::NOSYS));
    }

    // What a file system need not have. ENOSYS tells the kernel never to ask again.

    /// Only without `default_permissions`.
    fn access(&self, _request: &Request, _node: u64, _mask: u32, reply: Reply<()>) {
        reply.send(Err(Errno::NOSYS));
    }
    fn fallocate(
        &self,
        _request: &Request,
        _node: u64,
        _handle: u64,
        _offset: u64,
        _length: u64,
        _mode: u32,
        reply: Reply<()>,
    ) {
        reply.send(Err(Errno::OPNOTSUPP));
    }
    fn seek(
        &self,
        _request: &Request,
        _node: u64,
        _handle: u64,
        _offset: u64,
        _whence: u32,
        reply: Reply<OffsetOut>,
    ) {
        reply.send(Err(Errno::NOSYS));
    }
    fn copy_range(&self, _request: &Request, _node: u64, _copy: CopyRange, reply: Reply<Written>) {
        reply.send(Err(Errno::NOSYS));
    }
    /// `size` 0: the caller asks for the length.
    fn get_xattr(
        &self,
        _request: &Request,
        _node: u64,
        _name: &[u8],
        _size: u32,
        reply: Reply<Result<Bytes, SizeOut>>,
    ) {
        reply.send(Err(Errno::NOSYS));
    }
    fn set_xattr(
        &self,
        _request: &Request,
        _node: u64,
        _name: &[u8],
        _value: &[u8],
        _flags: u32,
        reply: Reply<()>,
    ) {
        reply.send(Err(Errno::NOSYS));
    }
    fn list_xattr(&self, _request: &Request, _node: u64, _size: u32, reply: Reply<Result<Bytes, SizeOut>>) {
        reply.send(Err(Errno::NOSYS));
    }
    fn remove_xattr(&self, _request: &Request, _node: u64, _name: &[u8], reply: Reply<()>) {
        reply.send(Err(Errno::NOSYS));
    }
    fn get_lock(&self, _request: &Request, _node: u64, _lock: Lock, reply: Reply<FileLock>) {
        reply.send(Err(Errno::NOSYS));
    }
    fn set_lock(&self, _request: &Request, _node: u64, _lock: Lock, reply: Reply<()>) {
        reply.send(Err(Errno::NOSYS));
    }
    fn ioctl(
        &self,
        _request: &Request,
        _node: u64,
        _handle: u64,
        _command: u32,
        _argument: u64,
        _data: &[u8],
        _out_size: u32,
        reply: Reply<Bytes>,
    ) {
        reply.send(Err(Errno::NOTTY));
    }
}

//! What all operations share: the client, what is open, what the kernel was told.

use super::callers::Callers;
use super::config::{CacheMode, Config};
use super::directory_handles::DirectoryHandles;
use super::directory_view::DirectoryView;
use super::errors::Troubles;
use super::handles::Handles;
use super::kernel_view::KernelView;
use crate::protocol::Entry;
use crate::protocol::abi;
use crate::session::{Notifier, Reply, Request};
use client::{Caller, Client, OpenFile};
use rustix::io::Errno;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use wire::message::Inode;
use wire::{Error, Result};

pub struct Volume {
    pub client: Arc<Client>,
    pub cache: CacheMode,
    pub valid: Duration,
    pub handles: Handles,
    pub directories: DirectoryHandles,
    pub view: KernelView,
    pub directory_view: DirectoryView,
    pub notifier: OnceLock<Notifier>,
    callers: Callers,
    troubles: Troubles,
    root: u64,
}

impl Volume {
    pub fn new(client: Arc<Client>, config: &Config) -> Self {
        let root = client.root();
        let valid = if config.cache == CacheMode::None { Duration::ZERO } else { config.valid };
        Volume {
            client,
            cache: config.cache,
            valid,
            handles: Handles::default(),
            directories: DirectoryHandles::default(),
            view: KernelView::new(valid),
            directory_view: DirectoryView::default(),
            notifier: OnceLock::new(),
            callers: Callers::default(),
            troubles: Troubles::default(),
            root,
        }
    }

    /// The kernel calls the root 1: our root and our 1 change places. The same both ways.
    pub fn swap_root(&self, id: u64) -> u64 {
        match id {
            abi::ROOT => self.root,
            id if id == self.root => abi::ROOT,
            id => id,
        }
    }

    /// This client was fenced (P4): others may have changed what the kernel holds of these inodes. Names and
    /// attributes of others are believed for a second anyway. If too many notices wait, the next open of it drops
    /// what the kernel holds.
    pub fn forget_cached(&self, inodes: &[u64]) {
        let Some(notifier) = self.notifier.get() else { return };
        for inode in inodes {
            self.view.forget(*inode);
            notifier.invalidate_inode(self.swap_root(*inode), 0, 0, |_| ());
        }
    }

    /// The file of a handle that the kernel reads or writes through.
    pub fn used_file(&self, handle: u64) -> std::result::Result<Arc<OpenFile>, Errno> {
        let (file, first) = self.handles.get_used(handle)?;
        if let Some(opened) = first {
            self.view.used(file.inode(), opened);
        }
        Ok(file)
    }

    /// On whose behalf, and until when: an interrupt cancels the client's call.
    pub fn caller(&self, request: &Request) -> Caller {
        self.callers.caller(request)
    }

    pub fn errno(&self, operation: &'static str, error: &Error) -> Errno {
        self.troubles.errno(operation, error)
    }

    /// Sends the outcome of an operation that binds a name.
    pub fn send_entry(&self, operation: &'static str, result: Result<Inode>, reply: Reply<Entry>) {
        match result {
            Err(error) => {
                reply.send(Err(self.errno(operation, &error)));
            }
            Ok(inode) => {
                let entry = self.entry(&inode);
                if !reply.send(Ok(entry)) {
                    self.view.forget(inode.id);
                }
            }
        }
    }

    pub fn send_empty(&self, operation: &'static str, result: Result<()>, reply: Reply<()>) {
        reply.send(result.map_err(|error| self.errno(operation, &error)));
    }
}

//! Listing directories, and what concerns the file system as a whole.

use crate::{Caller, Client};
use wire::Result;
use wire::message as m;

impl Client {
    /// Entries after `offset` (0: from the start; else the `offset` of the last entry seen), at most `limit`;
    /// with their attributes if `plus`.
    ///
    /// # Errors
    /// `NotDirectory`, `PermissionDenied`.
    pub fn read_directory(
        &self,
        caller: &Caller,
        inode: u64,
        offset: u64,
        limit: u32,
        plus: bool,
    ) -> Result<m::ReadDirectoryReply> {
        let mut reply =
            self.ask(caller, move || m::ReadDirectoryRequest { header: None, inode, offset, limit, plus })?;
        for entry in &mut reply.entries {
            if let Some(attributes) = entry.attributes.take() {
                entry.attributes = Some(self.core.inodes.learn(attributes));
            }
        }
        Ok(reply)
    }

    /// # Errors
    /// When the service does not answer in time.
    pub fn stat_file_system(&self, caller: &Caller) -> Result<m::StatFileSystemReply> {
        self.ask(caller, || m::StatFileSystemRequest { header: None })
    }

    /// Every answered change of names is on the medium: fsync of a directory (P11).
    ///
    /// # Errors
    /// When the service does not answer in time.
    pub fn sync(&self, caller: &Caller) -> Result<()> {
        self.ask(caller, || m::SyncRequest { header: None }).map(drop)
    }
}

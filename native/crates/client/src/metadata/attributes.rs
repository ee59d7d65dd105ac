//! Attributes of inodes. Before each question about an inode goes what this client knows better (P20).

use crate::{Caller, Client};
use wire::Result;
use wire::message::{self as m, Inode};

impl Client {
    /// # Errors
    /// `NotFound`, `StaleHandle`.
    pub fn stat(&self, caller: &Caller, inode: u64) -> Result<Inode> {
        self.core.report_before(inode);
        self.ask_inode(caller, move || m::StatRequest { header: None, inode })
    }

    /// With a length: no write of this client is in the air while it happens (P19).
    ///
    /// # Errors
    /// `PermissionDenied`, `NotPermitted`, `FileTooLarge`.
    pub fn set_attributes(&self, caller: &Caller, mut request: m::SetAttributesRequest) -> Result<Inode> {
        let id = request.inode;
        let truncates = request.length.is_some();
        let mut gate = None;
        if truncates {
            gate = self.core.inodes.close_gate(id, caller.cancel.as_ref())?;
            request.written = self.core.inodes.written(id);
        }
        self.core.report_before(id);
        let inode = self.ask_inode(caller, move || request.clone())?;
        if truncates {
            self.core.inodes.truncated(&inode);
        }
        drop(gate);
        Ok(inode)
    }

    /// Of a directory: what new entries inherit. Of an empty file: its own.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotPermitted`.
    pub fn set_layout(&self, caller: &Caller, inode: u64, layout: m::Layout) -> Result<Inode> {
        self.ask_inode(caller, move || m::SetLayoutRequest { header: None, inode, layout: Some(layout) })
    }
}

//! Operations on names: what binds a name to an inode, or takes it away.

use super::{CallOptions, pending::Pending};
use crate::waiter::wait;
use crate::{Caller, Client};
use bytes::Bytes;
use wire::limits::NAME_BYTES_MAX;
use wire::message::{self as m, FileType, Inode};
use wire::{Code, Error, Request, Result};

/// # Errors
/// `NameTooLong`, `InvalidArgument`.
pub(crate) fn checked(name: &[u8]) -> Result<Bytes> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::new(Code::NameTooLong, format!("{} bytes", name.len())));
    }
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
        return Err(Error::new(
            Code::InvalidArgument,
            format!("{:?} is no name", String::from_utf8_lossy(name)),
        ));
    }
    Ok(Bytes::copy_from_slice(name))
}

impl Client {
    /// Sends any metadata request without waiting. `make` may be called more than once: after a reconnect the
    /// request is sent again, under the same number.
    pub fn call<R: Request>(
        &self,
        caller: &Caller,
        make: impl Fn() -> R + Send + Sync + 'static,
        done: impl FnOnce(Result<R::Reply>) + Send + 'static,
    ) {
        let options = CallOptions { deadline: self.core.limits(None).deadline, ..CallOptions::default() };
        self.core.session.submit(&Pending::new(caller, options, make, done));
    }

    pub(crate) fn ask<R: Request>(
        &self,
        caller: &Caller,
        make: impl Fn() -> R + Send + Sync + 'static,
    ) -> Result<R::Reply>
    where
        R::Reply: 'static,
    {
        // The session tells `Interrupted` itself.
        wait(None, |done| self.call(caller, make, done))
    }

    pub(crate) fn ask_inode<R: Request<Reply = m::InodeReply>>(
        &self,
        caller: &Caller,
        make: impl Fn() -> R + Send + Sync + 'static,
    ) -> Result<Inode> {
        let reply = self.ask(caller, make)?;
        let inode = reply.inode.ok_or_else(|| Error::new(Code::BadMessage, "a reply without an inode"))?;
        Ok(self.core.inodes.learn(inode))
    }

    /// # Errors
    /// `NotFound`, `NotDirectory`, `PermissionDenied`.
    pub fn lookup(&self, caller: &Caller, parent: u64, name: &[u8]) -> Result<Inode> {
        let name = checked(name)?;
        let inode =
            self.ask_inode(caller, move || m::LookupRequest { header: None, parent, name: name.clone() })?;
        // Our own writes that the service has not heard of yet: ask again behind a report (P20).
        if self.core.inodes.is_unreported(inode.id) { self.stat(caller, inode.id) } else { Ok(inode) }
    }

    /// # Errors
    /// `Exists`, and those of `lookup`.
    pub fn make_directory(&self, caller: &Caller, parent: u64, name: &[u8], mode: u32) -> Result<Inode> {
        let name = checked(name)?;
        self.ask_inode(caller, move || m::MakeDirectoryRequest {
            header: None,
            parent,
            name: name.clone(),
            mode,
        })
    }

    /// # Errors
    /// `Exists`, `NotPermitted`, and those of `lookup`.
    pub fn make_node(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        mode: u32,
        file_type: FileType,
        device: u32,
    ) -> Result<Inode> {
        let name = checked(name)?;
        self.ask_inode(caller, move || m::MakeNodeRequest {
            header: None,
            parent,
            name: name.clone(),
            mode,
            r#type: file_type as i32,
            device,
        })
    }

    /// # Errors
    /// `Exists`, and those of `lookup`.
    pub fn symlink(&self, caller: &Caller, parent: u64, name: &[u8], target: &[u8]) -> Result<Inode> {
        let (name, target) = (checked(name)?, Bytes::copy_from_slice(target));
        self.ask_inode(caller, move || m::SymlinkRequest {
            header: None,
            parent,
            name: name.clone(),
            target: target.clone(),
        })
    }

    /// # Errors
    /// `InvalidArgument` if it is no symbolic link.
    pub fn read_link(&self, caller: &Caller, inode: u64) -> Result<Bytes> {
        Ok(self.ask(caller, move || m::ReadLinkRequest { header: None, inode })?.target)
    }

    /// # Errors
    /// `Exists`, `TooManyLinks`, and those of `lookup`.
    pub fn link(&self, caller: &Caller, inode: u64, parent: u64, name: &[u8]) -> Result<Inode> {
        let name = checked(name)?;
        self.core.report_before(inode);
        self.ask_inode(caller, move || m::LinkRequest { header: None, inode, parent, name: name.clone() })
    }

    /// # Errors
    /// `IsDirectory`, and those of `lookup`.
    pub fn unlink(&self, caller: &Caller, parent: u64, name: &[u8]) -> Result<()> {
        let name = checked(name)?;
        self.ask(caller, move || m::UnlinkRequest { header: None, parent, name: name.clone() }).map(drop)
    }

    /// # Errors
    /// `NotEmpty`, and those of `lookup`.
    pub fn remove_directory(&self, caller: &Caller, parent: u64, name: &[u8]) -> Result<()> {
        let name = checked(name)?;
        self.ask(caller, move || m::RemoveDirectoryRequest { header: None, parent, name: name.clone() })
            .map(drop)
    }

    /// Flags as in renameat2(2).
    ///
    /// # Errors
    /// `Exists`, `NotEmpty`, `IsDirectory`, `InvalidArgument`, and those of `lookup`.
    pub fn rename(
        &self,
        caller: &Caller,
        source_parent: u64,
        source_name: &[u8],
        target_parent: u64,
        target_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        let (source_name, target_name) = (checked(source_name)?, checked(target_name)?);
        self.ask(caller, move || m::RenameRequest {
            header: None,
            source_parent,
            source_name: source_name.clone(),
            target_parent,
            target_name: target_name.clone(),
            flags,
        })
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_directory_can_hold_are_refused_here() {
        assert_eq!(checked(b"a b").unwrap(), "a b");
        assert_eq!(checked(&[b'x'; 256]).unwrap_err().code, Code::NameTooLong);
        assert!(checked(&[b'x'; 255]).is_ok());
        for name in [&b""[..], b"a/b", b"a\0b"] {
            assert_eq!(checked(name).unwrap_err().code, Code::InvalidArgument);
        }
    }
}

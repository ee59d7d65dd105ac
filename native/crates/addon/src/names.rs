//! Metadata requests as bytes: decoded, put to the client's own methods (which know what must go before),
//! encoded again.

use ::client::{Caller, Client};
use prost::Message;
use wire::message::{self as m, FileType, MessageKind};
use wire::request::decode;
use wire::{Code, Error, Result};

pub enum Question {
    Lookup(m::LookupRequest),
    Stat(m::StatRequest),
    Sync,
    MakeDirectory(m::MakeDirectoryRequest),
    MakeNode(m::MakeNodeRequest),
    Symlink(m::SymlinkRequest),
    Link(m::LinkRequest),
    Unlink(m::UnlinkRequest),
    RemoveDirectory(m::RemoveDirectoryRequest),
    Rename(m::RenameRequest),
    ReadDirectory(m::ReadDirectoryRequest),
    SetAttributes(Box<m::SetAttributesRequest>),
    ReadLink(m::ReadLinkRequest),
    StatFileSystem,
    SetLayout(m::SetLayoutRequest),
}

/// # Errors
/// `UnknownKind`, `BadMessage`.
pub fn decode_question(kind: u32, bytes: &[u8]) -> Result<Question> {
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    let unknown = || Error::new(Code::UnknownKind, format!("metadata request {kind}"));
    let kind =
        i32::try_from(kind).ok().and_then(|kind| MessageKind::try_from(kind).ok()).ok_or_else(unknown)?;
    Ok(match kind {
        MessageKind::KindLookup => Question::Lookup(decode(bytes)?),
        MessageKind::KindStat => Question::Stat(decode(bytes)?),
        MessageKind::KindSync => Question::Sync,
        MessageKind::KindMakeDirectory => Question::MakeDirectory(decode(bytes)?),
        MessageKind::KindMakeNode => Question::MakeNode(decode(bytes)?),
        MessageKind::KindSymlink => Question::Symlink(decode(bytes)?),
        MessageKind::KindLink => Question::Link(decode(bytes)?),
        MessageKind::KindUnlink => Question::Unlink(decode(bytes)?),
        MessageKind::KindRemoveDirectory => Question::RemoveDirectory(decode(bytes)?),
        MessageKind::KindRename => Question::Rename(decode(bytes)?),
        MessageKind::KindReadDirectory => Question::ReadDirectory(decode(bytes)?),
        MessageKind::KindSetAttributes => Question::SetAttributes(Box::new(decode(bytes)?)),
        MessageKind::KindReadLink => Question::ReadLink(decode(bytes)?),
        MessageKind::KindStatFileSystem => Question::StatFileSystem,
        MessageKind::KindSetLayout => Question::SetLayout(decode(bytes)?),
        _ => return Err(unknown()),
    })
}

impl Question {
    /// The bytes of the reply message; its header is empty.
    ///
    /// # Errors
    /// What the client says.
    pub fn ask(self, client: &Client, caller: &Caller) -> Result<Vec<u8>> {
        match self {
            Question::Lookup(ask) => inode(client.lookup(caller, ask.parent, &ask.name)),
            Question::Stat(ask) => inode(client.stat(caller, ask.inode)),
            Question::Sync => empty(client.sync(caller)),
            Question::MakeDirectory(ask) => {
                inode(client.make_directory(caller, ask.parent, &ask.name, ask.mode))
            }
            Question::MakeNode(ask) => {
                let made = FileType::try_from(ask.r#type)
                    .map_err(|_| Error::new(Code::InvalidArgument, format!("file type {}", ask.r#type)))
                    .and_then(|kind| {
                        client.make_node(caller, ask.parent, &ask.name, ask.mode, kind, ask.device)
                    });
                inode(made)
            }
            Question::Symlink(ask) => inode(client.symlink(caller, ask.parent, &ask.name, &ask.target)),
            Question::Link(ask) => inode(client.link(caller, ask.inode, ask.parent, &ask.name)),
            Question::Unlink(ask) => empty(client.unlink(caller, ask.parent, &ask.name)),
            Question::RemoveDirectory(ask) => empty(client.remove_directory(caller, ask.parent, &ask.name)),
            Question::Rename(ask) => empty(client.rename(
                caller,
                ask.source_parent,
                &ask.source_name,
                ask.target_parent,
                &ask.target_name,
                ask.flags,
            )),
            Question::ReadDirectory(ask) => {
                let listed = client.read_directory(caller, ask.inode, ask.offset, ask.limit, ask.plus);
                Ok(listed?.encode_to_vec())
            }
            Question::SetAttributes(ask) => inode(client.set_attributes(caller, *ask)),
            Question::ReadLink(ask) => {
                let target = client.read_link(caller, ask.inode)?;
                Ok(m::ReadLinkReply { header: None, target }.encode_to_vec())
            }
            Question::StatFileSystem => Ok(client.stat_file_system(caller)?.encode_to_vec()),
            Question::SetLayout(ask) => {
                inode(client.set_layout(caller, ask.inode, ask.layout.unwrap_or_default()))
            }
        }
    }
}

fn inode(result: Result<m::Inode>) -> Result<Vec<u8>> {
    Ok(m::InodeReply { header: None, inode: Some(result?) }.encode_to_vec())
}

fn empty(result: Result<()>) -> Result<Vec<u8>> {
    result.map(|()| Vec::new())
}

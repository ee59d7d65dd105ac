//! A type for every number, so that two of them cannot be swapped.

use crate::message;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);
        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "{}", self.0)
            }
        }
    };
}

id!(/// A storage node, meta node; chosen by the administrator.
    NodeId, u32);
id!(/// An ordered list of targets that hold the same chunks.
    ChainId, u32);
id!(/// One replica's store on one disk.
    TargetId, u64);
id!(/// An inode number. The upper 16 bits are its virtual partition (P18).
    InodeId, u64);
id!(/// Rises with each change of a chain's members or their states.
    ChainVersion, u64);

/// A chunk: the file's inode and the chunk's index in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId {
    pub inode: u64,
    pub index: u64,
}

/// A chunk's version: the chain version at assignment, and a number. Compared as a pair (P5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub chain: u64,
    pub number: u64,
}

impl Version {
    /// The version of a chunk that was never written.
    pub const NONE: Version = Version { chain: 0, number: 0 };
}

/// One client process: 128 random bits, never used again (P4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub [u8; 16]);

/// Names one update of one client for ever (P7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    pub client: ClientId,
    pub channel: u32,
    pub sequence: u64,
}

impl From<message::ChunkId> for ChunkId {
    fn from(id: message::ChunkId) -> Self {
        ChunkId { inode: id.inode, index: id.index }
    }
}
impl From<ChunkId> for message::ChunkId {
    fn from(id: ChunkId) -> Self {
        message::ChunkId { inode: id.inode, index: id.index }
    }
}
impl From<message::Version> for Version {
    fn from(version: message::Version) -> Self {
        Version { chain: version.chain, number: version.number }
    }
}
impl From<Version> for message::Version {
    fn from(version: Version) -> Self {
        message::Version { chain: version.chain, number: version.number }
    }
}
impl From<Tag> for message::Tag {
    fn from(tag: Tag) -> Self {
        let client = bytes::Bytes::copy_from_slice(&tag.client.0);
        message::Tag { client, channel: tag.channel, sequence: tag.sequence }
    }
}
impl TryFrom<&message::Tag> for Tag {
    type Error = crate::Error;
    fn try_from(tag: &message::Tag) -> crate::Result<Self> {
        let client = tag.client[..]
            .try_into()
            .map_err(|_| crate::Error::new(crate::Code::BadMessage, "a client id must have 16 bytes"))?;
        Ok(Tag { client: ClientId(client), channel: tag.channel, sequence: tag.sequence })
    }
}

//! Open files: what this client knows of an inode better than the service, and the handles that share it. The
//! mount and the SDK both stand on this.

mod close;
mod doubt;
mod file;
mod inode;
mod inodes;
mod opening;
mod punch;
mod report;
mod sync;

pub use file::OpenFile;
pub(crate) use inodes::Inodes;

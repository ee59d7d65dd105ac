//! A FUSE mount without libfuse: the kernel's protocol (`protocol`), a session that reads requests with
//! several threads and takes answers from any thread (`session`), and the mount point (`attach`). A file
//! system implements `FileSystem`. It must never run a request twice, answer one twice, or let one go
//! unanswered.

mod attach;
mod file_system;
pub mod mount;
pub mod protocol;
mod session;

pub use attach::{AttachMethod, AttachOptions, clear_stale};
pub use file_system::FileSystem;
pub use protocol::{
    CopyRange, Created, Data, DirectoryList, Entry, FileAttributes, Lock, Opcode, Opened, SetAttributes,
    Statistics, TimeChange, Written, abi,
};
pub use rustix::io::Errno;
pub use session::{
    Channel, Metrics, Negotiated, Notifier, OperationMetrics, Reply, Request, Session, SessionOptions,
};

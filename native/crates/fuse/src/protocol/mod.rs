//! The kernel's FUSE protocol: structures, decoding of requests, encoding of answers. Pure: no descriptors,
//! no threads. The source is the kernel's include/uapi/linux/fuse.h; lengths that the kernel states are
//! checked before they are used.

pub mod abi;
mod answer;
mod directory;
mod opcode;
mod operation;
mod operation_decode;

pub use answer::{Answer, Created, Data, Entry, FileAttributes, Opened, Statistics, Written};
pub use directory::DirectoryList;
pub use opcode::Opcode;
pub use operation::{CopyRange, Lock, Operation, SetAttributes, TimeChange};
pub use operation_decode::{Arguments, decode, write_arguments};

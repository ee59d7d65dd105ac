//! A disk whose power can be cut: a file system of one file, on which a loop device stands. It remembers each
//! write and each flush in order. From that log a cut at any moment is made: everything that a flush covered
//! is there, and of what came later any part, in any order, the sectors of the last write by chance. It also
//! is slow or fails when told to, through a second file.

mod cut;
mod fault;
mod file_system;
mod log;

pub use cut::{Cut, Outcome, cut, moment};
pub use file_system::{DiskOptions, start};
pub use log::{Record, read_log};

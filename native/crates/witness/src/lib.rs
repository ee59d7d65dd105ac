//! Programs that use a mounted file system, or stand below one, and tell whether it kept its word:
//! `operations` compares random operations with a model, `history` records what several clients saw of shared
//! blocks and checks that one order explains it, `disk` is a disk whose power can be cut, and `promises` knows
//! what fsync promised. They know nothing of Catena but its mount.

mod arguments;
mod clock;
pub mod disk;
pub mod history;
mod latencies;
pub mod operations;
pub mod promises;
mod random;

pub use arguments::Arguments;

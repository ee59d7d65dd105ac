//! Random operations on one file, compared with a model in memory after each: what fsx does, on several
//! mounts of one file system at once. One operation at a time, so that each mount must show what the others
//! wrote.

mod choice;
mod mapping;
mod run;

pub use run::{Options, Outcome, run};

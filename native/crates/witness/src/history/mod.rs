//! Histories of shared blocks: several clients write and read blocks of a few shared chunks while servers
//! die; each operation is recorded with the boot clock's times of its call and its return; the checker says
//! whether one order of the operations explains all that was read (linearizability).

mod checker;
mod file;
mod recorder;

pub use checker::{Violation, check};
pub use file::{HistoryFile, check_file};
pub use recorder::{RecorderOptions, record};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
}

/// One operation on one block, which is a register: a write replaces it, a read sees it whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub register: u32,
    pub kind: Kind,
    /// What was written or read. No two writes of a history write the same; 0 is what was there before all.
    pub value: u64,
    pub called_ns: u64,
    /// None: nobody answered, or the answer was an error. A write may then take effect at any time, or never.
    pub returned_ns: Option<u64>,
}

//! Punching a hole into an open file.

use super::OpenFile;
use super::file::writes;
use crate::Caller;
use crate::chain_call::Limits;
use crate::chunks::{Changed, Chunks};
use std::sync::Arc;
use wire::{Code, Error, Result};

impl OpenFile {
    /// What the file has of the range becomes zeros; its length stays. Returns when every serving member has
    /// it so. A truncation of this client waits for it as for a write (P19).
    ///
    /// # Errors
    /// `BadHandle` if the file is not open for writing, and those of `write`; then a part may be done.
    pub fn punch(self: &Arc<Self>, caller: &Caller, offset: u64, length: u64) -> Result<()> {
        self.check()?;
        if !writes(self.flags) {
            return Err(Error::new(Code::BadHandle, "the file is not open for writing"));
        }
        let layout = self.layout()?;
        // Behind its end a file has nothing; others may have moved that since it was last known here.
        self.ask_length(caller)?;
        let end = offset.saturating_add(length).min(self.state.known.lock().length());
        if end <= offset {
            return Ok(());
        }
        let number = self.state.begin_write(0, caller.cancel.as_ref())?;
        let chunks = Chunks { core: self.core.clone() };
        let limits = Limits { epoch: Some(self.epoch), ..self.core.limits(caller.cancel.clone()) };
        let punched = chunks.punch_within(&limits, self.inode(), &layout, offset, end - offset);
        // What was done is reported also if another part failed.
        self.state.end_write(number, punched.as_ref().ok());
        punched.and_then(Changed::whole).map(drop)
    }
}

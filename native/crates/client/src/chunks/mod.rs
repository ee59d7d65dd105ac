//! Bytes of files as chunks on chains, without names: what a file's inode id and layout are enough for.
//! Everything here comes in a form with a completion, and most in one that waits.

mod change;
mod flush;
mod gather;
mod lanes;
mod list;
mod locate;
mod pieces;
mod punch;
mod read;
mod routed;
mod shrink;
mod space;
mod write;

pub(crate) use lanes::Lanes;
pub use locate::Located;
pub use space::Space;
pub(crate) use write::{Acked, Changed};

use crate::chain_call::Limits;
use crate::core::Core;
use std::sync::Arc;

/// Chunk operations of one client.
#[derive(Clone)]
pub struct Chunks {
    pub(crate) core: Arc<Core>,
}

impl Chunks {
    pub(crate) fn limits(&self) -> Limits {
        self.core.limits(None)
    }
}

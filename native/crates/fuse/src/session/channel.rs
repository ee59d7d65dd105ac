//! How requests come from the kernel and answers go back: the seam under which a second transport (FUSE over
//! io_uring) fits. An answer goes back through the channel that its request came from.

use rustix::io::Errno;
use std::io::IoSlice;
use std::sync::Arc;

pub trait Channel: Send + Sync + 'static {
    /// Blocks until one whole request lies at the start of `buffer`; its length.
    /// `ENODEV` and `ECONNABORTED`: the mount is gone, nothing comes any more.
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno>;

    /// Sends one whole answer or notification. `ENOENT`: its request was given up meanwhile.
    fn send(&self, pieces: &[IoSlice<'_>]) -> Result<(), Errno>;

    /// One more channel of the same connection, for another worker.
    fn another(&self) -> Result<Arc<dyn Channel>, Errno>;
}

//! Open files by the number that the kernel repeats with each request.

use super::kernel_view::Content;
use client::OpenFile;
use parking_lot::{Condvar, Mutex, RwLock};
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

struct Handle {
    file: Arc<OpenFile>,
    /// What the file was when it was opened.
    opened: Content,
    used: AtomicBool,
}

#[derive(Default)]
pub struct Handles {
    files: RwLock<HashMap<u64, Handle>>,
    last: AtomicU64,
    /// Closes that are on their way to the service.
    closing: Arc<(Mutex<usize>, Condvar)>,
}

impl Handles {
    pub fn add(&self, file: Arc<OpenFile>, opened: Content) -> u64 {
        let handle = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let used = AtomicBool::new(false);
        self.files.write().insert(handle, Handle { file, opened, used });
        handle
    }

    pub fn get(&self, handle: u64) -> Result<Arc<OpenFile>, Errno> {
        let files = self.files.read();
        files.get(&handle).map(|handle| handle.file.clone()).ok_or(Errno::BADF)
    }

    /// For a read or a write; at the first one also what the file was when it was opened.
    pub fn get_used(&self, handle: u64) -> Result<(Arc<OpenFile>, Option<Content>), Errno> {
        let files = self.files.read();
        let Handle { file, opened, used } = files.get(&handle).ok_or(Errno::BADF)?;
        let first = !used.load(Ordering::Relaxed) && !used.swap(true, Ordering::Relaxed);
        Ok((file.clone(), first.then_some(*opened)))
    }

    pub fn count(&self) -> usize {
        self.files.read().len()
    }

    /// The kernel is done with the handle, or never got it.
    pub fn close(&self, handle: u64) {
        let Some(Handle { file, .. }) = self.files.write().remove(&handle) else { return };
        *self.closing.0.lock() += 1;
        let closing = self.closing.clone();
        let inode = file.inode();
        file.close_later(move |result| {
            if let Err(error) = result {
                log::warn!(target: "mount", inode, error:%; "close.failed");
            }
            *closing.0.lock() -= 1;
            closing.1.notify_all();
        });
    }

    pub fn wait_closed(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut closing = self.closing.0.lock();
        while *closing > 0 && !self.closing.1.wait_until(&mut closing, deadline).timed_out() {}
    }
}

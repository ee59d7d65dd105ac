//! Pooled buffers: a 1 MiB allocation costs 256 page faults, a pooled one costs none.
//! A `Buffer` is filled once, then frozen into `Bytes` that may be shared; the memory returns to its pool with the last clone.

use bytes::Bytes;
use parking_lot::Mutex;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Sizes that the pool keeps, in bytes; a request takes the next larger one. Larger requests are allocated and freed.
const CLASSES: [usize; 6] = [8 << 10, 32 << 10, 128 << 10, (1 << 20) + 4096, 4 << 20, 16 << 20];

#[derive(Debug)]
struct Shelves {
    idle: [Vec<Box<[u8]>>; CLASSES.len()],
    idle_bytes: usize,
}

/// Keeps up to `idle_bytes_max` of unused buffers.
#[derive(Clone, Debug)]
pub struct BufferPool {
    shelves: Arc<Mutex<Shelves>>,
    idle_bytes_max: usize,
}

impl BufferPool {
    pub fn new(idle_bytes_max: usize) -> Self {
        let idle = std::array::from_fn(|_| Vec::new());
        BufferPool { shelves: Arc::new(Mutex::new(Shelves { idle, idle_bytes: 0 })), idle_bytes_max }
    }

    /// A buffer of `len` bytes with unspecified (old) content.
    pub fn take(&self, len: usize) -> Buffer {
        let class = CLASSES.iter().position(|&size| size >= len);
        let memory = class.and_then(|class| {
            let mut shelves = self.shelves.lock();
            let memory = shelves.idle[class].pop();
            if memory.is_some() {
                shelves.idle_bytes -= CLASSES[class];
            }
            memory
        });
        let size = class.map_or(len, |class| CLASSES[class]);
        let memory = memory.unwrap_or_else(|| vec![0; size].into_boxed_slice());
        Buffer { memory, len, pool: self.clone() }
    }

    fn give_back(&self, memory: Box<[u8]>) {
        let Some(class) = CLASSES.iter().position(|&size| size == memory.len()) else { return };
        let mut shelves = self.shelves.lock();
        if shelves.idle_bytes + memory.len() <= self.idle_bytes_max {
            shelves.idle_bytes += memory.len();
            shelves.idle[class].push(memory);
        }
    }
}

/// Writable memory from a pool. Dropping it gives it back.
#[derive(Debug)]
pub struct Buffer {
    memory: Box<[u8]>,
    len: usize,
    pool: BufferPool,
}

impl Buffer {
    /// Shortens the visible part.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_returns_with_the_last_clone() {
        let pool = BufferPool::new(1 << 20);
        let mut buffer = pool.take(5000);
        buffer[4999] = 7;
        let bytes = buffer.freeze();
        let clone = bytes.clone();
        drop(bytes);
        assert_eq!(pool.shelves.lock().idle_bytes, 0);
        assert_eq!(clone[4999], 7);
        drop(clone);
        assert_eq!(pool.shelves.lock().idle_bytes, CLASSES[0]);
        assert_eq!(pool.take(10).len(), 10);
    }

    #[test]
    fn the_pool_keeps_no_more_than_its_limit() {
        let pool = BufferPool::new(CLASSES[0]);
        let (first, second) = (pool.take(1), pool.take(1));
        drop((first, second));
        assert_eq!(pool.shelves.lock().idle_bytes, CLASSES[0]);
    }
}

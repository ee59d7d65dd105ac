//! What the kernel was told of each inode, so that an open can tell whether its attributes and cached pages
//! are still right (close-to-open, P20). An entry lives as long as the kernel knows the inode; losing one
//! costs only cached pages.

use parking_lot::Mutex;
use std::collections::HashMap;
use wire::message::Inode;

/// Few threads ever meet.
const SHARDS: usize = 16;

/// Tells apart the contents that an inode had.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Content {
    change: u64,
    generation: u64,
    length: u64,
    mtime_ns: i64,
}

#[derive(Clone, Copy)]
struct Known {
    attributes: Content,
    /// As of the last open: what cached pages were read from, or from something newer.
    pages: Option<Content>,
}

#[derive(Default)]
pub struct KernelView {
    shards: [Mutex<HashMap<u64, Known>>; SHARDS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Cached attributes differ from these: drop them before the open is answered.
    pub attributes_are_stale: bool,
    /// Cached pages are those of this content.
    pub pages_are_fresh: bool,
}

fn content(inode: &Inode) -> Content {
    let Inode { change, generation, length, mtime_ns, .. } = *inode;
    Content { change, generation, length, mtime_ns }
}

impl KernelView {
    fn shard(&self, inode: u64) -> &Mutex<HashMap<u64, Known>> {
        // The upper bits are the virtual partition; ids within one count up.
        &self.shards[(inode ^ inode >> 48) as usize % SHARDS]
    }

    pub fn told(&self, inode: &Inode) {
        let attributes = content(inode);
        let mut shard = self.shard(inode.id).lock();
        shard.entry(inode.id).or_insert(Known { attributes, pages: None }).attributes = attributes;
    }

    pub fn opened(&self, inode: &Inode) -> Freshness {
        let now = content(inode);
        let mut shard = self.shard(inode.id).lock();
        let before = shard.insert(inode.id, Known { attributes: now, pages: Some(now) });
        Freshness {
            attributes_are_stale: before.is_some_and(|known| known.attributes != now),
            pages_are_fresh: before.is_some_and(|known| known.pages == Some(now)),
        }
    }

    /// The kernel forgot it, or never got to know it.
    pub fn forget(&self, inode: u64) {
        self.shard(inode).lock().remove(&inode);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(change: u64, length: u64) -> Inode {
        Inode { id: 5, change, length, ..Default::default() }
    }

    #[test]
    fn pages_stay_only_while_nothing_changed() {
        let view = KernelView::default();
        view.told(&inode(1, 10));
        let first = view.opened(&inode(1, 10));
        assert_eq!(first, Freshness { attributes_are_stale: false, pages_are_fresh: false });
        let again = view.opened(&inode(1, 10));
        assert_eq!(again, Freshness { attributes_are_stale: false, pages_are_fresh: true });
        let changed = view.opened(&inode(2, 10));
        assert_eq!(changed, Freshness { attributes_are_stale: true, pages_are_fresh: false });
        view.forget(5);
        let forgotten = view.opened(&inode(2, 10));
        assert_eq!(forgotten, Freshness { attributes_are_stale: false, pages_are_fresh: false });
    }

    #[test]
    fn attributes_told_in_between_do_not_make_old_pages_fresh() {
        let view = KernelView::default();
        view.opened(&inode(1, 10));
        view.told(&inode(2, 20));
        let opened = view.opened(&inode(2, 20));
        assert_eq!(opened, Freshness { attributes_are_stale: false, pages_are_fresh: false });
    }
}

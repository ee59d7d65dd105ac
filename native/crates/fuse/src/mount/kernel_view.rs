//! What the kernel was told of each inode, so that an open can tell whether its attributes and cached pages
//! are still right (close-to-open, P20). Nothing counts as done before the kernel has done it: two opens may
//! be in the air at a time. An entry lives as long as the kernel knows the inode; losing one costs only cached
//! pages and a notice.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wire::message::Inode;

/// Few threads ever meet.
const SHARDS: usize = 16;

/// Tells apart the contents that an inode had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    change: u64,
    generation: u64,
    length: u64,
    mtime_ns: i64,
}

/// What the kernel may believe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attributes {
    /// None: it has to ask.
    Dropped,
    These(Content),
    /// Of answers that it asked for at the same time the kernel keeps the one that it handles first, whichever
    /// was made first here.
    Unknown,
}

struct Known {
    attributes: Attributes,
    /// Which answer told them, and when.
    telling: u64,
    told_at: Instant,
    /// Cached pages were read from this content, or from something newer.
    pages: Option<Content>,
}

pub struct KernelView {
    shards: [Mutex<HashMap<u64, Known>>; SHARDS],
    tellings: AtomicU64,
    /// Attributes told longer ago than this are not believed any more.
    forgotten_after: Duration,
}

/// What an open finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub content: Content,
    /// The kernel may believe other attributes: to be dropped before the open is answered, and then `dropped`.
    pub attributes_are_stale: bool,
    /// Cached pages are those of this content.
    pub pages_are_fresh: bool,
    /// The last answer that told attributes before.
    pub telling: u64,
}

fn content(inode: &Inode) -> Content {
    let Inode { change, generation, length, mtime_ns, .. } = *inode;
    Content { change, generation, length, mtime_ns }
}

impl KernelView {
    /// `valid`: how long the kernel may believe attributes.
    pub fn new(valid: Duration) -> Self {
        // Counted from when it handles the answer: as long again for a process that is slow to do so.
        KernelView { shards: Default::default(), tellings: AtomicU64::new(0), forgotten_after: 2 * valid }
    }

    fn shard(&self, inode: u64) -> &Mutex<HashMap<u64, Known>> {
        // The upper bits are the virtual partition; ids within one count up.
        &self.shards[(inode ^ inode >> 48) as usize % SHARDS]
    }

    fn next_telling(&self) -> u64 {
        self.tellings.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// An answer with these attributes is on its way.
    pub fn told(&self, inode: &Inode, now: Instant) {
        let these = Attributes::These(content(inode));
        let telling = self.next_telling();
        let mut shard = self.shard(inode.id).lock();
        let new = Known { attributes: these, telling, told_at: now, pages: None };
        let known = shard.entry(inode.id).or_insert(new);
        let believed = now.saturating_duration_since(known.told_at) <= self.forgotten_after;
        let other = known.attributes != these && known.attributes != Attributes::Dropped;
        known.attributes = if other && believed { Attributes::Unknown } else { these };
        (known.telling, known.told_at) = (telling, now);
    }

    /// The service answered an open.
    pub fn opened(&self, inode: &Inode, now: Instant) -> Opening {
        let content = content(inode);
        let mut shard = self.shard(inode.id).lock();
        // Not there: a FORGET may have come behind an answer that made the kernel know it again.
        let known = shard.entry(inode.id).or_insert_with(|| Known {
            attributes: Attributes::Unknown,
            telling: self.next_telling(),
            told_at: now,
            pages: None,
        });
        let fresh = known.attributes == Attributes::Dropped || known.attributes == Attributes::These(content);
        Opening {
            content,
            attributes_are_stale: !fresh,
            pages_are_fresh: known.pages == Some(content),
            telling: known.telling,
        }
    }

    /// The kernel has dropped the attributes that it was told until then.
    pub fn attributes_dropped(&self, inode: u64, telling: u64) {
        if let Some(known) = self.shard(inode).lock().get_mut(&inode)
            && known.telling == telling
        {
            known.attributes = Attributes::Dropped;
        }
    }

    /// The kernel reads or writes through a file that was opened when the inode had this content: so that open is
    /// over, with which it dropped the pages cached before, or they were fresh.
    pub fn used(&self, inode: u64, opened: Content) {
        if let Some(known) = self.shard(inode).lock().get_mut(&inode) {
            let newer = known.pages.is_none_or(|pages| pages.change < opened.change);
            known.pages = if newer { Some(opened) } else { known.pages };
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

    const VALID: Duration = Duration::from_secs(1);

    fn inode(change: u64, length: u64) -> Inode {
        Inode { id: 5, change, length, ..Default::default() }
    }

    /// The kernel was told `first`, long before `start`; a file opened then was read.
    fn known(first: &Inode) -> (KernelView, Instant) {
        let (view, start) = (KernelView::new(VALID), Instant::now());
        view.told(first, start);
        let opened = view.opened(first, start);
        assert!(!opened.attributes_are_stale && !opened.pages_are_fresh);
        view.used(5, opened.content);
        (view, start + 10 * VALID)
    }

    fn state(opening: &Opening) -> (bool, bool) {
        (opening.attributes_are_stale, opening.pages_are_fresh)
    }

    #[test]
    fn pages_stay_only_while_nothing_changed() {
        let (view, now) = known(&inode(1, 10));
        assert_eq!(state(&view.opened(&inode(1, 10), now)), (false, true));
        assert_eq!(state(&view.opened(&inode(2, 10), now)), (true, false));
        view.forget(5);
        assert_eq!(state(&view.opened(&inode(2, 10), now)), (true, false), "a lookup may have overtaken it");
    }

    #[test]
    fn of_opens_at_a_time_none_believes_that_the_kernel_has_done_what_another_began() {
        let (view, now) = known(&inode(1, 10));
        let first = view.opened(&inode(2, 20), now);
        let second = view.opened(&inode(2, 20), now);
        assert_eq!((state(&first), state(&second)), ((true, false), (true, false)));
        view.attributes_dropped(5, first.telling);
        assert_eq!(state(&view.opened(&inode(2, 20), now)), (false, false), "whose open is not over");
        view.used(5, first.content);
        assert_eq!(state(&view.opened(&inode(2, 20), now)), (false, true));
        assert_eq!(state(&view.opened(&inode(3, 20), now)), (false, false));
    }

    #[test]
    fn attributes_told_while_older_ones_are_dropped_are_not_taken_for_dropped() {
        let (view, now) = known(&inode(1, 10));
        let opened = view.opened(&inode(2, 20), now);
        view.told(&inode(2, 20), now);
        view.attributes_dropped(5, opened.telling);
        assert!(!view.opened(&inode(2, 20), now).attributes_are_stale);
        assert!(view.opened(&inode(3, 30), now).attributes_are_stale);
    }

    #[test]
    fn of_two_attributes_told_at_a_time_the_kernel_may_have_either() {
        let (view, now) = known(&inode(1, 10));
        view.told(&inode(1, 10), now);
        view.told(&inode(2, 20), now);
        for content in [inode(1, 10), inode(2, 20)] {
            assert!(view.opened(&content, now).attributes_are_stale);
        }
        view.told(&inode(2, 20), now + 3 * VALID);
        let opened = view.opened(&inode(2, 20), now + 3 * VALID);
        assert!(!opened.attributes_are_stale, "the others are not believed any more");
        assert!(!opened.pages_are_fresh, "pages of what was there before");
    }

    #[test]
    fn a_file_opened_long_ago_does_not_make_newer_pages_old() {
        let (view, now) = known(&inode(1, 10));
        let old = view.opened(&inode(1, 10), now);
        let new = view.opened(&inode(2, 20), now);
        view.used(5, new.content);
        view.used(5, old.content);
        assert!(view.opened(&inode(2, 20), now).pages_are_fresh);
        view.forget(5);
        view.used(5, new.content);
        assert!(!view.opened(&inode(2, 20), now).pages_are_fresh);
    }
}

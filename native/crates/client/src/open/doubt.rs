//! Writes whose report the service dropped, because another client truncated the file meanwhile: which was
//! first only the chunks know (P19). What was written before the truncation is not in them any more.

use super::inode::Known;
use std::time::Instant;
use wire::message::Inode;

/// Writes of this client that may lie before a truncation by another one, or behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// Rises with each: what was found out for an older one says too little.
    number: u64,
    /// The end of the last byte.
    end: u64,
    /// The generation that the file has now, as far as this client knows, and its length under it.
    pub generation: u64,
    pub length: u64,
}

impl Known {
    pub(super) fn doubt(&mut self, end: u64) {
        self.doubts += 1;
        let end = self.doubtful.map_or(end, |doubt| doubt.end.max(end));
        self.doubtful = Some(Doubt { number: self.doubts, end, generation: 0, length: 0 });
    }

    pub fn doubt_to_settle(&self) -> Option<Doubt> {
        let Inode { generation, length, .. } = self.attributes;
        self.doubtful.map(|doubt| Doubt { generation, length, ..doubt })
    }

    pub(super) fn doubtful_end(&self) -> u64 {
        self.doubtful.map_or(0, |doubt| doubt.end)
    }

    pub fn is_doubtful(&self) -> bool {
        self.doubtful.is_some()
    }

    /// The chunks end there: what lies below was written behind the truncation, and is to be reported. Still
    /// doubtful if something happened since `doubt` was asked for.
    pub fn settle(&mut self, doubt: &Doubt, chunks_end: u64) {
        let same = self.doubtful.is_some_and(|now| now.number == doubt.number);
        if same && self.attributes.generation == doubt.generation {
            self.doubtful = None;
            self.own_length = self.own_length.max(doubt.end.min(chunks_end));
            self.unreported.get_or_insert_with(Instant::now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::inode::{InodeState, Report};
    use super::*;
    use crate::chunks::{Acked, Changed};
    use std::sync::Arc;

    fn inode(change: u64, generation: u64, length: u64) -> Inode {
        Inode { id: 7, change, generation, length, ..Default::default() }
    }

    fn written(ends: &[u64]) -> Arc<InodeState> {
        let state = Arc::new(InodeState::new(inode(1, 1, 10)));
        for &end in ends {
            let number = state.begin_write(end, None).unwrap();
            let acked = Acked { end, ..Acked::default() };
            state.end_write(number, Some(&Changed { acked, failure: None }));
        }
        state
    }

    #[test]
    fn what_a_truncation_by_others_met_is_doubtful_until_the_chunks_were_asked() {
        // Learnt before the report, by its answer, or by another way while its answer was lost.
        let ways: [fn(&mut Known); 3] = [
            |known| known.learn(&inode(2, 2, 5)),
            |known| {
                let report = known.take_report().unwrap();
                known.told(&report, 2);
                known.learn(&inode(2, 2, 5));
            },
            |known| {
                let report = known.take_report().unwrap();
                known.learn(&inode(2, 2, 5));
                known.put_back(&report);
            },
        ];
        for way in ways {
            // Nothing of it, some of it, and all of it (and somebody else's) lies behind the truncation.
            for (chunks_end, length) in [(5, 5), (40, 40), (100, 100), (900, 100)] {
                let state = written(&[100, 40]);
                let mut known = state.known.lock();
                way(&mut known);
                assert_eq!(known.length(), 5, "nobody knows yet");
                let doubt = known.doubt_to_settle().unwrap();
                assert_eq!((doubt.end, doubt.generation, doubt.length), (100, 2, 5));
                known.settle(&doubt, chunks_end);
                assert!(!known.is_doubtful());
                let report = known.claim_report().unwrap();
                assert_eq!((report.length.max(5), report.generation), (length, 2));
                assert_eq!(known.length(), length);
            }
        }
    }

    #[test]
    fn what_the_service_took_is_not_doubtful_and_our_own_truncation_ends_all_doubt() {
        let state = written(&[100]);
        let mut known = state.known.lock();
        let report = known.take_report().unwrap();
        known.told(&report, 1);
        known.learn(&inode(2, 2, 5));
        assert!(!known.is_doubtful(), "it was there before the truncation");
        drop(known);
        let state = written(&[100]);
        let mut known = state.known.lock();
        known.learn(&inode(2, 2, 5));
        known.truncated(&inode(3, 3, 7));
        assert!(!known.is_doubtful());
        assert_eq!(known.claim_report().unwrap().length, 0);
    }

    #[test]
    fn a_report_that_our_own_truncation_overtook_leaves_no_doubt() {
        let ways: [fn(&mut Known, &Report); 2] =
            [|known, report| known.told(report, 2), |known, report| known.put_back(report)];
        for way in ways {
            let state = written(&[100]);
            let mut known = state.known.lock();
            let report = known.take_report().unwrap();
            assert_eq!(known.written(), 100);
            known.learn(&inode(2, 2, 7));
            known.truncated(&inode(2, 2, 7));
            way(&mut known, &report);
            assert_eq!((known.is_doubtful(), known.is_unreported(), known.written()), (false, false, 0));
        }
    }

    #[test]
    fn an_answer_of_the_chunks_that_is_too_old_settles_nothing() {
        let state = written(&[100]);
        let mut known = state.known.lock();
        known.learn(&inode(2, 2, 5));
        let before = known.doubt_to_settle().unwrap();
        known.learn(&inode(3, 3, 6));
        known.settle(&before, 100);
        assert!(known.is_doubtful(), "truncated again");
        let before = known.doubt_to_settle().unwrap();
        assert_eq!(before.generation, 3);
        let report = known.claim_report().unwrap();
        known.told(&report, 4);
        known.settle(&before, 100);
        assert!(known.is_doubtful(), "another report was dropped meanwhile");
        known.learn(&inode(4, 4, 6));
        let now = known.doubt_to_settle().unwrap();
        known.settle(&now, 50);
        assert_eq!((known.is_doubtful(), known.length()), (false, 50));
    }
}

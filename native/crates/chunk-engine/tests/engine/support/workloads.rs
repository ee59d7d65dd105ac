//! Random steps.

#![allow(dead_code)] // Each test binary uses a part of it.

use super::model::{CHUNK, Step};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Moves the writes that `choose` says to the end of their chunk, where the disk's blocks are shared with what was
/// there before a cut.
pub fn append(steps: &mut [Step], mut choose: impl FnMut() -> bool) {
    let mut lengths: BTreeMap<u64, u32> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Write { chunk, offset, length, .. } => {
                let end = lengths.entry(*chunk).or_default();
                if choose() && *end < CHUNK {
                    *offset = *end;
                    *length = (*length).min((CHUNK - *end) as usize);
                }
                *end = (*end).max(*offset + *length as u32);
            }
            Step::Truncate { chunk, length, .. } => {
                lengths.entry(*chunk).and_modify(|end| *end = (*end).min(*length));
            }
            Step::Replace { chunk, length, .. } => drop(lengths.insert(*chunk, *length as u32)),
            Step::Remove { chunk, .. } => drop(lengths.remove(chunk)),
            _ => {}
        }
    }
}

pub fn steps() -> impl Strategy<Value = Step> {
    let chunk = || 1u64..4;
    let offset =
        prop_oneof![Just(0u32), 0u32..CHUNK, (0u32..64).prop_map(|block| block * 4096), 0u32..10_000];
    let length = prop_oneof![1usize..300, Just(4096), Just(65_536), 1usize..40_000, 60_000usize..200_000];
    let write = (chunk(), offset, length, any::<bool>()).prop_map(|(chunk, offset, length, commit)| {
        let length = length.min((CHUNK - offset) as usize).max(1);
        Step::Write { chunk, offset: offset.min(CHUNK - 1), length, commit }
    });
    let truncate = (chunk(), prop_oneof![0u32..CHUNK, 0u32..20_000], any::<bool>())
        .prop_map(|(chunk, length, commit)| Step::Truncate { chunk, length, commit });
    let punch = (chunk(), 0u32..CHUNK, prop_oneof![1u32..5000, 1u32..CHUNK], any::<bool>()).prop_map(
        |(chunk, offset, length, commit)| Step::Punch {
            chunk,
            offset,
            length: length.min(CHUNK - offset),
            commit,
        },
    );
    prop_oneof![
        10 => write,
        3 => truncate,
        3 => punch,
        1 => (chunk(), any::<bool>()).prop_map(|(chunk, commit)| Step::Remove { chunk, commit }),
        1 => (chunk(), 0usize..100_000, any::<bool>())
            .prop_map(|(chunk, length, older)| Step::Replace { chunk, length, older }),
        6 => (chunk(), any::<bool>()).prop_map(|(chunk, all)| Step::Commit { chunk, all }),
        3 => chunk().prop_map(|chunk| Step::CommitSoon { chunk }),
        3 => Just(Step::Flush),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
        1 => Just(Step::CloseAndOpen),
        1 => Just(Step::ForgetClient),
    ]
}

//! The disk loses, tears and reorders what was not flushed, at every point of short workloads and at random
//! points of long ones. Flushed is there; the rest is old, new or pending; nothing is ever torn or another
//! chunk's.

mod support;

use chunk_engine::MemoryDisk;
use chunk_engine::disk::{Crash, Fault};
use proptest::prelude::*;
use support::model::{CHUNK, Step, World, small};

fn fresh() -> World {
    World::new(MemoryDisk::new(1 << 30), small())
}

fn steps() -> impl Strategy<Value = Step> {
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
        3 => Just(Step::Flush),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
        1 => Just(Step::CloseAndOpen),
        1 => Just(Step::ForgetClient),
    ]
}

/// More than the default are run by `PROPTEST_CASES=…`.
fn cases() -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { cases: wanted.unwrap_or(200), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn random_workloads_equal_the_model(steps in prop::collection::vec(steps(), 1..60)) {
        let mut world = fresh();
        for step in &steps {
            world.step(step).unwrap();
            world.check_now();
        }
        let report = world.engine.as_ref().unwrap().check().unwrap();
        prop_assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{:?}", report);
    }

    #[test]
    fn random_workloads_survive_the_loss_of_power(
        steps in prop::collection::vec(steps(), 1..40),
        at in 1u64..400,
        seed in any::<u64>(),
    ) {
        let mut world = fresh();
        world.disk.fail_at(at, Fault::PowerOff);
        let _: Result<(), wire::Error> = steps.iter().try_for_each(|step| world.step(step));
        world.check_after(Crash::LoseAll);
        for more in 0..4 {
            world.check_after(Crash::Random(seed.wrapping_add(more)));
        }
    }
}

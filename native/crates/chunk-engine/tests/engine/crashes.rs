//! The disk loses, tears and reorders what was not flushed, at every point of short workloads and at random
//! points of long ones. Flushed is there; the rest is old, new or pending; nothing is ever torn or another
//! chunk's.

use crate::support::model::{World, small};
use crate::support::workloads::steps;
use chunk_engine::disk::{Crash, Fault};
use chunk_engine::{MemoryDisk, Options};
use proptest::prelude::*;

/// `cached`: chunks at rest stay in memory.
fn fresh(cached: bool) -> World {
    let layout_cache_bytes = if cached { 1 << 20 } else { 0 };
    World::new(MemoryDisk::new(1 << 30), Options { layout_cache_bytes, ..small() })
}

/// More than the default are run by `PROPTEST_CASES=…`.
fn cases() -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { cases: wanted.unwrap_or(200), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn random_workloads_equal_the_model(
        steps in prop::collection::vec(steps(), 1..60),
        cached in any::<bool>(),
    ) {
        let mut world = fresh(cached);
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
        cached in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut world = fresh(cached);
        world.disk.fail_at(at, Fault::PowerOff);
        let _: Result<(), wire::Error> = steps.iter().try_for_each(|step| world.step(step));
        world.check_after(Crash::LoseAll);
        for more in 0..4 {
            world.check_after(Crash::Random(seed.wrapping_add(more)));
        }
    }
}

//! Worlds in which every rule is kept: nothing may be found. And the proof that a seed is a history.

use sim::{CHAINS_MAX, Choice, Outcome, Planted, Profile, Random, ScriptedFault, run_seed, run_with};

#[test]
fn hundreds_of_worlds_keep_every_rule() {
    let (mut events, mut faults, mut operations) = (0, 0, 0);
    for seed in 0..400 {
        let outcome = run_seed(seed, Choice::default());
        let replay = format!("cargo run --release -p sim -- chain --seed {seed} --verbose");
        assert_eq!((outcome.violation, outcome.undecided), (None, 0), "{replay}");
        events += outcome.events;
        faults += outcome.faults;
        operations += outcome.operations;
    }
    // The worlds are eventful, or they would prove nothing. `sim chain --check` runs more of them, and fresh ones.
    assert!(events > 2_000_000 && faults > 3000 && operations > 200_000, "{events} {faults} {operations}");
}

/// Whatever else they are, with as many chains as there can be.
#[test]
fn worlds_of_several_chains_keep_every_rule() {
    for seed in 0..150 {
        for chains in 2..=CHAINS_MAX {
            let outcome = run_seed(seed, Choice { chains: Some(chains), ..Choice::default() });
            assert_eq!((outcome.violation, outcome.undecided), (None, 0), "seed {seed} with {chains} chains");
        }
    }
}

/// A seed that was taken for a failure, or was one.
fn outcome_of(seed: u64, profile: Profile, chains: usize) -> Outcome {
    run_seed(seed, Choice { profile: Some(profile), chains: Some(chains), ..Choice::default() })
}

/// The head of one chain had said that a fence holds, and lost its power before the other chain said so: what it had
/// committed was taken for what came late. Or it had said so, and its process died before the commit was recorded.
#[test]
fn what_was_committed_before_a_fence_held_is_not_late() {
    let worlds =
        [(101_998, Profile::General, 2), (100_410, Profile::General, 3), (1035, Profile::Fencing, 1)];
    for (seed, profile, chains) in worlds {
        assert_eq!(outcome_of(seed, profile, chains).violation, None, "seed {seed}");
    }
}

/// A disk was lost, as one of several that held everything, while the last word of its process was on its way; by that
/// the manager made it the only one that served.
#[test]
fn a_disk_that_may_be_the_last_one_in_a_moment_is_not_lost() {
    // In the second one all others were gone for good in that moment.
    for seed in [7_507_124, 6_843_922] {
        assert_eq!(run_seed(seed, Choice::default()).violation, None, "seed {seed}");
    }
}

/// An acknowledgement came late, and told the head of room that was gone since.
#[test]
fn a_late_word_raises_no_room() {
    let outcome = run_seed(6_807_610, Choice::default());
    assert_eq!(outcome.violation, None);
}

/// A server heard of a version on the connection to the manager before, when it had spoken to the next one already; or
/// it spoke when it knew the news of one of its chains and not yet those of the other: the chain that it registered was
/// not the one that it knew.
#[test]
fn who_speaks_to_the_next_manager_hears_nothing_of_the_one_before() {
    for (seed, chains) in [(26_385, 2), (25_531, 3), (402_731, 2)] {
        let outcome = outcome_of(seed, Profile::Change, chains);
        assert_eq!((outcome.violation, outcome.frozen), (None, false), "seed {seed}");
    }
}

/// A manager that had just started counted those as serving who had served before, and knew of nobody yet that he had
/// ended since: that is no chain whose copies must be equal.
#[test]
fn who_waits_to_be_noticed_is_not_judged_yet() {
    assert_eq!(outcome_of(6883, Profile::General, 1).violation, None);
}

/// What is not promised, and told apart from what is: the manager was set back, all who held the data had not heard of
/// the last version, and somebody else had, who spoke when the manager had gone on.
#[test]
fn a_chain_may_freeze_behind_a_bystander() {
    for (seed, chains) in [(3176, 1), (42, 2), (3353, 3)] {
        let outcome = outcome_of(seed, Profile::Change, chains);
        assert_eq!((outcome.violation, outcome.frozen), (None, true), "seed {seed}");
    }
}

/// The manager was set back when only clients had heard of its last version: what it tells them from then on is newer.
#[test]
fn clients_believe_a_manager_that_was_set_back() {
    let outcome = run_seed(5_848_475, Choice { chains: Some(1), ..Choice::default() });
    assert_eq!((outcome.violation, outcome.undecided), (None, 0));
}

#[test]
fn the_same_seed_is_the_same_history() {
    let hashes: Vec<u64> = (0..40)
        .map(|seed| {
            let first = run_seed(seed, Choice::default());
            assert_eq!(first, run_seed(seed, Choice::default()), "seed {seed}");
            first.hash
        })
        .collect();
    let different: std::collections::BTreeSet<u64> = hashes.iter().copied().collect();
    assert_eq!(different.len(), hashes.len());
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// All members die one after another under load, in any order, and come back in any order: what was
/// acknowledged is served, nothing older.
#[test]
fn members_may_die_and_return_in_any_order() {
    for (number, die) in ORDERS.iter().enumerate() {
        for (other, back) in ORDERS.iter().enumerate() {
            let seed = (number * ORDERS.len() + other) as u64;
            let mut random = Random::new(seed);
            let mut knobs = sim::Knobs::quiet(Profile::Outage, &mut random);
            (knobs.members, knobs.clients, knobs.faults_ms) = (3, 3, 12_000);
            knobs.io_timeout_ms = 60_000;
            knobs.stays_down = true;
            knobs.exit_reported = 100.0;
            let mut script = Vec::new();
            for (place, node) in die.iter().enumerate() {
                script.push((1000 + place as u64 * 400, ScriptedFault::Kill { node: *node, power: false }));
            }
            for (place, node) in back.iter().enumerate() {
                script.push((4000 + place as u64 * 700, ScriptedFault::Start { node: *node }));
            }
            let outcome = run_with(knobs, seed, &script, Choice::default());
            assert_eq!(outcome.violation, None, "they die {die:?} and return {back:?}");
            assert!(outcome.operations > 100);
        }
    }
}

/// The last member is stopped in order, its flush fails, and it comes back alone in the same boot, with or
/// without the pages that were not written: it is not complete, so it may not go on as if nothing had happened.
#[test]
fn a_member_whose_last_flush_failed_does_not_resume_as_complete() {
    let violation = |seed: u64, planted: Option<Planted>| {
        let mut knobs = sim::Knobs::quiet(Profile::Outage, &mut Random::new(seed));
        (knobs.members, knobs.clients, knobs.faults_ms) = (3, 3, 12_000);
        knobs.io_timeout_ms = 60_000;
        (knobs.stays_down, knobs.exit_reported) = (true, 100.0);
        let script = [
            (1000, ScriptedFault::Kill { node: 0, power: false }),
            (1400, ScriptedFault::Kill { node: 1, power: false }),
            (3000, ScriptedFault::FlushError { node: 2 }),
            (3000, ScriptedFault::Stop { node: 2 }),
            (4000, ScriptedFault::Start { node: 2 }),
            (6000, ScriptedFault::Start { node: 0 }),
            (6500, ScriptedFault::Start { node: 1 }),
        ];
        let outcome = run_with(knobs, seed, &script, Choice { planted, ..Choice::default() });
        assert!(outcome.operations > 100 || outcome.violation.is_some());
        outcome.violation
    };
    for seed in 0..20 {
        assert_eq!(violation(seed, None), None, "seed {seed}");
    }
    let found =
        (0..20).filter(|seed| violation(*seed, Some(Planted::OfflineStaysComplete)).is_some()).count();
    assert!(found >= 3, "{found} of 20 worlds notice a member that calls itself complete");
}

/// Another process, with its own addresses and hashes, sees the same histories.
#[test]
fn another_process_has_the_same_histories() {
    let run = || {
        let sim = std::process::Command::new(env!("CARGO_BIN_EXE_sim"));
        let output = { sim }.args(["chain", "--seeds", "0..25"]).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let hash = text.split("trace hash ").nth(1).and_then(|rest| rest.split(',').next());
        hash.unwrap_or_else(|| panic!("no hash in {text}")).to_string()
    };
    let (first, second) = (run(), run());
    assert_eq!(first, second);
    assert_eq!(first.len(), 16);
}

/// A member that had begun to sync was taken for complete after an older version of the chain had been adopted.
#[test]
fn what_a_member_said_before_an_adoption_does_not_count() {
    assert_eq!(run_seed(5_884_941, Choice::default()).violation, None);
}

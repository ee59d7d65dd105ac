//! Each planted violation must be found within its budget of worlds; else the simulator is blind to the rule,
//! and a clean run says nothing of it.

use sim::{Choice, EXHIBITS, Exhibit, Planted, run_seed};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is wrong with it, if anything.
fn complaint(exhibit: &Exhibit) -> Option<String> {
    let (name, budget) = (exhibit.planted.name(), exhibit.budget);
    let violation = |seed: u64, planted: Option<Planted>| {
        run_seed(seed, Choice { planted, profile: Some(exhibit.profile), ..Choice::default() }).violation
    };
    let Some(seed) = (0..budget).find(|seed| violation(*seed, Some(exhibit.planted)).is_some()) else {
        return Some(format!("{name} is not found in {budget} worlds"));
    };
    // The world that shows it is clean without it: nothing else was found.
    violation(seed, None).map(|what| format!("seed {seed} of {:?} without {name}: {what}", exhibit.profile))
}

#[test]
fn every_planted_violation_is_found_within_its_budget() {
    // Assertions of the replica are a way to be found; their texts would only fill the log.
    std::panic::set_hook(Box::new(|_| {}));
    // Each core takes the next one: they are of very different length.
    let (next, complaints) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(exhibit) = EXHIBITS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    complaints.lock().unwrap().extend(complaint(exhibit));
                }
            });
        }
    });
    let complaints = complaints.into_inner().unwrap();
    let _ = std::panic::take_hook();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What of these is found is found because a world has several chains.
#[test]
fn one_chain_shows_no_mixing_of_chains() {
    let mixed = [Planted::FenceOfOneChain, Planted::LaneOfAllChains, Planted::ReportOfAnyTarget];
    for exhibit in EXHIBITS.iter().filter(|exhibit| mixed.contains(&exhibit.planted)) {
        let (planted, profile) = (Some(exhibit.planted), Some(exhibit.profile));
        let choice = Choice { planted, profile, chains: Some(1), ..Choice::default() };
        let found = (0..100).find(|seed| run_seed(*seed, choice).violation.is_some());
        assert_eq!(found, None, "{}", exhibit.planted.name());
    }
}

#[test]
fn every_planted_violation_is_an_exhibit() {
    for planted in Planted::ALL {
        let count = EXHIBITS.iter().filter(|exhibit| exhibit.planted == *planted).count();
        assert_eq!(count, 1, "{}", planted.name());
        assert_eq!(Planted::from_name(planted.name()), Some(*planted));
    }
}

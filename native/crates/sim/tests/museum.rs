//! Each planted violation must be found within its budget of worlds; else the simulator is blind to the rule,
//! and a clean run says nothing of it.

#![allow(clippy::print_stdout)] // where each was found is what a run is looked at for

use sim::{Choice, EXHIBITS, Planted, run_seed};

#[test]
fn every_planted_violation_is_found_within_its_budget() {
    // Assertions of the replica are a way to be found; their texts would only fill the log.
    std::panic::set_hook(Box::new(|_| {}));
    let mut blind = Vec::new();
    for exhibit in EXHIBITS {
        let choice =
            Choice { planted: Some(exhibit.planted), profile: Some(exhibit.profile), verbose: false };
        let found = (0..exhibit.budget).find(|seed| run_seed(*seed, choice).violation.is_some());
        match found {
            Some(seed) => println!("{} at seed {seed} of {}", exhibit.planted.name(), exhibit.budget),
            None => blind.push(exhibit.planted.name()),
        }
    }
    let _ = std::panic::take_hook();
    assert!(blind.is_empty(), "not found: {}", blind.join(", "));
}

#[test]
fn every_planted_violation_is_an_exhibit() {
    for planted in Planted::ALL {
        let count = EXHIBITS.iter().filter(|exhibit| exhibit.planted == *planted).count();
        assert_eq!(count, 1, "{}", planted.name());
        assert_eq!(Planted::from_name(planted.name()), Some(*planted));
    }
}

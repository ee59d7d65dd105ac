//! Each planted violation must be found within its budget of worlds; else the simulator is blind to the rule,
//! and a clean run says nothing of it.

use sim::{Choice, EXHIBITS, Planted, UNSEEN, run_seed};

#[test]
fn every_planted_violation_is_found_within_its_budget() {
    // Assertions of the replica are a way to be found; their texts would only fill the log.
    std::panic::set_hook(Box::new(|_| {}));
    let mut blind = Vec::new();
    for exhibit in EXHIBITS {
        let choice =
            Choice { planted: Some(exhibit.planted), profile: Some(exhibit.profile), verbose: false };
        let mut seeds = exhibit.first..exhibit.first + exhibit.budget;
        if !seeds.any(|seed| run_seed(seed, choice).violation.is_some()) {
            blind.push(exhibit.planted.name());
        }
    }
    let _ = std::panic::take_hook();
    assert!(blind.is_empty(), "not found: {}", blind.join(", "));
}

#[test]
fn every_planted_violation_is_an_exhibit() {
    for planted in Planted::ALL {
        let count = EXHIBITS.iter().filter(|exhibit| exhibit.planted == *planted).count();
        let seen = usize::from(!UNSEEN.contains(planted));
        assert_eq!(count, seen, "{}", planted.name());
        assert_eq!(Planted::from_name(planted.name()), Some(*planted));
    }
}

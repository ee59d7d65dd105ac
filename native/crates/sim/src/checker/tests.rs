use super::*;
use crate::content::CELLS;
use crate::random::Random;

fn step(step: Step, called: u64, returned: u64) -> Interval {
    Interval { step, called, returned: Some(returned), expires: None, length: None }
}
fn write(value: u32, called: u64, returned: u64) -> Interval {
    step(Step::Write { first: 0, count: CELLS, value }, called, returned)
}
fn unanswered(interval: Interval) -> Interval {
    Interval { returned: None, ..interval }
}
fn lost(value: u32, called: u64) -> Interval {
    unanswered(write(value, called, 0))
}
fn sees_cells(length: u32, cells: Cells, called: u64, returned: u64) -> Interval {
    step(Step::Read(Seen { length, cells }), called, returned)
}
/// 0: of a chunk that is not there.
fn read(value: u32, called: u64, returned: u64) -> Interval {
    sees_cells(if value == 0 { 0 } else { 4 }, [value; CELLS], called, returned)
}
fn possible(history: &[Interval]) -> bool {
    let verdict = check(State::default(), history);
    assert_ne!(verdict, Verdict::Undecided);
    verdict == Verdict::Linearizable
}

#[test]
fn sequential_histories() {
    assert!(possible(&[write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7)]));
    assert!(!possible(&[write(1, 0, 1), read(0, 2, 3)]), "a stale read");
    assert!(!possible(&[write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)]), "an overwritten value");
    assert!(!possible(&[read(9, 0, 1)]), "a value nobody wrote");
    assert_eq!(check(State::default(), &[write(1, 0, 1), read(0, 2, 3)]), Verdict::Impossible { at: 3 });
}

#[test]
fn overlapping_operations_may_take_effect_in_any_order_but_one() {
    assert!(possible(&[write(1, 0, 10), read(0, 1, 2), read(1, 3, 4)]));
    assert!(!possible(&[write(1, 0, 10), read(1, 1, 2), read(0, 3, 4)]), "new, then old again");
    assert!(possible(&[write(1, 0, 10), write(2, 0, 10), read(1, 11, 12)]));
    assert!(!possible(&[write(1, 0, 10), write(2, 0, 10), read(1, 11, 12), read(2, 13, 14)]));
}

#[test]
fn unanswered_writes_may_take_effect_late_or_never_but_only_once() {
    assert!(possible(&[lost(1, 0), read(0, 1, 2), read(1, 3, 4)]));
    assert!(possible(&[lost(1, 0), read(0, 1, 2)]));
    assert!(!possible(&[lost(1, 0), read(1, 1, 2), read(0, 3, 4)]));
    assert!(!possible(&[lost(1, 0), write(2, 1, 2), read(1, 3, 4), write(3, 5, 6), read(1, 7, 8)]));
    assert!(!possible(&[read(1, 0, 1), lost(1, 2)]), "seen before it was called");
}

#[test]
fn parts_of_a_chunk_and_removals() {
    let part = step(Step::Write { first: 1, count: 1, value: 7 }, 2, 3);
    let sees = |cells, called| sees_cells(4, cells, called, called + 1);
    assert!(possible(&[write(1, 0, 1), part, sees([1, 7, 1, 1], 4)]));
    assert!(!possible(&[write(1, 0, 1), part, sees([7, 7, 7, 7], 4)]));
    let removal = step(Step::Remove, 6, 7);
    assert!(possible(&[write(1, 0, 1), part, removal, read(0, 8, 9)]));
    assert!(!possible(&[write(1, 0, 1), part, removal, sees([0; 4], 8)]), "it has no length then");
    assert!(!possible(&[write(1, 0, 1), part, removal, sees([1, 7, 1, 1], 8)]));
    let punch = Interval { step: Step::Punch { first: 1, count: 2 }, ..removal };
    assert!(possible(&[write(1, 0, 1), part, punch, sees([1, 0, 0, 1], 8)]));
    assert!(!possible(&[write(1, 0, 1), part, punch, sees([1, 7, 0, 1], 8)]), "half of a punch");
    assert!(!possible(&[write(1, 0, 1), part, punch, sees([0; 4], 8)]), "too much of it");
    let lost = unanswered(punch);
    assert!(possible(&[write(1, 0, 1), part, lost, sees([1, 7, 1, 1], 8), sees([1, 0, 0, 1], 10)]));
    assert!(!possible(&[write(1, 0, 1), part, lost, sees([1, 0, 0, 1], 8), sees([1, 7, 1, 1], 10)]));
}

#[test]
fn lengths() {
    let cut = |length, called| step(Step::Truncate { length }, called, called + 1);
    let listed = |length, called| step(Step::List(length), called, called + 1);
    let sees = |length, cells, called| sees_cells(length, cells, called, called + 1);
    let two = [write(1, 0, 1), cut(2, 2)];
    let then = |more: &[Interval]| possible(&[&two[..], more].concat());
    assert!(then(&[sees(2, [1, 1, 0, 0], 4), listed(Some(2), 6)]));
    assert!(!then(&[sees(4, [1; 4], 4)]), "the old length");
    assert!(!then(&[sees(4, [1, 1, 0, 0], 4)]), "the old length, with zeros");
    assert!(!then(&[listed(Some(4), 4)]) && !then(&[listed(None, 4)]));
    assert!(then(&[cut(4, 4), sees(2, [1, 1, 0, 0], 6)]));
    assert!(!then(&[cut(4, 4), sees(4, [1; 4], 6)]), "what was cut came back");
    assert!(!then(&[cut(4, 4), sees(4, [1, 1, 0, 0], 6)]), "a truncation extends nothing");
    let tail = step(Step::Write { first: 3, count: 1, value: 7 }, 4, 5);
    assert!(then(&[tail, sees(4, [1, 1, 0, 7], 6)]), "a gap of zeros");
    assert!(!then(&[tail, sees(4, [1, 1, 1, 7], 6)]), "the gap shows what was cut");
    for makes_none in [cut(0, 0), cut(3, 0), step(Step::Punch { first: 0, count: 4 }, 0, 1)] {
        assert!(possible(&[makes_none, listed(None, 2)]));
        assert!(!possible(&[makes_none, listed(Some(0), 2)]), "it makes no chunk");
    }
    assert!(!possible(&[write(1, 0, 1), step(Step::Remove, 2, 3), listed(Some(4), 4)]));
    let lost = unanswered(cut(1, 4));
    assert!(then(&[lost, sees(2, [1, 1, 0, 0], 6), sees(1, [1, 0, 0, 0], 8), listed(Some(1), 10)]));
    assert!(!then(&[lost, sees(1, [1, 0, 0, 0], 6), sees(2, [1, 1, 0, 0], 8)]), "and back again");
}

#[test]
fn an_answer_says_how_long_the_chunk_was_then() {
    let says = |length, interval| Interval { length: Some(length), ..interval };
    let cell = step(Step::Write { first: 0, count: 1, value: 2 }, 2, 3);
    assert!(possible(&[write(1, 0, 1), says(4, cell)]));
    assert!(!possible(&[write(1, 0, 1), says(1, cell)]));
    let cut = step(Step::Truncate { length: 2 }, 2, 5);
    assert!(possible(&[write(1, 0, 1), cut, says(2, cell)]), "the cut may come first");
    assert!(possible(&[write(1, 0, 1), cut, says(4, cell)]), "or last");
    assert!(!possible(&[write(1, 0, 1), cut, says(3, cell)]));
    assert!(possible(&[write(1, 0, 1), says(0, step(Step::Remove, 2, 3))]));
}

/// Nobody saw its value, but how far it reached.
#[test]
fn an_unanswered_write_that_was_overwritten_made_the_chunk_longer() {
    let short = step(Step::Write { first: 0, count: 1, value: 1 }, 0, 1);
    let lost = unanswered(step(Step::Write { first: 3, count: 1, value: 2 }, 2, 0));
    let punch = step(Step::Punch { first: 1, count: 3 }, 4, 5);
    let long = sees_cells(4, [1, 0, 0, 0], 6, 7);
    assert!(possible(&[short, lost, punch, long]));
    assert!(!possible(&[short, punch, long]));
    assert!(!possible(&[
        short,
        Interval { expires: Some(3), ..lost },
        sees_cells(1, [1, 0, 0, 0], 4, 5),
        long
    ]));
}

#[test]
fn what_expired_takes_effect_no_more() {
    let until = |expires, interval| Interval { expires: Some(expires), ..interval };
    assert!(possible(&[until(5, lost(1, 0)), read(0, 1, 2), read(1, 6, 7)]));
    assert!(possible(&[until(5, lost(1, 0)), read(0, 6, 7)]));
    assert!(!possible(&[until(5, lost(1, 0)), read(0, 6, 7), read(1, 8, 9)]), "late");
    assert!(!possible(&[until(5, lost(1, 6)), read(1, 8, 9)]), "called after its fence");
    let removal = until(5, unanswered(step(Step::Remove, 2, 0)));
    assert!(possible(&[write(1, 0, 1), removal, read(1, 3, 4), read(0, 8, 9)]));
    assert!(possible(&[write(1, 0, 1), removal, read(1, 3, 9)]));
    assert!(!possible(&[write(1, 0, 1), removal, read(1, 6, 7), read(0, 8, 9)]), "a late removal");
    // Of two that do the same the one that expires is taken, and the other one is left for later.
    let other = unanswered(step(Step::Remove, 2, 0));
    let again = [write(1, 0, 1), removal, other, read(0, 3, 4), write(2, 6, 7), read(0, 8, 9)];
    assert!(possible(&again));
    assert!(!possible(&[&again[..], &[write(3, 10, 11), read(0, 12, 13)]].concat()), "three removals");
}

/// Sixty updates without an answer, and any of them may have come between two reads.
#[test]
fn many_unanswered_updates_are_decided() {
    let mut history = vec![write(1, 0, 1)];
    for number in 0..20 {
        for step_of in
            [Step::Remove, Step::Truncate { length: number % 5 }, Step::Punch { first: 1, count: 2 }]
        {
            history.push(unanswered(step(step_of, 2 + number as u64, 0)));
        }
    }
    for round in 0..20 {
        let at = 100 + 10 * round;
        history.push(write(round as u32 + 2, at, at + 1));
        history.push(sees_cells(3, [round as u32 + 2, 0, 0, 0], at + 2, at + 3));
    }
    assert_eq!(
        check(State::default(), &history),
        Verdict::Impossible { at: 143 },
        "four cuts to three cells"
    );
    history.retain(|interval| interval.called < 140);
    assert!(possible(&history));
}

/// As the clients do that were fenced while the disks of a chain were full: more than there is room to tell apart.
#[test]
fn more_expiring_updates_than_have_a_place_are_decided() {
    let asked = |called| lost(1, called);
    let mut history: Vec<Interval> = (0..=PLENTY as u64).map(asked).collect();
    history.extend((0..200).map(|number| Interval { expires: Some(50), ..asked(10 + number % 9) }));
    let cut = |called| step(Step::Truncate { length: 1 }, called, called + 1);
    let sees = |value, length, called| {
        let mut cells = [0; CELLS];
        cells[..length as usize].fill(value);
        sees_cells(length, cells, called, called + 1)
    };
    let seen = [write(2, 30, 31), cut(32), sees(2, 1, 34)];
    // It came after the fence, so it is one of those that never expire.
    let extended = [write(3, 60, 61), cut(62), step(Step::List(Some(4)), 64, 65)];
    assert!(possible(&[&history[..], &seen[..], &extended[..]].concat()));
    let wrong = [&history[..], &seen[..], &extended[..], &[sees(2, 1, 66)]].concat();
    assert!(!possible(&wrong), "an overwritten value");
}

/// As a client does that is cut off alone until it is fenced: none of its updates goes on for ever.
#[test]
fn more_updates_that_expire_together_than_have_a_place_are_decided() {
    let mut history = vec![write(1, 0, 1), step(Step::Truncate { length: 1 }, 2, 3)];
    let asked = |number: u64| Interval { expires: Some(50 + number % 3), ..lost(9, 10 + number % 20) };
    history.extend((0..900).map(asked));
    let seen = |length: u32, called| step(Step::List(Some(length)), called, called + 1);
    let again = |called| step(Step::Truncate { length: 1 }, called, called + 1);
    history.extend([seen(4, 30), again(32), seen(1, 34), seen(4, 36), again(38)]);
    assert!(possible(&history));
    assert!(possible(&[&history[..], &[seen(4, 51)]].concat()), "before the last ones expired");
    assert!(!possible(&[&history[..], &[seen(1, 60), seen(4, 62)]].concat()), "after that");
}

/// Every history that a chunk really had is explained, whoever got no answer; and of others the checker says what a
/// search says that knows nothing of its means.
#[test]
fn random_histories() {
    let mut random = Random::new(7);
    let (mut explained, mut refuted) = (0, 0);
    for _ in 0..3000 {
        let history = random_history(&mut random);
        assert!(possible(&history));
        let mut broken = history.clone();
        let place = random.below(broken.len());
        let answered = broken[place].returned.is_some();
        match &mut broken[place].step {
            Step::Read(seen) => seen.length = random.below(CELLS + 1) as u32,
            Step::List(length) => *length = random.chance(50.0).then(|| random.below(CELLS + 1) as u32),
            _ if !answered => continue,
            _ => broken[place].length = Some(random.below(CELLS + 1) as u32),
        }
        let expected = is_explained_by_some(&broken);
        assert_eq!(possible(&broken), expected, "{broken:?}");
        explained += u32::from(expected);
        refuted += u32::from(!expected);
    }
    assert!(explained > 300 && refuted > 300, "{explained} {refuted}");
}

/// Twelve operations, each takes effect at a moment within its time; up to four of them are not answered, and may
/// take effect long after their call.
fn random_history(random: &mut Random) -> Vec<Interval> {
    let mut lost = 4;
    let mut planned: Vec<(u64, Interval)> = (0..12)
        .map(|number| {
            let called = number * 10;
            let moment = called + random.between(0, 25);
            let returned = moment + random.between(0, 25);
            let (first, value) = (random.below(CELLS), number as u32 + 1);
            let kind = match random.below(8) {
                0 => Step::Write { first: 0, count: CELLS, value },
                1 => Step::Write { first, count: 1, value },
                2 => Step::Punch { first, count: 1 + random.below(CELLS - first) },
                3 => Step::Truncate { length: random.below(CELLS + 1) },
                4 => Step::Remove,
                5 => Step::List(None),
                _ => Step::Read(Seen::default()),
            };
            let interval = step(kind, called, returned);
            let updates = change(&kind, &State::default()).is_some();
            if lost > 0 && updates && random.chance(40.0) {
                lost -= 1;
                let moment = called + random.between(0, 200);
                let expires = random.chance(30.0).then_some(moment + random.between(0, 20));
                return (moment, Interval { returned: None, expires, ..interval });
            }
            (moment, interval)
        })
        .collect();
    planned.sort_by_key(|(moment, _)| *moment);
    let mut state = State::default();
    for (_, interval) in &mut planned {
        state = change(&interval.step, &state).unwrap_or(state);
        match &mut interval.step {
            Step::Read(seen) => *seen = Seen { length: state.length.unwrap_or(0), cells: state.cells },
            Step::List(length) => *length = state.length,
            _ if interval.returned.is_some() => interval.length = Some(state.length.unwrap_or(0)),
            _ => {}
        }
    }
    planned.into_iter().map(|(_, interval)| interval).collect()
}

/// By all orders of all subsets, with none of the checker's means.
fn is_explained_by_some(history: &[Interval]) -> bool {
    fn goes_on(
        history: &[Interval],
        done: u32,
        state: State,
        seen: &mut std::collections::HashSet<(u32, State)>,
    ) -> bool {
        if !seen.insert((done, state)) {
            return false;
        }
        let is_open = |place: usize| done >> place & 1 == 0;
        let ends = |interval: &Interval| interval.returned.or(interval.expires).unwrap_or(u64::MAX);
        let must = (0..history.len()).filter(|place| is_open(*place) && history[*place].returned.is_some());
        let Some(first_return) = must.map(|place| ends(&history[place])).min() else { return true };
        (0..history.len()).filter(|place| is_open(*place)).any(|place| {
            let interval = &history[place];
            // Nothing may come before what had ended when it was called.
            if interval.called > first_return {
                return false;
            }
            let next = match change(&interval.step, &state) {
                None if !sees(&interval.step, &state) => return false,
                None => state,
                Some(next) if interval.length.is_some_and(|length| length != next.length.unwrap_or(0)) => {
                    return false;
                }
                Some(next) => next,
            };
            // One that expired must come before whatever was called after that: it and those are in order.
            let expired = (0..history.len()).any(|other| {
                !is_open(other) && interval.returned.is_none() && history[other].called > ends(interval)
            });
            !expired && goes_on(history, done | 1 << place, next, seen)
        })
    }
    goes_on(history, 0, State::default(), &mut Default::default())
}

use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

fn operation(kind: Kind, value: u64, called_ns: u64, returned_ns: Option<u64>) -> Operation {
    Operation { register: 0, kind, value, called_ns, returned_ns }
}
fn write(value: u64, called_ns: u64, returned_ns: u64) -> Operation {
    operation(Kind::Write, value, called_ns, Some(returned_ns))
}
fn unanswered(value: u64, called_ns: u64) -> Operation {
    operation(Kind::Write, value, called_ns, None)
}
fn read(value: u64, called_ns: u64, returned_ns: u64) -> Operation {
    operation(Kind::Read, value, called_ns, Some(returned_ns))
}
fn possible(history: &[Operation]) -> bool {
    check(history).is_empty()
}

#[test]
fn planted_violations_are_found() {
    assert!(!possible(&[write(1, 1, 2), read(0, 3, 4)]), "a stale read");
    assert!(!possible(&[write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)]), "a lost update");
    assert!(!possible(&[read(1, 1, 2), write(1, 3, 4)]), "a read of what is written later");
    let twice = [write(1, 1, 2), read(1, 3, 4), write(2, 5, 6), read(2, 7, 8), read(1, 9, 10)];
    assert!(!possible(&twice), "an update that took effect twice");
    assert!(!possible(&[write(1, 1, 9), read(1, 2, 3), read(0, 4, 5)]), "new, then old again");
    assert!(!possible(&[read(7, 1, 2)]), "a value nobody wrote");
    assert!(!possible(&[write(1, 1, 2), write(1, 3, 4)]), "a history that says nothing");
}

#[test]
fn what_an_order_explains_passes() {
    assert!(possible(&[write(1, 1, 2), read(1, 3, 4), write(2, 5, 6), read(2, 7, 8)]));
    assert!(possible(&[write(1, 1, 10), read(0, 2, 3), read(1, 4, 5)]));
    assert!(possible(&[write(1, 1, 10), write(2, 1, 10), read(1, 11, 12)]));
    assert!(!possible(&[write(1, 1, 10), write(2, 1, 10), read(1, 11, 12), read(2, 13, 14)]));
}

#[test]
fn an_unanswered_write_may_take_effect_late_or_never_but_once() {
    assert!(possible(&[unanswered(1, 1), read(0, 2, 3), read(1, 4, 5)]));
    assert!(possible(&[unanswered(1, 1), read(0, 2, 3)]));
    assert!(!possible(&[unanswered(1, 1), read(1, 2, 3), read(0, 4, 5)]));
    assert!(!possible(&[unanswered(1, 1), write(2, 2, 3), read(1, 4, 5), write(3, 6, 7), read(1, 8, 9)]));
}

#[test]
fn registers_are_apart_and_each_tells_its_violation() {
    let at = |register, operation: Operation| Operation { register, ..operation };
    let mut history = vec![at(1, write(1, 1, 2)), at(2, write(2, 1, 2)), at(1, read(0, 3, 4))];
    history.extend([at(2, read(2, 3, 4)), at(3, read(9, 5, 6))]);
    let found = check(&history);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(matches!(found[0], Violation::BothFirst { register: 1, .. }), "{found:?}");
    assert_eq!(found[1], Violation::NeverWritten { register: 3, value: 9, returned_ns: 6 });
}

/// Tries every order: the definition itself.
fn explained(history: &[Operation]) -> bool {
    fn search(history: &[Operation], placed: u32, state: u64) -> bool {
        let left = |index: &usize| placed & (1 << index) == 0;
        let mandatory = |index: usize| history[index].returned_ns.is_some();
        if (0..history.len()).filter(left).all(|index| !mandatory(index)) {
            return true;
        }
        (0..history.len()).filter(left).any(|index| {
            let next = history[index];
            let overtaken = (0..history.len())
                .filter(left)
                .any(|other| history[other].returned_ns.is_some_and(|returned| returned < next.called_ns));
            let seen = next.kind == Kind::Write || next.value == state;
            !overtaken && seen && search(history, placed | 1 << index, next.value)
        })
    }
    search(history, 0, 0)
}

/// Small histories with few moments, so that operations overlap and meet.
fn histories() -> impl Strategy<Value = Vec<Operation>> {
    let one = (any::<bool>(), 0_u64..5, 1_u64..9, 0_u64..5, 0_u8..6);
    proptest::collection::vec(one, 1..7).prop_map(|parts| {
        parts
            .into_iter()
            .enumerate()
            .map(|(index, (writes, value, called_ns, length, answer))| {
                let returned_ns = Some(called_ns + length);
                if writes {
                    let returned_ns = if answer == 0 { None } else { returned_ns };
                    operation(Kind::Write, index as u64 + 1, called_ns, returned_ns)
                } else {
                    operation(Kind::Read, value, called_ns, returned_ns)
                }
            })
            .collect()
    })
}

#[test]
fn agrees_with_trying_every_order() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut yes, mut no) = (0, 0);
    for _ in 0..200_000 {
        let history = histories().new_tree(&mut runner).unwrap().current();
        let expected = explained(&history);
        assert_eq!(possible(&history), expected, "{history:?}: {:?}", check(&history));
        *(if expected { &mut yes } else { &mut no }) += 1;
    }
    assert!(yes > 20_000 && no > 20_000, "{yes} possible, {no} impossible: the histories decide too little");
}

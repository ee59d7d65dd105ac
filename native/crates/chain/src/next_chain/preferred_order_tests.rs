//! The way back into the preferred order A, B, C, as a table in the words of `tests`.

use super::tests::{REORDERING_MAX_MS, REORDERING_PAUSE_MS, SERVING, case, check_all};

const DRIFTED: &str = "B serving 1, C serving 1, A serving 2";
const WELL: &str = "A 2 uptodate, B 1 uptodate, C 1 uptodate";
const AT_REST: &str = "A 2 uptodate rests, B 1 uptodate, C 1 uptodate";

#[test]
fn the_head_is_told_to_give_no_versions_while_all_is_well() {
    check_all(&[
        case(
            "all serve, and another one should be the head",
            DRIFTED,
            "BCA",
            WELL,
            "B serving 1, C serving 1, A serving 2; last BCA; epoch 7; reordering",
        ),
        case(
            "the head is right, the others are not",
            "A serving 2, C serving 1, B serving 1",
            "ACB",
            WELL,
            "A serving 2, C serving 1, B serving 1; last ACB; epoch 7; reordering",
        ),
        case(
            "one does not know the version yet",
            DRIFTED,
            "BCA",
            "A 2 uptodate saw4, B 1 uptodate, C 1 uptodate",
            "=",
        ),
        case("one is silent", DRIFTED, "BCA", "A 2 uptodate, B 1 uptodate, C 1 silent uptodate", "="),
        case("a new manager heard nobody yet", DRIFTED, "BCA", "A 0 unheard, B 0 unheard, C 0 unheard", "="),
        case(
            "one is away",
            "B serving 1, A serving 2, C offline 1",
            "BA",
            "A 2 uptodate, B 1 uptodate, C 1 gone",
            "=",
        ),
        case(
            "one was synced just now: it serves first",
            "B serving 1, C serving 1, A syncing 2",
            "BC",
            WELL,
            "B serving 1, C serving 1, A serving 2; last BCA; epoch 7",
        ),
        case(
            "one leaves: first that",
            "B serving 1, C serving 1, D serving 1, A serving 2 leaves",
            "BCDA",
            "A 2 uptodate, B 1 uptodate, C 1 uptodate, D 1 uptodate",
            "B serving 1, C serving 1, D serving 1, A serving 2 stops; last BCDA; epoch 7",
        ),
        case(
            "a report of rest that nobody asked for",
            SERVING,
            "ABC",
            "A 1 uptodate rests, B 1 uptodate, C 1 uptodate",
            "=",
        ),
    ]);
}

#[test]
fn the_members_change_places_when_the_last_one_says_that_nothing_pends() {
    let restored = "A serving 2, B serving 1, C serving 1; last ABC; epoch 7";
    check_all(&[
        case("it is", DRIFTED, "BCA", AT_REST, restored).reordering(),
        case("updates still pend", DRIFTED, "BCA", WELL, "=").reordering(),
        case(
            "R3: it was at rest under another version, and gave versions since",
            DRIFTED,
            "BCA",
            "A 2 uptodate rests saw4, B 1 uptodate, C 1 uptodate",
            "=",
        )
        .reordering(),
        case(
            "R3: another process of the last one says so; the chain goes on without the old one",
            DRIFTED,
            "BCA",
            "A 3 uptodate rests, B 1 uptodate, C 1 uptodate",
            "B serving 1, C serving 1, A syncing 3; last BC; epoch 7",
        )
        .reordering(),
        case(
            "the head and the one between say so, and do not know it",
            DRIFTED,
            "BCA",
            "A 2 uptodate, B 1 uptodate rests, C 1 uptodate rests",
            "=",
        )
        .reordering(),
        case(
            "one is silent: it might be the head to come",
            DRIFTED,
            "BCA",
            "A 2 uptodate rests, B 1 uptodate, C 1 silent uptodate",
            "=",
        )
        .reordering(),
        case(
            "at rest, and not told",
            DRIFTED,
            "BCA",
            AT_REST,
            "B serving 1, C serving 1, A serving 2; last BCA; epoch 7; reordering",
        ),
    ]);
}

#[test]
fn whatever_happens_meanwhile_ends_it() {
    check_all(&[
        case(
            "a member dies",
            DRIFTED,
            "BCA",
            "A 2 uptodate rests, B 1 uptodate, C 1 gone",
            "B serving 1, A serving 2, C offline 1; last BA; epoch 7",
        )
        .reordering(),
        case(
            "the head dies",
            DRIFTED,
            "BCA",
            "A 2 uptodate rests, B 1 gone, C 1 uptodate",
            "C serving 1, A serving 2, B offline 1; last CA; epoch 7",
        )
        .reordering(),
        case(
            "all die",
            DRIFTED,
            "BCA",
            "A 2 gone, B 1 gone, C 1 gone",
            "B lastsrv 1, C lastsrv 1, A lastsrv 2; last BCA; epoch 7",
        )
        .reordering(),
        case(
            "the administrator orders a change of members",
            DRIFTED,
            "BCA",
            AT_REST,
            "B serving 1, C serving 1, A serving 2 leaves, D offline 0; last BCA; epoch 7",
        )
        .reordering()
        .ordered("+D -A"),
        case(
            "silence does not: it may be over in a moment, or the lease runs out",
            DRIFTED,
            "BCA",
            "A 2 uptodate, B 1 silent uptodate, C 1 uptodate",
            "=",
        )
        .reordering(),
    ]);
}

const GIVEN_UP: &str = "B serving 1, C serving 1, A serving 2; last BCA; epoch 7; given up";
const AGAIN: &str = "B serving 1, C serving 1, A serving 2; last BCA; epoch 7; reordering";

#[test]
fn a_chain_that_does_not_come_to_rest_in_time_goes_on_and_tries_again_later() {
    let too_long = REORDERING_MAX_MS;
    check_all(&[
        case("not yet", DRIFTED, "BCA", WELL, "=").reordering().known_for(too_long - 1),
        case("now", DRIFTED, "BCA", WELL, GIVEN_UP).reordering().known_for(too_long),
        case(
            "one is silent meanwhile, and may be so for long",
            DRIFTED,
            "BCA",
            "A 2 uptodate, B 1 silent uptodate, C 1 uptodate",
            GIVEN_UP,
        )
        .reordering()
        .known_for(too_long),
        case(
            "rest is heard of at the last moment",
            DRIFTED,
            "BCA",
            AT_REST,
            "A serving 2, B serving 1, C serving 1; last ABC; epoch 7",
        )
        .reordering()
        .known_for(too_long),
        case("it pauses", DRIFTED, "BCA", WELL, "=").given_up().known_for(REORDERING_PAUSE_MS - 1),
        case("what rested then rests no more", DRIFTED, "BCA", AT_REST, "=").given_up(),
        case("it tries again", DRIFTED, "BCA", WELL, AGAIN).given_up().known_for(REORDERING_PAUSE_MS),
        case(
            "it would try again, and not all are well",
            DRIFTED,
            "BCA",
            "A 2 uptodate, B 1 uptodate, C 1 silent uptodate",
            "=",
        )
        .given_up()
        .known_for(REORDERING_PAUSE_MS),
        case(
            "whoever kept it from coming to rest may be the one that died",
            DRIFTED,
            "BCA",
            "A 2 uptodate, B 1 uptodate, C 1 gone",
            "B serving 1, A serving 2, C offline 1; last BA; epoch 7",
        )
        .given_up()
        .known_for(1),
    ]);
}

#[test]
fn the_administrator_may_prefer_another_order() {
    let well = "A 1 uptodate, B 1 uptodate, C 1 uptodate";
    check_all(&[
        case(
            "said first, done then",
            SERVING,
            "ABC",
            well,
            "A serving 1, B serving 1, C serving 1; last ABC; epoch 7",
        )
        .prefers("ABC")
        .ordered(":CAB"),
        case(
            "done",
            SERVING,
            "ABC",
            well,
            "A serving 1, B serving 1, C serving 1; last ABC; epoch 7; reordering",
        )
        .prefers("CAB"),
        case("it is so already", SERVING, "ABC", well, "=").prefers("ABC").ordered(":ABC"),
        case("one is missing", SERVING, "ABC", well, "=").prefers("ABC").ordered(":CA"),
        case("one is named twice", SERVING, "ABC", well, "=").prefers("ABC").ordered(":CAA"),
        case("one is no member", SERVING, "ABC", well, "=").prefers("ABC").ordered(":CAD"),
    ]);
}

//! Orders of the administrator, as a table in the words of `tests`.

use super::tests::{LASTSRV, SERVING, case, check_all};

#[test]
fn orders_change_who_is_a_member() {
    let well = "A 1 uptodate, B 1 uptodate, C 1 uptodate";
    let moving = "A serving 1 leaves, B serving 1, C serving 1, D offline 0";
    check_all(&[
        case(
            "one joins for one that leaves: nothing is lost by it",
            SERVING,
            "ABC",
            well,
            "A serving 1 leaves, B serving 1, C serving 1, D offline 0; last ABC; epoch 7",
        )
        .ordered("+D -A"),
        case("the same order again", moving, "ABC", well, "=").ordered("+D -A"),
        case(
            "the new one is synced like one that returns",
            moving,
            "ABC",
            "A 1 uptodate, B 1 uptodate, C 1 uptodate, D 4 online fresh",
            "A serving 1 leaves, B serving 1, C serving 1, D syncing 4; last ABC; epoch 7",
        ),
        case(
            "a new one alone has nobody to replace",
            SERVING,
            "ABC",
            "A 1 uptodate, B 1 uptodate, C 1 uptodate, D 4 online fresh",
            "A serving 1, B serving 1, C serving 1, D syncing 4; last ABC; epoch 7",
        )
        .ordered("+D"),
        case(
            "a dead one goes at once",
            "B serving 1, C serving 1, A offline 1",
            "BC",
            "A 1 gone, B 1 uptodate, C 1 uptodate, D 4 online fresh",
            "B serving 1, C serving 1, D syncing 4; last BC; epoch 7",
        )
        .ordered("+D -A"),
        case(
            "nobody goes while nobody serves",
            LASTSRV,
            "AB",
            "A 1 gone, B 1 gone, C 1 gone",
            "A lastsrv 1 leaves, B lastsrv 1, C offline 1 leaves; last AB; epoch 7",
        )
        .ordered("-A -C"),
        case(
            "in a chain that never served nothing is lost",
            "A offline 0, B offline 0, C offline 0",
            "",
            "A 0 unheard, B 1 online fresh, C 1 online fresh, D 1 online fresh",
            "D serving 1, B serving 1, C serving 1; last DBC; epoch 7",
        )
        .ordered("+D -A"),
    ]);
}

#[test]
fn whoever_leaves_stops_before_the_others_go_on() {
    let synced = "A serving 1 leaves, B serving 1, C serving 1, D syncing 4";
    let told = "A serving 1 stops, B serving 1, C serving 1, D serving 4";
    check_all(&[
        case(
            "the new one serves, so the old one is told to stop",
            synced,
            "ABC",
            "A 1 uptodate, B 1 uptodate, C 1 uptodate, D 4 uptodate",
            "A serving 1 stops, B serving 1, C serving 1, D serving 4; last ABCD; epoch 7",
        ),
        case(
            "not while one that stays is away",
            "A serving 1 leaves, B serving 1, D serving 4, C offline 1",
            "ABD",
            "A 1 uptodate, B 1 uptodate, C 1 gone, D 4 uptodate",
            "=",
        ),
        case(
            "told, and silent: it may answer reads",
            told,
            "ABCD",
            "A 1 silent uptodate, B 1 uptodate, C 1 uptodate, D 4 uptodate",
            "=",
        ),
        case(
            "it has stopped",
            told,
            "ABCD",
            "A 1 online stopped, B 1 uptodate, C 1 uptodate, D 4 uptodate",
            "B serving 1, C serving 1, D serving 4; last BCD; epoch 7",
        ),
        case(
            "it had stopped in an older version, and may serve again since",
            told,
            "ABCD",
            "A 1 online stopped saw4, B 1 uptodate, C 1 uptodate, D 4 uptodate",
            "=",
        ),
        case(
            "it had stopped, and was told to serve again",
            "A serving 1 leaves, B serving 1, D serving 4, C offline 1",
            "ABD",
            "A 1 online stopped, B 1 uptodate, C 1 gone, D 4 uptodate",
            "=",
        ),
        case(
            "its process died",
            told,
            "ABCD",
            "A 2 online, B 1 uptodate, C 1 uptodate, D 4 uptodate",
            "B serving 1, C serving 1, D serving 4; last BCD; epoch 7",
        ),
    ]);
}

#[test]
fn whoever_was_told_to_stop_is_kept_when_others_die() {
    let told = "A serving 1 stops, B serving 1, C serving 1, D serving 4";
    check_all(&[
        case(
            "one that stays died before it has stopped: it serves again",
            told,
            "ABCD",
            "A 1 uptodate, B 1 gone, C 1 uptodate, D 4 uptodate",
            "A serving 1 leaves, C serving 1, D serving 4, B offline 1; last ACD; epoch 7",
        ),
        case(
            "all others die after it has stopped: it has what they had, serves again, and no outage is counted",
            told,
            "ABCD",
            "A 1 online stopped, B 1 gone, C 1 gone, D 4 gone",
            "A serving 1 leaves, B offline 1, C offline 1, D offline 4; last A; epoch 7",
        ),
        case(
            "all die with it: it is one of the last",
            told,
            "ABCD",
            "A 1 gone, B 1 gone, C 1 gone, D 4 gone",
            "A lastsrv 1 leaves, B lastsrv 1, C lastsrv 1, D lastsrv 4; last ABCD; epoch 7",
        ),
        case(
            "and resumes, because it is complete",
            "A lastsrv 1 leaves, B lastsrv 1, D offline 4",
            "AB",
            "A 1 online complete, B 1 gone, D 4 gone",
            "A serving 1 leaves, B offline 1, D offline 4; last A; epoch 7",
        ),
    ]);
}

/// Given to the chain as it was before another order was carried out.
#[test]
fn an_order_after_which_nobody_would_stay_is_not_carried_out() {
    let leaving = "A serving 1 stops, B serving 1";
    let well = "A 1 uptodate, B 1 uptodate, C 1 online fresh";
    let unheard = "A 1 online fresh, B 0 unheard, C 0 unheard";
    check_all(&[
        case("the last that stays is to leave", leaving, "AB", well, "=").ordered("-B"),
        case("all are", "A serving 1, B serving 1", "AB", well, "=").ordered("-A -B"),
        case(
            "nobody ever served: it would have no members left",
            "A offline 0, B offline 0",
            "",
            unheard,
            "=",
        )
        .ordered("-A -B"),
        case("who leaves cannot join, and so replaces nobody", leaving, "AB", well, "=").ordered("+A -B"),
        case(
            "one joins, and stays",
            leaving,
            "AB",
            well,
            "A serving 1 leaves, B serving 1 leaves, C syncing 1; last AB; epoch 7",
        )
        .ordered("+C -B"),
        case("one is kept", leaving, "AB", well, "A serving 1, B serving 1 stops; last AB; epoch 7")
            .ordered("=A -B"),
        case(
            "one of two that are to leave had left before",
            "A serving 1, B serving 1, C offline 0",
            "AB",
            "A 1 uptodate, B 1 uptodate, C 0 unheard",
            "A serving 1, B serving 1 leaves, C offline 0; last AB; epoch 7",
        )
        .ordered("-B -D"),
    ]);
}

#[test]
fn an_order_can_be_taken_back() {
    let well = "A 1 uptodate, B 1 uptodate, C 1 uptodate, D 4 online";
    check_all(&[
        case(
            "while the new one is synced",
            "A serving 1 leaves, B serving 1, C serving 1, D syncing 4",
            "ABC",
            well,
            "A serving 1, B serving 1, C serving 1; last ABC; epoch 7",
        )
        .ordered("=A -D"),
        case(
            "when the new one serves: it is the one to go",
            "A serving 1 stops, B serving 1, C serving 1, D serving 4",
            "ABCD",
            "A 1 online stopped saw4, B 1 uptodate, C 1 uptodate, D 4 uptodate",
            "A serving 1, B serving 1, C serving 1, D serving 4 stops; last ABCD; epoch 7",
        )
        .ordered("=A -D"),
        case(
            "the old one had gone already: the new one is kept",
            "B serving 1, C serving 1, D serving 4",
            "BCD",
            "B 1 uptodate, C 1 uptodate, D 4 uptodate",
            "=",
        )
        .ordered("=A"),
    ]);
}

//! What becomes of a chain that nobody serves, as a table in the words of `tests`.

use super::tests::{LASTSRV, case, check_all};

#[test]
fn an_emptied_disk_is_none_of_the_last() {
    check_all(&[
        case(
            "an emptied disk is none of the last, however long the outage is",
            "A lastsrv 1, B offline 1",
            "A",
            "A 2 online fresh begun2, B 2 online",
            "=",
        )
        .after(1_000_000),
        case(
            "nor in a later process, also one that was told to be synced meanwhile",
            "A lastsrv 1, B lastsrv 1",
            "AB",
            "A 4 online begun2, B 1 gone",
            "=",
        )
        .after(1_000_000),
        case(
            "the others are whole: they need not be complete",
            "A lastsrv 1, B lastsrv 1",
            "AB",
            "A 4 online begun2, B 2 online",
            "B serving 2, A syncing 4; last B; epoch 8",
        )
        .after(30_000),
        case(
            "all are emptied",
            "A lastsrv 1, B lastsrv 1",
            "AB",
            "A 3 online begun2, B 2 online begun2",
            "=",
        )
        .after(1_000_000),
        case(
            "it was emptied before it was synced and served",
            "A lastsrv 3, B offline 1",
            "A",
            "A 4 online begun2, B 1 gone",
            "A serving 4, B offline 1; last A; epoch 8",
        ),
        case(
            "the process that made it did not hear that it serves",
            "A lastsrv 1, B offline 1",
            "A",
            "A 1 online fresh begun1, B 1 gone",
            "A serving 1, B offline 1; last A; epoch 8",
        ),
        case(
            "nor did the one after it",
            "A lastsrv 1, B offline 1",
            "A",
            "A 2 online fresh begun1, B 1 gone",
            "A serving 2, B offline 1; last A; epoch 8",
        ),
    ]);
}

#[test]
fn without_a_complete_member_the_grace_is_waited_for() {
    let incomplete = "A 1 gone, B 2 online, C 1 gone";
    check_all(&[
        case("too early", LASTSRV, "AB", incomplete, "=").after(29_999),
        case(
            "the grace is over: fsynced bytes are there, the epoch says that others may not be",
            LASTSRV,
            "AB",
            incomplete,
            "B serving 2, A offline 1, C offline 1; last B; epoch 8",
        )
        .after(30_000),
        case(
            "all of them are back: nobody to wait for",
            LASTSRV,
            "AB",
            "A 2 online, B 2 online, C 1 gone",
            "A serving 2, B syncing 2, C offline 1; last A; epoch 8",
        ),
        case(
            "the complete one comes first, whatever the order",
            LASTSRV,
            "AB",
            "A 2 online, B 2 online complete, C 1 gone",
            "B serving 2, A syncing 2, C offline 1; last B; epoch 7",
        ),
    ]);
}

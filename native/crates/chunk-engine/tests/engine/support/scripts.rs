//! Thirty short scripts that lead through every part of the engine, for tests that let operations of the
//! disk fail.

#![allow(dead_code)] // Each test binary uses a part of it.

use super::model::Step::{
    Checkpoint, CloseAndOpen, Flush, ForgetClient, InstallChannels, Restart, SetReserve,
};
use super::model::{CHUNK, Step};

fn write(chunk: u64, offset: u32, length: usize) -> Step {
    Step::Write { chunk, offset, length, commit: true }
}

fn pend(chunk: u64, offset: u32, length: usize) -> Step {
    Step::Write { chunk, offset, length, commit: false }
}

fn truncate(chunk: u64, length: u32) -> Step {
    Step::Truncate { chunk, length, commit: true }
}

fn punch(chunk: u64, offset: u32, length: u32) -> Step {
    Step::Punch { chunk, offset, length, commit: true }
}

fn remove(chunk: u64) -> Step {
    Step::Remove { chunk, commit: true }
}

fn replace(chunk: u64, length: usize, older: bool) -> Step {
    Step::Replace { chunk, length, older }
}

const COMMIT: Step = Step::Commit { chunk: 1, all: true };
const COMMIT_SOON: Step = Step::CommitSoon { chunk: 1 };
const COMMIT_ONE: Step = Step::Commit { chunk: 1, all: false };

/// The name says what the script is about.
type Script = (&'static str, Vec<Step>);

pub fn scripts() -> Vec<Script> {
    [writes(), overwrites(), pending_and_lengths(), removals(), lives()].concat()
}

fn writes() -> Vec<Script> {
    vec![
        ("a life of several chunks", a_life()),
        ("first bytes", vec![write(1, 0, 10_000), Flush, write(2, 0, 1), Flush]),
        ("a whole chunk", vec![write(1, 0, CHUNK as usize), Flush, Checkpoint]),
        (
            "appends within a block",
            vec![write(1, 0, 100), write(1, 100, 100), Flush, write(1, 200, 100), Checkpoint],
        ),
        (
            "appends over blocks",
            vec![write(1, 0, 5000), Flush, write(1, 5000, 20_000), write(1, 25_000, 7), Flush],
        ),
        ("a gap", vec![write(1, 0, 10), write(1, 100_000, 10), Flush, write(1, 50_000, 10_000), Checkpoint]),
    ]
}

fn overwrites() -> Vec<Script> {
    vec![
        (
            "a block through the journal",
            vec![write(1, 0, 20_000), Checkpoint, write(1, 4096, 4096), Flush, Checkpoint],
        ),
        (
            "a part of a block",
            vec![write(1, 0, 20_000), Checkpoint, write(1, 5000, 10), Checkpoint, write(1, 5005, 10), Flush],
        ),
        (
            "one block again and again",
            vec![write(1, 0, 4096), write(1, 0, 4096), Flush, write(1, 0, 4096), Checkpoint, write(1, 0, 9)],
        ),
        (
            "over the end",
            vec![write(1, 0, 6000), Flush, write(1, 5000, 9000), Checkpoint, write(1, 13_000, 3000)],
        ),
        (
            "new blocks",
            vec![write(1, 0, 200_000), Flush, write(1, 0, 200_000), Flush, write(1, 0, 200_000), Checkpoint],
        ),
        (
            "new blocks in pieces",
            vec![
                write(1, 0, 200_000),
                write(1, 10_000, 90_000),
                Flush,
                write(1, 50_000, 90_000),
                Flush,
                write(1, 0, 100_000),
            ],
        ),
    ]
}

fn pending_and_lengths() -> Vec<Script> {
    vec![
        (
            "versions that pend",
            vec![
                write(1, 0, 9000),
                pend(1, 100, 500),
                pend(1, 9000, 5000),
                Flush,
                COMMIT_ONE,
                Flush,
                COMMIT,
                Checkpoint,
            ],
        ),
        (
            "a checkpoint while versions pend",
            vec![write(1, 0, 9000), pend(1, 0, 4096), pend(1, 0, 80_000), Checkpoint, COMMIT, Checkpoint],
        ),
        (
            "a chunk that only pends",
            vec![pend(1, 0, 9000), Checkpoint, Restart, COMMIT_SOON, Restart, COMMIT_SOON, Flush],
        ),
        (
            "a cut",
            vec![
                // A chunk that is not there, and one that is not longer, stay as they are.
                truncate(1, 10_001),
                write(1, 0, 30_000),
                truncate(1, 10_001),
                Flush,
                truncate(1, 20_000),
                truncate(1, 4096),
                Checkpoint,
                truncate(1, 0),
                Flush,
            ],
        ),
        (
            "cut, then grown",
            vec![
                write(1, 0, 30_000),
                Flush,
                truncate(1, 9000),
                truncate(1, 60_000),
                write(1, 60_000, 100),
                Flush,
                write(1, 9000, 100),
                Checkpoint,
            ],
        ),
        (
            "a last byte far behind nothing",
            vec![write(1, CHUNK - 1, 1), Flush, write(1, 70_000, 10), Checkpoint, truncate(1, 70_005), Flush],
        ),
        (
            "punched",
            vec![write(1, 0, 50_000), Flush, punch(1, 5000, 30_000), Flush, write(1, 20_000, 10), Checkpoint],
        ),
        (
            "punched while it pends",
            vec![write(1, 0, 50_000), pend(1, 10, 5000), punch(1, 0, CHUNK), Checkpoint, write(1, 0, 100)],
        ),
    ]
}

fn removals() -> Vec<Script> {
    vec![
        ("removed", vec![write(1, 0, 50_000), Flush, remove(1), Flush, Checkpoint]),
        (
            "removed, then again",
            vec![
                write(1, 0, 50_000),
                Checkpoint,
                remove(1),
                write(1, 10, 5000),
                Flush,
                Checkpoint,
                remove(1),
            ],
        ),
        (
            "a removal that pends",
            vec![write(1, 0, 9000), Step::Remove { chunk: 1, commit: false }, Flush, COMMIT, Flush],
        ),
        (
            "replaced",
            vec![write(1, 0, 9000), replace(1, 30_000, false), Flush, replace(1, 100, true), Checkpoint],
        ),
        (
            "replaced over what pends",
            vec![
                write(1, 0, 9000),
                pend(1, 0, 5000),
                pend(1, 3, 5),
                replace(1, 70_000, true),
                Flush,
                Checkpoint,
            ],
        ),
    ]
}

fn lives() -> Vec<Script> {
    vec![
        (
            "restarts",
            vec![
                write(1, 0, 9000),
                Restart,
                write(1, 100, 100),
                Restart,
                pend(1, 0, 70_000),
                Restart,
                COMMIT,
                Restart,
            ],
        ),
        (
            "orderly ends",
            vec![
                write(1, 0, 9000),
                CloseAndOpen,
                write(1, 9000, 9000),
                pend(1, 0, 9),
                CloseAndOpen,
                COMMIT,
                CloseAndOpen,
            ],
        ),
        (
            "clients come and go",
            vec![
                write(1, 0, 100),
                InstallChannels,
                Checkpoint,
                ForgetClient,
                InstallChannels,
                Flush,
                write(2, 0, 9),
                Restart,
            ],
        ),
        (
            "the reserve",
            vec![
                write(1, 0, 9000),
                SetReserve(600 << 10),
                write(2, 0, 60_000),
                SetReserve(0),
                Flush,
                SetReserve(300 << 10),
                Checkpoint,
            ],
        ),
        (
            "many chunks in one round",
            (1..9)
                .map(|chunk| write(chunk, 0, 4000))
                .chain([Flush])
                .chain((1..9).map(|chunk| write(chunk, 100, 200)))
                .chain([Checkpoint, Restart])
                .collect(),
        ),
    ]
}

fn a_life() -> Vec<Step> {
    vec![
        write(1, 0, 10_000),
        write(1, 10_000, 50_000),
        write(2, 100, 200),
        pend(1, 5000, 3000),
        pend(1, 0, 256 << 10),
        Flush,
        COMMIT_SOON,
        truncate(1, 70_001),
        Checkpoint,
        write(1, 70_001, 10),
        write(2, 200, 9000),
        remove(2),
        replace(3, 30_000, false),
        Flush,
        write(2, 0, 4096),
        Checkpoint,
        write(3, 0, 4096),
        Flush,
    ]
}

//! Each planted bug must be found by the cases of `tests/engine/support/cases.rs`, within the number of them that is
//! recorded for it; else they are blind to its rule, and a clean run says nothing of it. Without a bug they pass.

use super::{Planted, plant};
use crate::support::cases;
use std::any::Any;
use std::cell::Cell;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const CASE: &str = "CATENA_CASE";
const PLANTED: &str = "CATENA_PLANTED";

/// Within how many cases each bug is found: one and a half times what it took when this was recorded, and at least 30,
/// since a change of the engine shifts what a case meets. All of it takes less than 40 seconds of CPU time.
const EXHIBITS: &[(Planted, u64)] = &[
    (Planted::RecordUnchecked, 100),
    (Planted::ReplayBehindTorn, 30),
    (Planted::EndUnquestioned, 40),
    (Planted::WaitingLeftBehind, 30),
    (Planted::MarkBeforeBytes, 100),
    (Planted::FlushSkipsFile, 30),
    (Planted::FlushErrorForgotten, 300),
    (Planted::NamesNotFlushed, 30),
    (Planted::CatalogBeforeBytes, 30),
    (Planted::CatalogWithoutBarrier, 30),
    (Planted::JournalRemovedEarly, 30),
    (Planted::InPlaceBeforeRecord, 30),
    (Planted::ImageLeftOut, 30),
    (Planted::EvictsUnsaved, 30),
    (Planted::FailedCheckpointForgets, 210),
    (Planted::FreedBeforeFlush, 80),
    (Planted::OverwriteInPlace, 30),
    (Planted::AppendOverLonger, 480),
    (Planted::GapNotZeroed, 30),
    (Planted::ReleaseWithoutPunch, 30),
    (Planted::PunchesNeighbour, 100),
    (Planted::FailedWriteLeaks, 30),
    (Planted::FailedWriteKeepsBytes, 30),
    (Planted::LeaksStay, 30),
    (Planted::ExtentsNotTaken, 30),
    (Planted::ReplayUnverified, 30),
    (Planted::SetBackUnsaid, 40),
    (Planted::NotWrittenAgain, 130),
    (Planted::DiscardNotReplayed, 170),
    (Planted::TagNotRecorded, 30),
    (Planted::TagOfSetBack, 30),
    (Planted::ForgetNotRecorded, 30),
    (Planted::ReserveNotSpent, 60),
    (Planted::ReadUnverified, 30),
    (Planted::MergeUnverified, 30),
    (Planted::AppendHealsDamage, 90),
    (Planted::DamageUnmarked, 30),
];

thread_local! {
    /// Assertions are the way to be found; their texts would only fill the log.
    static IS_SILENT: Cell<bool> = const { Cell::new(false) };
}

/// What the case says of the engine with this bug.
fn complaint(planted: Option<Planted>, case: u64) -> Option<String> {
    IS_SILENT.set(true);
    plant(planted);
    let result = catch_unwind(|| cases::run(case));
    plant(None);
    IS_SILENT.set(false);
    result.err().map(|panic: Box<dyn Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("no text").to_string(),
    })
}

/// Each core takes the next one: they are of very different length.
fn on_every_core(count: usize, run: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(number) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|next| *next < count)
                {
                    run(number);
                }
            });
        }
    });
}

/// Says how to see it.
fn command(planted: Option<Planted>, case: u64) -> String {
    let planted = planted.map_or(String::new(), |planted| format!("{PLANTED}={planted:?} "));
    format!(
        "{planted}{CASE}={case} cargo test --release -p chunk-engine --lib every_planted_bug -- --nocapture"
    )
}

/// One case, with all it says: `PLANTED` names the bug, if there is to be one.
fn replay(case: &str) {
    let case = case.parse().expect("the number of a case");
    plant(std::env::var(PLANTED).ok().map(|name| {
        let named = |planted: &&Planted| format!("{planted:?}") == name;
        *Planted::ALL.iter().find(named).expect("the name of a planted bug")
    }));
    cases::run(case);
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(120).collect()
}

#[test]
fn every_planted_bug_is_found_in_its_number_of_cases_and_none_without_one() {
    if let Ok(case) = std::env::var(CASE) {
        return replay(&case);
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !IS_SILENT.get() {
            usual(info);
        }
    }));
    let failures = Mutex::new(Vec::new());
    let fail = |text: String| failures.lock().unwrap().push(text);
    let clean = EXHIBITS.iter().map(|(_, within)| *within).max().unwrap_or(0);
    on_every_core(EXHIBITS.len() + clean as usize, |number| match EXHIBITS.get(number) {
        Some((planted, within)) => {
            let found = (0..*within).find_map(|case| Some((case, complaint(Some(*planted), case)?)));
            match found {
                Some((case, text)) => {
                    eprintln!("{} (of {within}): {}", command(Some(*planted), case), first_line(&text));
                }
                None => fail(format!("{planted:?} is not found by {within} cases")),
            }
        }
        None => {
            let case = (number - EXHIBITS.len()) as u64;
            if let Some(text) = complaint(None, case) {
                fail(format!("without a bug: {}: {text}", command(None, case)));
            }
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_planted_bug_is_an_exhibit() {
    for planted in Planted::ALL {
        assert_eq!(EXHIBITS.iter().filter(|(one, _)| one == planted).count(), 1, "{planted:?}");
    }
}

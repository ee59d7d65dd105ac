//! `sim chain ...`: runs worlds, prints what broke and the one command that shows it again; `sim manager-trace
//! ...`: prints what the managers of worlds were told and decided. The only place of the simulator with a clock,
//! a file and a process.

mod options;
mod record;
mod totals;

use options::{Mode, Options};
use sim::{run_seed, trace_manager};
use std::io::Write;
use std::process::ExitCode;
use totals::Totals;

/// Fixed seeds of `--check`: the same worlds on every machine.
const CHECKED_SEEDS: u64 = 2000;

/// What `--check` spends on seeds that nobody has seen; with the fixed ones a minute of processor time.
const FRESH_CPU_SECONDS: f64 = 50.0;

/// Histories that the checker may give up on in those: seldom one in 20,000 worlds has so many updates without an
/// answer. More say that it has become blind.
const FRESH_UNDECIDED_MAX: u64 = 2;

fn say(text: &str) {
    // A closed pipe ends the listener, not the run.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Runs seeds until `enough` says so; false: a rule was broken, and printed.
fn run(options: &Options, first: u64, enough: impl Fn(u64, &Totals) -> bool) -> (bool, Totals) {
    let mut totals = Totals::new(first);
    for seed in first.. {
        if enough(seed, &totals) {
            break;
        }
        let outcome = run_seed(seed, options.choice);
        totals.add(seed, &outcome);
        if outcome.undecided > 0 {
            say(&format!("seed {seed}{}: {} histories are undecided", options.replay(), outcome.undecided));
        }
        if let Some(violation) = outcome.violation {
            say(&format!("seed {seed}: {violation}"));
            say(&format!("cargo run --release -p sim -- chain --seed {seed} --verbose{}", options.replay()));
            return (false, totals);
        }
    }
    (true, totals)
}

fn run_range(options: &Options, first: u64, last: u64) -> bool {
    let (kept, totals) = run(options, first, |seed, _| seed >= last);
    if kept {
        say(&totals.sentence());
    }
    kept
}

/// Every rule was kept, and of all histories but so many it is known.
fn is_decided((kept, totals): (bool, Totals), undecided_max: u64) -> bool {
    if kept {
        say(&totals.sentence());
    }
    kept && totals.undecided <= undecided_max
}

/// Seeds that every run has, and on another core seeds that no run had: their first one is printed.
fn check(options: &Options) -> bool {
    let fresh = std::collections::hash_map::RandomState::new();
    let fresh = std::hash::BuildHasher::hash_one(&fresh, std::process::id()) >> 16;
    say(&format!("fixed seeds 0..{CHECKED_SEEDS}, and fresh ones from {fresh}"));
    std::thread::scope(|scope| {
        let fixed = scope.spawn(|| is_decided(run(options, 0, |seed, _| seed >= CHECKED_SEEDS), 0));
        let fresh = run(options, fresh, |_, totals| totals.seconds() >= FRESH_CPU_SECONDS);
        let kept = is_decided(fresh, FRESH_UNDECIDED_MAX);
        fixed.join().expect("violations are caught in each world") && kept
    })
}

fn trace_managers(options: &Options, first: u64, last: u64) -> bool {
    (first..last).all(|seed| {
        let (lines, outcome) = trace_manager(seed, options.choice.profile);
        say(&lines.join("\n"));
        if let Some(violation) = &outcome.violation {
            let _ = writeln!(std::io::stderr(), "seed {seed}: {violation}");
        }
        outcome.violation.is_none()
    })
}

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "{problem}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    // An assertion of a replica is a finding, and printed as one.
    std::panic::set_hook(Box::new(|_| {}));
    let kept = match &options.mode {
        Mode::Range { first, last } => run_range(&options, *first, *last),
        Mode::Check => check(&options),
        Mode::ManagerTrace { first, last } => trace_managers(&options, *first, *last),
        Mode::Record { first, last, file } => record::run(&options, (*first, *last), file),
    };
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! `sim chain --seeds 0..2000`: runs worlds, prints what broke and the one command that shows it again.

use sim::{Choice, Planted, Profile, run_seed};
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str =
    "usage: sim chain [--seeds FROM..TO | --seed N] [--verbose] [--planted NAME] [--profile NAME]";

struct Options {
    first: u64,
    last: u64,
    choice: Choice,
}

fn say(text: &str) {
    // A closed pipe ends the listener, not the run.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    if words.next().as_deref() != Some("chain") {
        return Err("the protocol to run is missing: chain".into());
    }
    let mut options = Options { first: 0, last: 2000, choice: Choice::default() };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
        match word.as_str() {
            "--seeds" => {
                let range = value()?;
                let (first, last) = range.split_once("..").ok_or(format!("{range} is no range FROM..TO"))?;
                (options.first, options.last) = (number(first)?, number(last)?);
            }
            "--seed" => {
                options.first = number(&value()?)?;
                options.last = options.first + 1;
            }
            "--verbose" => options.choice.verbose = true,
            "--planted" => {
                let name = value()?;
                let names: Vec<&str> = Planted::ALL.iter().map(|planted| planted.name()).collect();
                let known = Planted::from_name(&name);
                options.choice.planted =
                    Some(known.ok_or(format!("{name} is none of {}", names.join(", ")))?);
            }
            "--profile" => {
                let name = value()?;
                options.choice.profile =
                    Some(Profile::from_name(&name).ok_or(format!("{name} is no profile"))?);
            }
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> bool {
    std::panic::set_hook(Box::new(|_| {}));
    let started = Instant::now();
    let (mut events, mut faults, mut operations, mut simulated_us) = (0, 0, 0, 0);
    for seed in options.first..options.last {
        let report = run_seed(seed, options.choice);
        events += report.events;
        faults += report.faults;
        operations += report.operations;
        simulated_us += report.simulated_us;
        if let Some(violation) = report.violation {
            let planted = options.choice.planted.map(|planted| format!(" --planted {}", planted.name()));
            let profile =
                options.choice.profile.map(|profile| format!(" --profile {profile:?}").to_lowercase());
            let with = planted.unwrap_or_default() + &profile.unwrap_or_default();
            say(&format!("seed {seed}: {violation}"));
            say(&format!("cargo run --release -p sim -- chain --seed {seed} --verbose{with}"));
            return false;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let seeds = options.last - options.first;
    say(&format!(
        "{seeds} seeds: {events} events ({:.2} M/s), {faults} faults, {operations} operations, {:.1} simulated hours, {seconds:.1} s, 0 failures",
        events as f64 / seconds / 1e6,
        simulated_us as f64 / 3.6e9,
    ));
    true
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(options) if run(&options) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "{problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

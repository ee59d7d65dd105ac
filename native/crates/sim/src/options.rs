//! The words of the command line.

use sim::{CHAINS_MAX, Choice, Planted, Profile};
use std::path::PathBuf;

pub const USAGE: &str = "\
usage: sim chain [--seeds FROM..TO | --seed N] [--profile NAME] [--chains N] [--planted NAME] [--verbose]
       sim chain --check
       sim chain --record FILE --seeds FROM..TO
       sim manager-trace [--seeds FROM..TO | --seed N] [--profile NAME]";

#[derive(Clone)]
pub enum Mode {
    Range {
        first: u64,
        last: u64,
    },
    /// Fixed and fresh seeds, about a minute of one core.
    Check,
    /// In steps, each a line of the file; goes on where the file ends.
    Record {
        first: u64,
        last: u64,
        file: PathBuf,
    },
    /// What the manager of each world was told and decided, as JSON lines.
    ManagerTrace {
        first: u64,
        last: u64,
    },
}

pub struct Options {
    pub mode: Mode,
    pub choice: Choice,
}

impl Options {
    /// The words that a failing seed needs besides its number.
    pub fn replay(&self) -> String {
        let planted = self.choice.planted.map(|planted| format!(" --planted {}", planted.name()));
        let profile = self.choice.profile.map(|profile| format!(" --profile {profile:?}").to_lowercase());
        let chains = self.choice.chains.map(|chains| format!(" --chains {chains}"));
        planted.unwrap_or_default() + &profile.unwrap_or_default() + &chains.unwrap_or_default()
    }
}

pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let traces = match words.next().as_deref() {
        Some("chain") => false,
        Some("manager-trace") => true,
        _ => return Err("what to do is missing: chain, or manager-trace".into()),
    };
    let mut seeds = (0, 2000);
    let mut check = false;
    let mut file = None;
    let mut choice = Choice::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--seeds" => seeds = range(&value()?)?,
            "--seed" => {
                let seed = number(&value()?)?;
                seeds = (seed, seed + 1);
            }
            "--check" => check = true,
            "--record" => file = Some(PathBuf::from(value()?)),
            "--verbose" => choice.verbose = true,
            "--planted" => choice.planted = Some(planted(&value()?)?),
            "--chains" => choice.chains = Some(chains(&value()?)?),
            "--profile" => {
                let name = value()?;
                choice.profile = Some(Profile::from_name(&name).ok_or(format!("{name} is no profile"))?);
            }
            other => return Err(format!("unknown option {other}")),
        }
    }
    let (first, last) = seeds;
    let judges = check || file.is_some() || choice.planted.is_some() || choice.chains.is_some();
    if traces && (judges || choice.verbose) {
        return Err("of a manager-trace the seeds and the profile are chosen".into());
    }
    let mode = match file {
        None if traces => Mode::ManagerTrace { first, last },
        Some(_) if choice.planted.is_some() || check => {
            return Err("what is recorded is a clean range of seeds".into());
        }
        Some(file) => Mode::Record { first, last, file },
        None if check => Mode::Check,
        None => Mode::Range { first, last },
    };
    Ok(Options { mode, choice })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse::<u64>().map_err(|_| format!("{text} is no number"))
}

fn chains(text: &str) -> Result<usize, String> {
    let chains = text.parse().ok().filter(|chains| (1..=CHAINS_MAX).contains(chains));
    chains.ok_or(format!("{text} is no number of chains: 1 to {CHAINS_MAX}"))
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").ok_or(format!("{text} is no range FROM..TO"))?;
    Ok((number(first)?, number(last)?))
}

fn planted(name: &str) -> Result<Planted, String> {
    let names = || Planted::ALL.iter().map(|planted| planted.name()).collect::<Vec<_>>().join(", ");
    Planted::from_name(name).ok_or_else(|| format!("{name} is none of {}", names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Options, String> {
        parse(text.split(' ').map(String::from))
    }

    #[test]
    fn chains_are_chosen_and_are_words_of_a_replay() {
        let options =
            parsed("chain --seed 7 --profile change --chains 2").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(options.choice.chains, Some(2));
        assert_eq!(options.replay(), " --profile change --chains 2");
        for refused in
            ["chain --chains 0", "chain --chains 4", "chain --chains x", "manager-trace --chains 2"]
        {
            assert!(parsed(refused).is_err(), "{refused}");
        }
    }
}

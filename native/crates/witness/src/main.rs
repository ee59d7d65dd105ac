//! witness COMMAND --option value ...: one line of JSON on standard output; exit code 1 if the file system did
//! not keep its word, 2 if the program could not do its work.
//!
//!   operations --mount DIR [--mount DIR] --name FILE --seed N --seconds N [--operations N]
//!              [--may-be-full true]
//!   history --mount DIR [--mount DIR] --name FILE --seed N --seconds N [--operations N] [--at-least N]
//!           [--threads N] [--registers N] [--direct true] [--may-be-full true] --out FILE
//!   history-check --in FILE
//!   disk --mount DIR --image FILE --bytes N [--log FILE]     until its standard input ends
//!   cut --log FILE --image FILE --bytes N --from-ns N --to-ns N --seed N [--flushes-ignored-ns N]
//!   promises --folder DIR --log FILE --seed N --lanes N --seconds N
//!   promises-check --folder DIR --log FILE --cut-ns N

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use witness::{Arguments, disk, history, operations, promises};

/// A line for the program that reads, and whether all is well.
type Answer = Result<(String, bool), String>;

const USAGE: &str =
    "which command? operations, history, history-check, disk, cut, promises or promises-check";
/// Findings that are told of many; the numbers are exact.
const TOLD_MAX: usize = 10;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let answer = words.next().ok_or(USAGE.to_string()).and_then(|command| {
        let given = Arguments::parse(words)?;
        match command.as_str() {
            "operations" => run_operations(given),
            "history" => record_history(given),
            "history-check" => check_history(given),
            "disk" => serve_disk(given),
            "cut" => cut_power(given),
            "promises" => make_promises(given),
            "promises-check" => check_promises(given),
            _ => Err(USAGE.to_string()),
        }
    });
    match answer {
        Ok((line, well)) => {
            let _ = writeln!(std::io::stdout(), "{line}");
            if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(what) => {
            let _ = writeln!(std::io::stderr(), "witness: {what}");
            ExitCode::from(2)
        }
    }
}

/// `{"a": ..., "b": [...]}` needs text in quotes.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|letter| match letter {
            '"' | '\\' => format!("\\{letter}"),
            letter if letter.is_control() => " ".into(),
            letter => letter.into(),
        })
        .collect();
    format!("\"{escaped}\"")
}

fn list(texts: &[String]) -> String {
    let told: Vec<_> = texts.iter().take(TOLD_MAX).map(|text| quoted(text)).collect();
    format!("[{}]", told.join(", "))
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn folders(given: &mut Arguments) -> Result<Vec<PathBuf>, String> {
    Ok(given.all("mount")?.into_iter().map(PathBuf::from).collect())
}

fn seconds(given: &mut Arguments) -> Result<Duration, String> {
    Ok(Duration::from_secs(given.one("seconds")?))
}

fn run_operations(mut given: Arguments) -> Answer {
    let options = operations::Options {
        mounts: folders(&mut given)?,
        maps: given.optional("maps")?.unwrap_or(false),
        name: given.one("name")?,
        seed: given.one("seed")?,
        duration: seconds(&mut given)?,
        operations_max: given.optional("operations")?.unwrap_or(u64::MAX),
        may_be_full: given.optional("may-be-full")?.unwrap_or(false),
    };
    given.end()?;
    let mut outcome = operations::run(&options);
    let failure = list(outcome.failure.as_slice());
    let line = format!(
        "{{\"seed\": {}, {}, \"refused\": {}, \"longest\": {}, \"failures\": {failure}}}",
        options.seed,
        outcome.latencies.json(),
        outcome.refused,
        quoted(&outcome.longest)
    );
    Ok((line, outcome.failure.is_none()))
}

fn record_history(mut given: Arguments) -> Answer {
    let options = history::RecorderOptions {
        mounts: folders(&mut given)?,
        direct: given.optional("direct")?.unwrap_or(false),
        name: given.one("name")?,
        seed: given.one("seed")?,
        threads: given.optional("threads")?.unwrap_or(8),
        registers: given.optional("registers")?.unwrap_or(64),
        duration: seconds(&mut given)?,
        operations_min: given.optional("at-least")?.unwrap_or(0),
        operations_max: given.optional("operations")?.unwrap_or(u64::MAX),
        may_be_full: given.optional("may-be-full")?.unwrap_or(false),
        history: given.one("out")?,
    };
    given.end()?;
    let mut found = history::record(&options).map_err(told)?;
    let line = format!(
        "{{\"seed\": {}, {}, \"refused\": {}, \"errors\": {}, \"torn\": {}, \"failures\": {}}}",
        options.seed,
        found.latencies.json(),
        found.refused,
        found.errors.len(),
        found.torn.len(),
        list(&[found.torn.clone(), found.errors.clone()].concat())
    );
    Ok((line, found.errors.is_empty() && found.torn.is_empty()))
}

fn check_history(mut given: Arguments) -> Answer {
    let path: PathBuf = given.one("in")?;
    given.end()?;
    let (operations, violations) = history::check_file(&path).map_err(told)?;
    let sentences: Vec<_> = violations.iter().map(ToString::to_string).collect();
    let count = sentences.len();
    let line = format!(
        "{{\"operations\": {operations}, \"violations\": {count}, \"failures\": {}}}",
        list(&sentences)
    );
    Ok((line, violations.is_empty()))
}

fn serve_disk(mut given: Arguments) -> Answer {
    let options = disk::DiskOptions {
        mount_point: given.one("mount")?,
        image: given.one("image")?,
        bytes: given.one("bytes")?,
        log: given.optional("log")?,
    };
    given.end()?;
    let session = disk::start(&options).map_err(told)?;
    let _ =
        writeln!(std::io::stdout(), "{{\"mounted\": {}}}", quoted(&options.mount_point.to_string_lossy()));
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    session.unmount(Duration::from_secs(5)).map_err(told)?;
    session.wait();
    Ok(("{\"ended\": true}".into(), true))
}

fn cut_power(mut given: Arguments) -> Answer {
    let (log, path): (PathBuf, PathBuf) = (given.one("log")?, given.one("image")?);
    let (bytes, seed) = (given.one("bytes")?, given.one("seed")?);
    let (from_ns, to_ns) = (given.one("from-ns")?, given.one("to-ns")?);
    let flushes_ignored_ns = given.optional("flushes-ignored-ns")?.unwrap_or(0);
    given.end()?;
    let records = disk::read_log(&log).map_err(told)?;
    let at_ns = disk::moment(&records, from_ns, to_ns, seed).ok_or("nothing was written in that time")?;
    let image = File::options().write(true).create(true).truncate(true).open(path).map_err(told)?;
    image.set_len(bytes).map_err(told)?;
    let log = File::open(log).map_err(told)?;
    let how = disk::Cut { at_ns, seed, flushes_ignored_ns };
    let disk::Outcome { flushed, kept, lost } = disk::cut(&records, &log, &image, how).map_err(told)?;
    let line =
        format!("{{\"atNs\": \"{at_ns}\", \"flushed\": {flushed}, \"kept\": {kept}, \"lost\": {lost}}}");
    Ok((line, true))
}

fn make_promises(mut given: Arguments) -> Answer {
    let options = promises::WriterOptions {
        folder: given.one("folder")?,
        log: given.one("log")?,
        seed: given.one("seed")?,
        lanes: given.one("lanes")?,
        duration: seconds(&mut given)?,
    };
    given.end()?;
    let made = promises::write(&options).map_err(told)?;
    Ok((format!("{{\"promises\": {made}}}"), true))
}

fn check_promises(mut given: Arguments) -> Answer {
    let (folder, log): (PathBuf, PathBuf) = (given.one("folder")?, given.one("log")?);
    let cut_ns = given.one("cut-ns")?;
    given.end()?;
    let found = promises::check(&folder, &log, cut_ns).map_err(told)?;
    let sentences: Vec<_> = found
        .broken
        .iter()
        .map(|broken| format!("{} block {}: {}", broken.file, broken.block, broken.what))
        .collect();
    let line = format!(
        "{{\"promises\": {}, \"blocks\": {}, \"ahead\": {}, \"torn\": {}, \"broken\": {}, \"failures\": {}}}",
        found.promises,
        found.blocks,
        found.ahead,
        found.torn,
        sentences.len(),
        list(&sentences)
    );
    Ok((line, sentences.is_empty()))
}

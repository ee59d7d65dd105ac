//! A whole file system in memory, on a real mount: what the kernel and our session cost without any cluster
//! behind them (the baseline of the create benchmark), and the partner of the session's tests. It keeps
//! nothing when it ends.
//!
//!   memory MOUNT-POINT [--stall PREFIX] [--threads N] [--valid-ms N] [--helper] [--until-eof] [--verbose]
//!
//! Stop it with `umount MOUNT-POINT`, or, with --until-eof, by closing its standard input.

mod content;
mod operations;
mod tree;

use fuse::{AttachMethod, AttachOptions, Session, SessionOptions};
use operations::Memory;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

struct Arguments {
    options: SessionOptions,
    stall: Option<Vec<u8>>,
    valid: Duration,
    until_eof: bool,
    verbose: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mount_point = arguments.next().ok_or("which mount point?")?;
    let mut parsed = Arguments {
        options: SessionOptions::new(AttachOptions::new(mount_point)),
        stall: None,
        valid: Duration::from_secs(1),
        until_eof: false,
        verbose: false,
    };
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{flag} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        match flag.as_str() {
            "--stall" => parsed.stall = Some(value()?.into_bytes()),
            "--threads" => parsed.options.threads_max = number(value()?)? as usize,
            "--valid-ms" => parsed.valid = Duration::from_millis(number(value()?)?),
            "--helper" => parsed.options.attach.method = AttachMethod::Helper,
            "--until-eof" => parsed.until_eof = true,
            "--verbose" => parsed.verbose = true,
            _ => return Err(format!("unknown option {flag}")),
        }
    }
    Ok(parsed)
}

/// Lines on standard error.
struct StandardError;

impl log::Log for StandardError {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        struct Pairs(String);
        impl<'a> log::kv::VisitSource<'a> for Pairs {
            fn visit_pair(
                &mut self,
                key: log::kv::Key<'a>,
                value: log::kv::Value<'a>,
            ) -> Result<(), log::kv::Error> {
                self.0 += &format!(" {key}={value}");
                Ok(())
            }
        }
        let mut pairs = Pairs(String::new());
        let _ = record.key_values().visit(&mut pairs);
        let line = format!("{} {} {}{}\n", record.level(), record.target(), record.args(), pairs.0);
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

fn run(arguments: Arguments) -> wire::Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let memory = Arc::new(Memory::new(uid, gid, arguments.stall, arguments.valid));
    let session = Session::start(&arguments.options, memory)?;
    let _ = writeln!(std::io::stdout(), "mounted");
    if arguments.until_eof {
        let ending = session.clone();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            if let Err(error) = ending.unmount(Duration::from_secs(1)) {
                log::error!(target: "memory", "{error}");
            }
        });
    }
    session.wait();
    for metrics in session.metrics().operations() {
        let mean_us = metrics.time.as_secs_f64() * 1e6 / metrics.requests as f64;
        log::info!(target: "memory", requests = metrics.requests, errors = metrics.errors, mean_us = mean_us;
            "{}", metrics.operation);
    }
    Ok(())
}

fn main() -> ExitCode {
    log::set_logger(&StandardError).expect("the first logger");
    log::set_max_level(log::LevelFilter::Error);
    let started = parse(std::env::args().skip(1)).and_then(|arguments| {
        if arguments.verbose {
            log::set_max_level(log::LevelFilter::Info);
        }
        run(arguments).map_err(|error| error.to_string())
    });
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!(target: "memory", "{error}");
            ExitCode::FAILURE
        }
    }
}

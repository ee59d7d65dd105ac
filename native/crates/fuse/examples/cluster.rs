//! Mounts a running cluster without Node: for the suite of `tests/mount`, and for profilers, which Node's
//! threads confuse.
//!
//!   cluster MANAGER[,MANAGER...] MOUNT-POINT [--cache-none]
//!
//! Stop it with `umount MOUNT-POINT`.

use fuse::mount::{CacheMode, Config, Mount};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [managers, mount_point, flags @ ..] = arguments.as_slice() else {
        let _ = writeln!(std::io::stderr(), "usage: cluster MANAGER[,MANAGER...] MOUNT-POINT [--cache-none]");
        return ExitCode::FAILURE;
    };
    let client =
        client::Config { managers: managers.split(',').map(String::from).collect(), ..Default::default() };
    let mut config = Config::new(mount_point, client);
    if flags.iter().any(|flag| flag == "--cache-none") {
        config.cache = CacheMode::None;
    }
    match Mount::start(config) {
        Ok(mount) => {
            let _ = writeln!(std::io::stdout(), "mounted");
            mount.wait();
            for row in mount.operations() {
                let mean_us = row.time.as_secs_f64() * 1e6 / row.requests as f64;
                let line = format!(
                    "{} {} errors {} mean {mean_us:.1} us\n",
                    row.operation, row.requests, row.errors
                );
                let _ = std::io::stdout().write_all(line.as_bytes());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

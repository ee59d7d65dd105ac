//! Data directories at the start of a server. A disk that fails is left out, and one that hangs too: the others serve.

use super::DiskShare;
use super::errand::Errand;
use crate::Config;
use crate::directory::{Directory, require_mount_point};
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use wire::{Code, Error, Result};

/// Opens the directories, and stores the incarnation of this process in each: above every earlier process of this node,
/// also if its directories were emptied in between.
///
/// # Errors
/// What is wrong with a directory but its disk, or with the last disk that there was.
pub fn open_disks(config: &Config) -> Result<(u64, Vec<Arc<DiskShare>>)> {
    let mut failed = None;
    let open = |disk: usize| {
        let config = config.clone();
        let path = config.disks[disk].clone();
        move || {
            let mounted = if config.require_mounted_disks { require_mount_point(&path) } else { Ok(()) };
            mounted.and_then(|()| Directory::open(&path, &config.cluster, config.node))
        }
    };
    let opened = in_time(config, (0..config.disks.len()).map(|disk| (disk, open(disk))), &mut failed)?;
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis());
    let last = opened.iter().map(|(_, directory)| directory.last_incarnation()).max().unwrap_or(0);
    let incarnation = (last + 1).max(u64::try_from(clock).unwrap_or(u64::MAX / 2));
    let begin = |(disk, mut directory): (usize, Directory)| {
        let begin = move || {
            directory.store_incarnation(incarnation)?;
            let known = directory.known_chains()?;
            Ok((directory, known))
        };
        (disk, begin)
    };
    let begun = in_time(config, opened.into_iter().map(begin), &mut failed)?;
    let share = |(disk, (directory, known))| Arc::new(DiskShare::new(disk, directory, known, config));
    let disks: Vec<Arc<DiskShare>> = begun.into_iter().map(share).collect();
    match failed.filter(|_| disks.is_empty()) {
        Some(error) => Err(error),
        None => Ok((incarnation, disks)),
    }
}

/// Work of a few small records on each disk, beside each other; of the disks that can be used.
fn in_time<T: Send + 'static, W: FnOnce() -> Result<T> + Send + 'static>(
    config: &Config,
    work: impl Iterator<Item = (usize, W)>,
    failed: &mut Option<Error>,
) -> Result<Vec<(usize, T)>> {
    let started: Vec<_> = work.map(|(disk, work)| (disk, Errand::start(work))).collect();
    let until = Instant::now() + config.disk_timeout;
    let mut done = Vec::new();
    for (disk, errand) in started {
        let path = config.disks[disk].display();
        let no_answer = || Err(Error::new(Code::Io, format!("{path} does not answer")));
        match errand.finish(|| Instant::now() >= until).unwrap_or_else(no_answer) {
            Err(error) if error.code == Code::Io => {
                log::error!(target: "storage", disk, error:% = error; "disk.failed");
                *failed = Some(error);
            }
            outcome => done.push((disk, outcome?)),
        }
    }
    Ok(done)
}

//! Who asks, with supplementary groups: the metadata service checks permissions again, and the kernel's
//! request names only one group. They are read from /proc, and believed for a moment, because one program
//! asks many times.

use crate::session::Request;
use client::{Caller, Cancel};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const VALID: Duration = Duration::from_secs(1);
/// Threads that ask within a second; beyond it all are read again.
const KNOWN_MAX: usize = 1024;

/// Thread id, user, group: a thread that changes its user is another one.
type Key = (u32, u32, u32);

#[derive(Default)]
pub struct Callers {
    known: Mutex<HashMap<Key, (Instant, Vec<u32>)>>,
}

impl Callers {
    pub fn caller(&self, request: &Request) -> Caller {
        let cancel = Cancel::new();
        let cancelled = cancel.clone();
        request.on_interrupt(move || cancelled.cancel());
        let groups = self.groups((request.pid, request.uid, request.gid));
        Caller { uid: request.uid, gid: request.gid, groups, pid: request.pid, cancel: Some(cancel) }
    }

    /// Root passes every check without them.
    fn groups(&self, key: Key) -> Vec<u32> {
        let (tid, uid, _) = key;
        if uid == 0 || tid == 0 {
            return Vec::new();
        }
        if let Some((since, groups)) = self.known.lock().get(&key)
            && since.elapsed() < VALID
        {
            return groups.clone();
        }
        let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
        let groups = parse_groups(&status);
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key, (Instant::now(), groups.clone()));
        groups
    }
}

fn parse_groups(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    line.unwrap_or_default().split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_a_status() {
        assert_eq!(
            parse_groups("Name:\tcat\nGid:\t1\t1\t1\t1\nGroups:\t4 27 1000 \nNgid:\t0\n"),
            [4, 27, 1000]
        );
        assert_eq!(parse_groups("Groups:\t\n"), Vec::<u32>::new());
        assert_eq!(parse_groups(""), Vec::<u32>::new());
    }
}

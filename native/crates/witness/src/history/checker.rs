//! Is a history of registers linearizable? Every register by itself, since linearizability is local.
//!
//! Because no two writes write the same value, each value makes a *cluster*: its write and the reads that saw
//! it. In any order that explains the history a cluster stands in one piece, so clusters are ordered, not
//! operations. Cluster A must stand before B if one operation of A returned before one of B was
//! called: `A.first_return < B.last_call`. An order exists exactly if no two clusters must each stand before
//! the other. (A longer cycle always contains such a pair: the cluster with the largest `last_call` in it and
//! the one after.) Inside a cluster the only demand is that no read returned before its write was called.
//! So the whole check is a sort and one pass; Gibbons and Korach, "Testing shared memories", SIAM J. Comput.
//! 26(4), 1997, call clusters zones. A search over open operations would need 2^clients configurations.

use super::{Kind, Operation};
use std::collections::HashMap;
use std::fmt;

/// Why no order explains a register's operations. Times in ns of the boot clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A read saw what no write of the history wrote.
    NeverWritten { register: u32, value: u64, returned_ns: u64 },
    /// A read returned before the write of its value was called.
    BeforeItsWrite { register: u32, value: u64, returned_ns: u64, called_ns: u64 },
    /// Each of two values was seen or written by an operation that ended before one of the other's began.
    BothFirst { register: u32, one: Cluster, other: Cluster },
    /// Two writes wrote the same: the history says nothing.
    NotUnique { register: u32, value: u64 },
}

/// One value: its write, and the reads that saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub value: u64,
    pub first_return_ns: u64,
    pub last_call_ns: u64,
}

struct Open {
    write_called_ns: u64,
    /// Some operation of the value has an end.
    ended: bool,
    cluster: Cluster,
}

impl fmt::Display for Violation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::NeverWritten { register, value, returned_ns } => {
                write!(
                    to,
                    "register {register}: a read that returned at {returned_ns} saw {value:#x}, never written"
                )
            }
            Violation::BeforeItsWrite { register, value, returned_ns, called_ns } => write!(
                to,
                "register {register}: {value:#x} was read until {returned_ns}, and its write began at {called_ns}"
            ),
            Violation::BothFirst { register, one, other } => write!(
                to,
                "register {register}: {:#x} was there at {} and again after {}, {:#x} at {} and again after {}",
                one.value,
                one.first_return_ns,
                one.last_call_ns,
                other.value,
                other.first_return_ns,
                other.last_call_ns
            ),
            Violation::NotUnique { register, value } => {
                write!(to, "register {register}: {value:#x} was written twice; the recorder is wrong")
            }
        }
    }
}

/// The first violation of each register that has one. The operations may come in any order.
pub fn check(history: &[Operation]) -> Vec<Violation> {
    let mut registers: HashMap<u32, Vec<Operation>> = HashMap::new();
    for operation in history {
        registers.entry(operation.register).or_default().push(*operation);
    }
    let mut numbers: Vec<u32> = registers.keys().copied().collect();
    numbers.sort_unstable();
    numbers.into_iter().filter_map(|number| check_register(number, &registers[&number]).err()).collect()
}

fn check_register(register: u32, operations: &[Operation]) -> Result<(), Violation> {
    let mut clusters = clusters_of(register, operations)?;
    clusters.sort_unstable_by_key(|cluster| cluster.first_return_ns);
    // The two latest calls among the clusters that ended first so far, as indices into `clusters`.
    let mut latest: Vec<[Option<usize>; 2]> = Vec::with_capacity(clusters.len() + 1);
    latest.push([None, None]);
    for index in 0..clusters.len() {
        let mut both = latest[index];
        let later = |than: Option<usize>| {
            than.is_none_or(|than| clusters[than].last_call_ns < clusters[index].last_call_ns)
        };
        if later(both[0]) {
            both = [Some(index), both[0]];
        } else if later(both[1]) {
            both[1] = Some(index);
        }
        latest.push(both);
    }
    for (index, cluster) in clusters.iter().enumerate() {
        // Those that must stand before this one: it must stand before none of them.
        let before = clusters.partition_point(|other| other.first_return_ns < cluster.last_call_ns);
        let other = latest[before].into_iter().flatten().find(|&other| other != index);
        if let Some(other) = other.filter(|&other| cluster.first_return_ns < clusters[other].last_call_ns) {
            return Err(Violation::BothFirst { register, one: *cluster, other: clusters[other] });
        }
    }
    Ok(())
}

/// The clusters that somebody answered for: a write without an answer that nobody saw may never have been.
fn clusters_of(register: u32, operations: &[Operation]) -> Result<Vec<Cluster>, Violation> {
    let initial = Cluster { value: 0, first_return_ns: 0, last_call_ns: 0 };
    let mut open = HashMap::from([(0, Open { write_called_ns: 0, ended: true, cluster: initial })]);
    for operation in operations.iter().filter(|operation| operation.kind == Kind::Write) {
        let Operation { value, called_ns, returned_ns, .. } = *operation;
        let first_return_ns = returned_ns.unwrap_or(u64::MAX);
        let cluster = Cluster { value, first_return_ns, last_call_ns: called_ns };
        let ended = returned_ns.is_some();
        if open.insert(value, Open { write_called_ns: called_ns, ended, cluster }).is_some() {
            return Err(Violation::NotUnique { register, value });
        }
    }
    for operation in operations.iter().filter(|operation| operation.kind == Kind::Read) {
        let Some(returned_ns) = operation.returned_ns else { continue };
        let value = operation.value;
        let Some(entry) = open.get_mut(&value) else {
            return Err(Violation::NeverWritten { register, value, returned_ns });
        };
        let called_ns = entry.write_called_ns;
        if returned_ns < called_ns {
            return Err(Violation::BeforeItsWrite { register, value, returned_ns, called_ns });
        }
        entry.ended = true;
        entry.cluster.first_return_ns = entry.cluster.first_return_ns.min(returned_ns);
        entry.cluster.last_call_ns = entry.cluster.last_call_ns.max(operation.called_ns);
    }
    Ok(open.into_values().filter(|entry| entry.ended).map(|entry| entry.cluster).collect())
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;

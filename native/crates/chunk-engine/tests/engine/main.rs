//! The engine as its users meet it: what updates do, and what is left of them after crashes, damage, failed
//! operations and kill -9.

mod support;

mod absent_chunks;
mod crashes;
mod disks;
mod faults;
mod formats;
mod hanging;
mod kill;
mod pages;
mod persistence_points;
mod repair;
mod together;
mod updates;
mod write_amplification;

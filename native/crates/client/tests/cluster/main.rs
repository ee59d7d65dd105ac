//! The client against three real storage servers, with a manager whose leases and transitions are the
//! product's (`chain`).

mod between;
mod chunks;
mod faults;
mod growth;
mod harness;
mod held;
mod manager;
mod meta;
mod names;
mod reports;

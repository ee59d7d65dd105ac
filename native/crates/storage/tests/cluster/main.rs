//! Three servers, a manager that really leases and routes, and faults: what was acknowledged is there, and
//! all copies are equal.

mod client;
mod harness;
mod manager;

mod change;
mod exactly_once;
mod faults;
mod fencing;
mod outage;
mod updates;

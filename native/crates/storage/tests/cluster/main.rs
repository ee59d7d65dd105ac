//! Three servers, a manager that really leases and routes, and faults: what was acknowledged is there, and
//! all copies are equal.

mod client;
mod hanging_disk;
mod harness;
mod manager;

mod change;
mod damage;
mod exactly_once;
mod faults;
mod fencing;
mod full_disks;
mod held_up;
mod large_chunks;
mod leases;
mod left_behind;
mod old_state;
mod outage;
mod preferred_order;
mod restores;
mod resync;
mod shared_link;
mod slow_flush;
mod updates;

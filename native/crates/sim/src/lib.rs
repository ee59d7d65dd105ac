//! The deterministic simulator of the chain protocol: the very state machines of crate `chain`, under a
//! network, disks, clocks and processes that fail. One seed is one history: no clock, no thread, no
//! randomness but the seed's. It must never decide anything that the product would have to.

mod checker;
mod client;
mod content;
mod engine;
mod event;
mod exhibits;
mod faults;
mod healing;
mod history;
mod knobs;
mod lineage;
mod manager;
mod manager_trace;
mod network;
mod node;
mod orders;
mod placement;
mod profiles;
mod random;
mod room;
mod run;
mod set_back;
#[cfg(test)]
mod several_chains_tests;
mod target;
mod target_outputs;
mod verdict;
mod wipes;
mod world;

pub use chain::museum::Planted;
pub use checker::{Interval, State, Step, Verdict, check};
pub use exhibits::{EXHIBITS, Exhibit};
pub use knobs::{CHAINS_MAX, Knobs};
pub use manager_trace::trace_manager;
pub use profiles::Profile;
pub use random::Random;
pub use run::{Choice, Outcome, ScriptedFault, run_seed, run_with};

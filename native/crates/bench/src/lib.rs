//! The fio-style load generator behind `catena bench`: jobs, engines, latencies. It measures and verifies; it
//! judges nothing.

mod creates;
mod driver;
mod engine;
mod generations;
mod histogram;
mod job;
mod pattern;
mod report;

pub use creates::create_files;
pub use driver::run;
pub use engine::{ClientEngine, Engine, NoopEngine, PosixEngine};
pub use histogram::Histogram;
pub use job::{Job, Pattern};
pub use report::Report;

//! Tests over a real mount: what the session does (`session`), and what every file system on it does
//! (`suite`).

mod file_systems;
mod mounted;
mod session;
mod suite;

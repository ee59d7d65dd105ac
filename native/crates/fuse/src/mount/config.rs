//! What a mount is told when it starts.

use crate::attach::AttachOptions;
use crate::session::SessionOptions;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// The kernel caches names and attributes for a time, and pages until the file is opened again changed.
    Kernel,
    /// Nothing is cached (`--cache none`): direct I/O, and a write that makes a file longer is answered only
    /// when the metadata service knows the length.
    None,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub client: client::Config,
    pub session: SessionOptions,
    pub cache: CacheMode,
    /// How long names and attributes are believed (P20: 1 s until there are leases).
    pub valid: Duration,
}

impl Config {
    pub fn new(mount_point: impl Into<PathBuf>, client: client::Config) -> Self {
        Config {
            client,
            session: SessionOptions::new(AttachOptions::new(mount_point)),
            cache: CacheMode::Kernel,
            valid: Duration::from_secs(1),
        }
    }
}

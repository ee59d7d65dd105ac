//! What a client is told when it starts.

use std::time::Duration;

/// Writes that are not acknowledged yet hold their bytes in memory; more callers wait. 32 MiB keeps four
/// chains of 1 MiB chunks busy with twice what one of them has in the air on a 10 Gbit/s network. One chain gets half
/// at most, and each chain has one write in the air whatever the others have (P25).
pub const WRITE_BYTES_MAX: usize = 32 << 20;

#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` of the managers; the first that answers as primary is used.
    pub managers: Vec<String>,
    /// Refuse another cluster; empty: any.
    pub cluster: String,
    /// Shown by the metadata service beside this client's session.
    pub host: String,
    /// How long an operation is retried before it fails (P25).
    pub io_timeout: Duration,
    /// Retry for ever; only a cancel ends an operation.
    pub hard: bool,
    /// How old a file's length may be when a read passes its end (P20: 1 s until leases exist; 0 = ask each
    /// time).
    pub attribute_ttl: Duration,
    /// Bound of the bytes of unacknowledged writes.
    pub write_bytes_max: usize,
    /// How long `connect` waits for a manager, a routing table and, unless `without_names`, a metadata
    /// service.
    pub connect_timeout: Duration,
    /// Only chunks: the metadata service itself, which must not wait for itself.
    pub without_names: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            managers: vec!["127.0.0.1:7400".into()],
            cluster: String::new(),
            host: String::new(),
            io_timeout: Duration::from_secs(60),
            hard: false,
            attribute_ttl: Duration::from_secs(1),
            write_bytes_max: WRITE_BYTES_MAX,
            connect_timeout: Duration::from_secs(30),
            without_names: false,
        }
    }
}

//! Catena as a mounted file system: one file per operation, on top of the `client` crate. It keeps no data
//! and gathers no writes (P22): a write is answered when every serving member holds it. Until there are
//! leases, names and attributes are believed for one second, opens ask the metadata service, and a changed
//! file's cached pages go on open (P20).

mod answers;
mod callers;
mod config;
mod create;
mod directory_handles;
mod directory_view;
mod errors;
mod fallocate;
mod file_system;
mod flush;
mod get_attributes;
mod handles;
mod kernel_view;
mod link;
mod lookup;
mod make_directory;
mod make_node;
mod open;
mod read;
mod read_directory;
mod read_link;
mod release;
mod remove_directory;
mod rename;
mod set_attributes;
mod stat_file_system;
mod symlink;
mod sync;
mod sync_directory;
mod unlink;
mod volume;
mod write;

pub use config::{CacheMode, Config};

use crate::session::{OperationMetrics, Session};
use client::Client;
use file_system::CatenaFileSystem;
use std::sync::Arc;
use std::time::Duration;
use volume::Volume;
use wire::Result;

/// A mounted cluster.
pub struct Mount {
    session: Arc<Session>,
    volume: Arc<Volume>,
}

/// How long the closes of released files may take at the end; what they report was reported by flush before.
const CLOSING_PATIENCE: Duration = Duration::from_secs(5);

impl Mount {
    /// Connects to the cluster, then mounts. Returns when the mount answers.
    ///
    /// # Errors
    /// The cluster cannot be reached, the mount point is bad or in use, no right to mount.
    pub fn start(mut config: Config) -> Result<Mount> {
        if config.cache == CacheMode::None {
            config.client.attribute_ttl = Duration::ZERO;
        }
        let client = Client::connect(config.client.clone())?;
        Mount::start_with(client, &config)
    }

    /// The same over a client that is connected already; it is stopped with the mount.
    ///
    /// # Errors
    /// See `start`.
    pub fn start_with(client: Arc<Client>, config: &Config) -> Result<Mount> {
        let volume = Arc::new(Volume::new(client, config));
        let file_system = Arc::new(CatenaFileSystem(volume.clone()));
        let session = Session::start(&config.session, file_system).inspect_err(|_| volume.client.stop())?;
        let fenced = Arc::downgrade(&volume);
        volume.client.listen_fenced(move |inodes| {
            if let Some(volume) = fenced.upgrade() {
                volume.forget_cached(&inodes);
            }
        });
        Ok(Mount { session, volume })
    }

    /// Blocks until the mount ends, also by umount(8); then stops the client.
    pub fn wait(&self) {
        self.session.wait();
        self.stop_client();
    }

    /// Ends the mount. After `patience`, files that are still open fail.
    ///
    /// # Errors
    /// The kernel refuses to unmount.
    pub fn unmount(&self, patience: Duration) -> Result<()> {
        let ended = self.session.unmount(patience);
        self.stop_client();
        ended
    }

    fn stop_client(&self) {
        self.volume.handles.wait_closed(CLOSING_PATIENCE);
        self.volume.client.stop();
    }

    pub fn client(&self) -> &Arc<Client> {
        &self.volume.client
    }

    /// Requests, errors and times by operation.
    pub fn operations(&self) -> Vec<OperationMetrics> {
        self.session.metrics().operations()
    }

    /// Requests of the kernel that wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.session.in_flight()
    }

    /// Files that are open now.
    pub fn open_files(&self) -> usize {
        self.volume.handles.count()
    }
}

//! The storage server for its Node process: started, asked for figures, stopped. Its work never enters
//! JavaScript.

use crate::promise::promise;
use crate::work;
use ::storage::{Config, DiskOpener, Media, StorageServer};
use napi::Env;
use napi::bindgen_prelude::{BigInt, Buffer, Object};
use napi_derive::napi;
use prost::Message;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wire::{Code, Error, Result};

#[napi(object)]
pub struct StorageSettings {
    pub node: u32,
    pub cluster: String,
    pub listen: String,
    pub advertise: String,
    pub domain: String,
    pub managers: Vec<String>,
    pub disks: Vec<String>,
    pub require_mounted_disks: bool,
    /// Of each disk.
    pub media: Vec<String>,
    pub store_threads: u32,
    pub read_threads: u32,
    pub update_buffer_bytes: f64,
    pub read_buffer_bytes: f64,
    pub resync_buffer_bytes: f64,
    pub flush_interval_ms: u32,
    pub disk_timeout_ms: u32,
    pub resync_bytes_per_second: f64,
    pub scrub_bytes_per_second: f64,
    pub scrub_interval_hours: u32,
}

/// Targets' folders lie in a disk's folder. What is in none is buffered.
fn opener(disks: Vec<PathBuf>, names: &[String]) -> Result<DiskOpener> {
    let media: Vec<Media> = names
        .iter()
        .map(|name| name.parse().map_err(|error| Error::new(Code::BadConfig, format!("`media`: {error}"))))
        .collect::<Result<_>>()?;
    if media.len() != disks.len() {
        let detail = format!("`media` has {} entries for {} disks", media.len(), disks.len());
        return Err(Error::new(Code::BadConfig, detail));
    }
    Ok(DiskOpener::of(move |folder| {
        let found = disks.iter().position(|disk| folder.starts_with(disk));
        found.map_or(Media::Buffered, |index| media[index])
    }))
}

impl TryFrom<StorageSettings> for Config {
    type Error = Error;
    fn try_from(settings: StorageSettings) -> Result<Config> {
        let disks: Vec<PathBuf> = settings.disks.into_iter().map(PathBuf::from).collect();
        Ok(Config {
            open_disk: opener(disks.clone(), &settings.media)?,
            disks,
            require_mounted_disks: settings.require_mounted_disks,
            address: settings.listen,
            advertise: settings.advertise,
            domain: settings.domain,
            managers: settings.managers,
            store_threads: settings.store_threads as usize,
            read_threads: settings.read_threads as usize,
            read_bytes: settings.read_buffer_bytes as usize,
            resync_bytes: settings.resync_buffer_bytes as usize,
            flush_interval: Duration::from_millis(settings.flush_interval_ms.into()),
            disk_timeout: Duration::from_millis(settings.disk_timeout_ms.into()),
            resync_bytes_per_second: settings.resync_bytes_per_second as u64,
            scrub_bytes_per_second: settings.scrub_bytes_per_second as u64,
            scrub_interval: Duration::from_secs(u64::from(settings.scrub_interval_hours) * 3600),
            ..Config::new(settings.node, settings.cluster)
                .with_update_bytes(settings.update_buffer_bytes as usize)
        })
    }
}

#[napi(object)]
pub struct Counter {
    pub name: String,
    pub help: String,
    /// Rises only; exact up to 2^53.
    pub value: f64,
}

#[napi]
pub struct NativeStorageServer(Arc<StorageServer>);

#[napi]
impl NativeStorageServer {
    #[napi(ts_return_type = "Promise<NativeStorageServer>")]
    pub fn start(env: &Env, settings: StorageSettings) -> napi::Result<Object<'_>> {
        let (settle, object) = promise::<NativeStorageServer>(env)?;
        work::run(move || {
            let started = Config::try_from(settings).and_then(StorageServer::start);
            settle.settle(started.map(|server| NativeStorageServer(Arc::new(server))));
        });
        Ok(object)
    }

    #[napi]
    pub fn address(&self) -> String {
        self.0.address().to_string()
    }

    #[napi]
    pub fn incarnation(&self) -> BigInt {
        self.0.incarnation().into()
    }

    /// What heartbeats say of each target, encoded as `TargetReport`.
    #[napi]
    pub fn targets(&self) -> Vec<Buffer> {
        self.0.targets().iter().map(|report| report.encode_to_vec().into()).collect()
    }

    #[napi]
    pub fn counters(&self) -> Vec<Counter> {
        let counter = |(name, help, value): (&str, &str, u64)| Counter {
            name: name.into(),
            help: help.into(),
            value: value as f64,
        };
        self.0.metrics().into_iter().map(counter).collect()
    }

    /// Serves nothing any more, flushes, gives its lease back.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn stop<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let (settle, object) = promise::<()>(env)?;
        let server = self.0.clone();
        work::run(move || settle.settle(server.stop()));
        Ok(object)
    }
}

//! The mount for its Node process: started, asked for figures, ended. No request of the kernel ever enters
//! JavaScript.

use crate::client::{ClientFigures, ClientSettings};
use crate::promise::promise;
use crate::work;
use ::fuse::mount::{CacheMode, Config, Mount};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use std::sync::Arc;
use std::time::Duration;

#[napi(object)]
pub struct MountSettings {
    pub client: ClientSettings,
    pub mountpoint: String,
    /// Direct I/O, nothing cached.
    pub without_cache: bool,
    pub allow_other: bool,
    pub read_ahead_bytes: u32,
    pub threads_max: u32,
}

impl From<MountSettings> for Config {
    fn from(settings: MountSettings) -> Config {
        let client: ::client::Config = settings.client.into();
        let mut config = Config::new(settings.mountpoint, client);
        if settings.without_cache {
            config.cache = CacheMode::None;
            config.valid = Duration::ZERO;
            config.client.attribute_ttl = Duration::ZERO;
        }
        config.session.attach.allow_other = settings.allow_other;
        config.session.readahead_bytes = settings.read_ahead_bytes;
        config.session.threads_max = settings.threads_max as usize;
        config
    }
}

#[napi(object)]
pub struct OperationFigures {
    pub operation: String,
    pub requests: f64,
    pub in_flight: f64,
    pub errors: f64,
    /// Between arrival and answer, summed.
    pub seconds: f64,
}

#[napi]
pub struct NativeMount(Arc<Mount>);

#[napi]
impl NativeMount {
    /// When the cluster answers and the kernel has mounted.
    #[napi(ts_return_type = "Promise<NativeMount>")]
    pub fn start(env: &Env, settings: MountSettings) -> napi::Result<Object<'_>> {
        let (settle, object) = promise::<NativeMount>(env)?;
        work::run(move || {
            let started = Mount::start(settings.into());
            settle.settle(started.map(|mount| NativeMount(Arc::new(mount))));
        });
        Ok(object)
    }

    /// Settled when the mount has ended, also by umount(8).
    #[napi(ts_return_type = "Promise<void>")]
    pub fn ended<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let (settle, object) = promise::<()>(env)?;
        let mount = self.0.clone();
        // A thread of its own: it waits for as long as the mount lives.
        let wait = move || {
            mount.wait();
            settle.settle(Ok(()));
        };
        std::thread::Builder::new().name("mount-end".into()).spawn(wait).expect("a thread can be started");
        Ok(object)
    }

    /// After the patience, files that are still open fail.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn unmount<'env>(&self, env: &'env Env, patience_ms: u32) -> napi::Result<Object<'env>> {
        let (settle, object) = promise::<()>(env)?;
        let mount = self.0.clone();
        work::run(move || settle.settle(mount.unmount(Duration::from_millis(patience_ms.into()))));
        Ok(object)
    }

    #[napi]
    pub fn operations(&self) -> Vec<OperationFigures> {
        let figures = |operation: ::fuse::OperationMetrics| OperationFigures {
            operation: operation.operation.into(),
            requests: operation.requests as f64,
            in_flight: operation.in_flight as f64,
            errors: operation.errors as f64,
            seconds: operation.time.as_secs_f64(),
        };
        self.0.operations().into_iter().map(figures).collect()
    }

    #[napi]
    pub fn in_flight(&self) -> u32 {
        u32::try_from(self.0.in_flight()).unwrap_or(u32::MAX)
    }

    #[napi]
    pub fn open_files(&self) -> u32 {
        u32::try_from(self.0.open_files()).unwrap_or(u32::MAX)
    }

    #[napi]
    pub fn figures(&self) -> ClientFigures {
        self.0.client().figures().into()
    }
}

//! The load generator for JavaScript: one job, or one run of creates, on a native thread.

use crate::promise::promise;
use ::bench::{ClientEngine, Engine, Job, NoopEngine, Pattern, PosixEngine, Report, create_files, run};
use ::client::{Caller, Client, Config};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wire::{Code, Error, Result};

/// As many connections as a client holds to the servers of a one-machine cluster.
const NOOP_CONNECTIONS: usize = 3;

/// Sizes and times are whole numbers below 2^53.
#[napi(object)]
pub struct BenchSettings {
    pub engine: String,
    pub directory: String,
    pub managers: Vec<String>,
    pub rw: String,
    pub block_bytes: u32,
    pub depth: u32,
    pub jobs: u32,
    pub size_bytes: f64,
    pub runtime_ms: f64,
    pub fsync_every: f64,
    pub fsync_at_end: bool,
    pub verify: bool,
    pub seed: f64,
    pub direct: bool,
}

#[napi(object)]
pub struct BenchFindings {
    pub operations: f64,
    pub bytes: f64,
    pub elapsed_ms: f64,
    pub errors: f64,
    pub first_error: String,
    pub verified_bytes: f64,
    pub cpu_ms: f64,
    pub bytes_per_second: f64,
    pub operations_per_second: f64,
    /// Microseconds: minimum, mean, maximum; then at 50, 90, 95, 99, 99.9 and 99.99 %.
    pub latencies_us: Vec<f64>,
}

#[napi(ts_return_type = "Promise<BenchFindings>")]
pub fn run_bench(env: &Env, settings: BenchSettings) -> napi::Result<Object<'_>> {
    let (settle, object) = promise::<BenchFindings>(env)?;
    // A thread of its own: a run may take hours.
    std::thread::spawn(move || settle.settle(measure(&settings).map(findings)));
    Ok(object)
}

#[napi(ts_return_type = "Promise<BenchFindings>")]
pub fn run_creates(env: &Env, directory: String, runtime_ms: f64) -> napi::Result<Object<'_>> {
    let (settle, object) = promise::<BenchFindings>(env)?;
    std::thread::spawn(move || {
        let runtime = Duration::from_millis(runtime_ms as u64);
        settle.settle(create_files(Path::new(&directory), runtime).map(findings));
    });
    Ok(object)
}

fn measure(settings: &BenchSettings) -> Result<Report> {
    let job = Job {
        pattern: Pattern::parse(&settings.rw)?,
        block_bytes: settings.block_bytes,
        depth: settings.depth,
        jobs: settings.jobs,
        size_bytes: settings.size_bytes as u64,
        runtime: Duration::from_millis(settings.runtime_ms as u64),
        fsync_every: settings.fsync_every as u64,
        fsync_at_end: settings.fsync_at_end,
        verify: settings.verify,
        seed: settings.seed as u64,
    };
    if settings.direct && settings.engine != "posix" {
        return Err(Error::new(
            Code::InvalidArgument,
            "direct: only the posix engine has a page cache to pass",
        ));
    }
    match settings.engine.as_str() {
        "posix" => {
            let engine = PosixEngine::new(Path::new(&settings.directory), settings.direct);
            run(&job, &(Arc::new(engine) as Arc<dyn Engine>))
        }
        "noop" => run(&job, &(Arc::new(NoopEngine::start(NOOP_CONNECTIONS)?) as Arc<dyn Engine>)),
        "client" => {
            let client =
                Client::connect(Config { managers: settings.managers.clone(), ..Config::default() })?;
            let engine = ClientEngine::new(client.clone(), &settings.directory, Caller::default());
            let report = run(&job, &(Arc::new(engine) as Arc<dyn Engine>));
            client.stop();
            report
        }
        other => {
            Err(Error::new(Code::InvalidArgument, format!("engine {other}: expected posix, client or noop")))
        }
    }
}

fn findings(report: Report) -> BenchFindings {
    let us = |ns: u64| ns as f64 / 1e3;
    let latencies = &report.latencies;
    let mut latencies_us = vec![us(latencies.min_ns()), latencies.mean_ns() / 1e3, us(latencies.max_ns())];
    latencies_us
        .extend([0.5, 0.9, 0.95, 0.99, 0.999, 0.9999].map(|fraction| us(latencies.percentile_ns(fraction))));
    BenchFindings {
        operations: report.operations as f64,
        bytes: report.bytes as f64,
        elapsed_ms: report.elapsed.as_secs_f64() * 1e3,
        errors: report.errors as f64,
        verified_bytes: report.verified_bytes as f64,
        cpu_ms: report.cpu.as_secs_f64() * 1e3,
        bytes_per_second: report.bytes_per_second(),
        operations_per_second: report.operations_per_second(),
        latencies_us,
        first_error: report.first_error,
    }
}

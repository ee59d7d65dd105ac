//! Measures the transport alone over loopback TCP: GiB/s of 1 MiB payloads at depth 8 both ways, and small
//! requests per second, with the CPU seconds they cost. `cargo run --release -p transport --example noop`
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use transport::{Connection, EchoHandler, TcpTransport, Transport, call};
use wire::message::EchoRequest;

struct Case {
    name: &'static str,
    request_bytes: usize,
    reply_bytes: u32,
    depth: usize,
    count: usize,
}

const CASES: &[Case] = &[
    Case { name: "write 1 MiB, depth 8", request_bytes: 1 << 20, reply_bytes: 0, depth: 8, count: 4096 },
    Case { name: "read 1 MiB, depth 8", request_bytes: 0, reply_bytes: 1 << 20, depth: 8, count: 4096 },
    Case { name: "write 1 MiB, depth 1", request_bytes: 1 << 20, reply_bytes: 0, depth: 1, count: 2048 },
    Case {
        name: "write 128 KiB, depth 8",
        request_bytes: 128 << 10,
        reply_bytes: 0,
        depth: 8,
        count: 16_384,
    },
    Case { name: "write 4 KiB, depth 64", request_bytes: 4096, reply_bytes: 0, depth: 64, count: 200_000 },
    Case { name: "read 4 KiB, depth 64", request_bytes: 0, reply_bytes: 4096, depth: 64, count: 200_000 },
    Case { name: "empty, depth 64", request_bytes: 0, reply_bytes: 0, depth: 64, count: 200_000 },
    Case { name: "empty, depth 1", request_bytes: 0, reply_bytes: 0, depth: 1, count: 30_000 },
];

fn main() {
    let transport = TcpTransport::new();
    let listener = transport.listen("127.0.0.1:0", Arc::new(EchoHandler::new())).expect("loopback");
    let handler = Arc::new(EchoHandler::new());
    let connection =
        transport.connect(&listener.address(), Duration::from_secs(5), handler).expect("loopback");
    for case in CASES {
        run(&connection, case);
    }
}

fn run(connection: &Arc<dyn Connection>, case: &Case) {
    let payload = Bytes::from(vec![7; case.request_bytes]);
    let (sender, receiver) = mpsc::channel();
    let (start, cpu) = (Instant::now(), cpu_seconds());
    for number in 0..case.count + case.depth {
        if number >= case.depth {
            receiver.recv().expect("an answer");
        }
        if number < case.count {
            let request = EchoRequest { header: None, reply_bytes: case.reply_bytes };
            let payload = if payload.is_empty() { Vec::new() } else { vec![payload.clone()] };
            let sender = sender.clone();
            call(&**connection, request, payload, Duration::from_secs(60), move |result| {
                result.expect("an answer");
                sender.send(()).expect("the receiver waits");
            });
        }
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let rate = case.count as f64 / seconds;
    let bytes =
        case.count as f64 * (case.request_bytes as f64 + f64::from(case.reply_bytes)) / f64::from(1 << 30);
    let per_gib = if bytes > 0.0 { cpu / bytes } else { 0.0 };
    println!(
        "{:24} {:9.0} /s {:6.2} GiB/s {:5.2} CPU s/GiB {:6.2} CPU us/request",
        case.name,
        rate,
        bytes / seconds,
        per_gib,
        cpu / case.count as f64 * 1e6
    );
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

//! Measures three servers with three copies over loopback, without a mount: CPU seconds per GiB written and
//! read, and updates a second. `cargo run --release -p storage --example throughput -- FOLDER`
#![allow(clippy::print_stdout)]

#[path = "../tests/cluster/manager.rs"]
#[allow(dead_code)]
mod manager;

use bytes::Bytes;
use manager::{TestManager, new_chains};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use storage::{Config, StorageServer};
use transport::{Connection, EchoHandler, TcpTransport, Transport, call};
use wire::message::{FlushRequest, PublicState, ReadRequest, UpdateRequest};
use wire::{ChunkId, ClientId, Tag};

const CHAINS: u32 = 4;
const DEPTH: usize = 8;
const CHUNK: usize = 1 << 20;

struct Bench {
    manager: TestManager,
    connections: HashMap<u32, Arc<dyn Connection>>,
    sequence: u64,
}

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "/tmp/catena-throughput".into()));
    let transport: Arc<dyn Transport> = Arc::new(TcpTransport::new());
    let manager = TestManager::start(&*transport, new_chains(CHAINS, 1), 300);
    let mut servers = Vec::new();
    for node in 1..=3 {
        let mut config = Config::new(node, "bench");
        config.managers = vec![manager.address.clone()];
        config.disks = vec![folder.join(format!("storage-{node}"))];
        servers.push(StorageServer::start_on(config, transport.clone()).expect("a server"));
    }
    while manager.serving() != 3 * CHAINS as usize {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The manager's word reaches the servers.
    std::thread::sleep(Duration::from_millis(1000));
    let connect = |node: u32| {
        let address = manager.address_of(node).expect("registered");
        let handler = Arc::new(EchoHandler::new());
        (node, transport.connect(&address, Duration::from_secs(5), handler).expect("loopback"))
    };
    let connections = (1..=3).map(connect).collect();
    let mut bench = Bench { manager, connections, sequence: 0 };
    let gib = 1.0;
    bench.measure("write 1 MiB", gib, 1024, |bench, number| bench.write(number, 0, CHUNK));
    bench.measure("read 1 MiB", gib, 1024, |bench, number| bench.read(number, 0, CHUNK));
    bench.measure("read 1 MiB again", gib, 1024, |bench, number| bench.read(number, 0, CHUNK));
    bench.measure("write 128 KiB append", gib, 8192, |bench, number| {
        bench.write(2000 + number / 8, (number % 8) as usize * (128 << 10), 128 << 10)
    });
    bench.measure("overwrite 4 KiB", 20_000.0 / 262_144.0, 20_000, |bench, number| {
        bench.write(number % 1024, (number * 37 % 256) as usize * 4096, 4096)
    });
    bench.measure("read 4 KiB", 50_000.0 / 262_144.0, 50_000, |bench, number| {
        bench.read(number % 1024, (number * 37 % 256) as usize * 4096, 4096)
    });
    for server in &servers {
        server.stop().expect("an orderly stop");
    }
}

type Answer = mpsc::Receiver<wire::Result<()>>;

impl Bench {
    fn measure(&mut self, name: &str, gib: f64, count: u64, mut one: impl FnMut(&mut Bench, u64) -> Answer) {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let mut flying = std::collections::VecDeque::new();
        for number in 0..count {
            if flying.len() == DEPTH {
                let answer: Answer = flying.pop_front().expect("just counted");
                answer.recv().expect("an answer").expect("a good one");
            }
            flying.push_back(one(self, number));
        }
        for answer in flying {
            answer.recv().expect("an answer").expect("a good one");
        }
        let (before_flush, cpu_before_flush) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        if name.contains("write") {
            self.flush();
        }
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        println!(
            "{name:22} {:8.0} /s {:6.2} GiB/s {:5.2} CPU s/GiB; flushed {:5.2} s {:5.2} CPU s/GiB {:6.1} us each",
            count as f64 / before_flush,
            gib / before_flush,
            cpu_before_flush / gib,
            seconds,
            cpu / gib,
            cpu / count as f64 * 1e6,
        );
    }

    fn place(&self, number: u64, member: usize) -> (u32, u64, &Arc<dyn Connection>) {
        let chain = self.manager.chain((number % u64::from(CHAINS)) as u32 + 1);
        let serving = chain.members.iter().filter(|member| member.state() == PublicState::PublicServing);
        let node = serving.cycle().nth(member).expect("somebody serves").node;
        (chain.id, chain.version, &self.connections[&node])
    }

    fn write(&mut self, number: u64, offset: usize, length: usize) -> Answer {
        self.sequence += 1;
        // A channel per request in the air.
        let tag =
            Tag { client: ClientId([9; 16]), channel: (self.sequence % 64) as u32, sequence: self.sequence };
        let (chain, chain_version, connection) = self.place(number, 0);
        let data = Bytes::from(vec![number as u8 | 1; length]);
        let request = UpdateRequest {
            chain,
            chain_version,
            chunk: Some(ChunkId { inode: 5, index: number }.into()),
            tag: Some(tag.into()),
            offset: offset as u32,
            length: length as u32,
            crc: crc32c::crc32c(&data),
            chunk_size: CHUNK as u32,
            ..Default::default()
        };
        let (sender, receiver) = mpsc::channel();
        call(&**connection, request, vec![data], Duration::from_secs(30), move |result| {
            sender.send(result.map(|_| ())).expect("somebody waits");
        });
        receiver
    }

    fn read(&mut self, number: u64, offset: usize, length: usize) -> Answer {
        let (chain, chain_version, connection) = self.place(number, number as usize);
        let request = ReadRequest {
            chain,
            chain_version,
            chunk: Some(ChunkId { inode: 5, index: number }.into()),
            offset: offset as u32,
            length: length as u32,
            ..Default::default()
        };
        let (sender, receiver) = mpsc::channel();
        call(&**connection, request, Vec::new(), Duration::from_secs(30), move |result| {
            let whole = result.map(|(reply, payload)| {
                assert_eq!(crc32c::crc32c(&payload), reply.crc);
                assert_eq!(payload.len(), length);
            });
            sender.send(whole).expect("somebody waits");
        });
        receiver
    }

    fn flush(&mut self) {
        for chain in 0..u64::from(CHAINS) {
            let (chain, chain_version, connection) = self.place(chain, 0);
            let request = FlushRequest { chain, chain_version, ..Default::default() };
            transport::call_wait(&**connection, request, Vec::new(), Duration::from_secs(60))
                .expect("a flush");
        }
    }
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

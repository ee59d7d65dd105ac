//! Answers whose payload lies in files: mixed with memory, many at once, to a caller that does not read.

use crate::server::{LONG, ask, echo, pair, pattern, server, until};
use bytes::Bytes;
use pages::{PAGES_BYTES_MAX, PagePool, Part};
use parking_lot::Mutex;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use transport::{Incoming, Transport, call};
use wire::message::{EchoReply, EchoRequest};

const PIECE: usize = 4096;

fn filled(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// `length` bytes of the file from its beginning; every third piece of them from memory if `mixed`.
fn parts(pool: &PagePool, file: &File, bytes: &Bytes, length: usize, mixed: bool) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut done = 0;
    while done < length {
        let wanted = (length - done).min(if mixed { 5 * PIECE } else { PAGES_BYTES_MAX });
        if mixed && parts.len() % 3 == 1 {
            parts.push(Part::Memory(bytes.slice(done..done + wanted)));
        } else {
            let mut pages = pool.try_take().expect("a pipe is free");
            assert_eq!(pages.fill(file, done as u64, wanted).unwrap(), wanted);
            parts.push(Part::Pages(pages));
        }
        done += wanted;
    }
    parts
}

fn send(incoming: &mut Incoming<'_>, parts: Vec<Part>) {
    incoming.replier().send_parts(EchoReply::default(), parts);
}

pub fn pages_and_memory_arrive_in_their_order(transport: Arc<dyn Transport>) {
    let content = pattern(3, 3 * PAGES_BYTES_MAX);
    let (file, bytes, pool) = (filled(&content), content.clone(), PagePool::new(200));
    let answer = move |_: &wire::BufferPool, mut incoming: Incoming<'_>| {
        let length = incoming.decode::<EchoRequest>().unwrap().reply_bytes as usize;
        send(&mut incoming, parts(&pool, &file, &bytes, length, length.is_multiple_of(2)));
    };
    let pair = pair(&*transport, server(answer));
    let lengths = [1, 2, 4095, 4096, 65_536, 65_537, 300_000, 300_001, 1 << 20, (1 << 20) + 1, 3 << 20, 0, 8];
    for length in lengths {
        let got = ask(&*pair.connection, echo(length), Vec::new()).unwrap();
        assert!(got == content[..length], "answer of {length} bytes");
    }
}

pub fn many_answers_of_pages_share_a_connection(transport: Arc<dyn Transport>) {
    let content = pattern(4, PAGES_BYTES_MAX);
    let (file, bytes, pool) = (filled(&content), content.clone(), PagePool::new(8));
    let from_memory = Arc::new(AtomicUsize::new(0));
    let copied = from_memory.clone();
    let answer = move |_: &wire::BufferPool, mut incoming: Incoming<'_>| {
        let length = incoming.decode::<EchoRequest>().unwrap().reply_bytes as usize;
        // As a storage server does: what finds no pipe is sent from memory.
        let parts = match pool.try_take() {
            Some(mut pages) => {
                assert_eq!(pages.fill(&file, 0, length).unwrap(), length);
                vec![Part::Pages(pages)]
            }
            None => {
                copied.fetch_add(1, Ordering::SeqCst);
                vec![Part::Memory(bytes.slice(..length))]
            }
        };
        send(&mut incoming, parts);
    };
    let pair = pair(&*transport, server(answer));
    let (sender, receiver) = mpsc::channel();
    for round in 0..400usize {
        let length = round * 7919 % PAGES_BYTES_MAX;
        let (sender, content) = (sender.clone(), content.clone());
        call(&*pair.connection, echo(length), Vec::new(), LONG, move |result| {
            sender.send(result.unwrap().1 == content[..length]).unwrap();
        });
    }
    drop(sender);
    assert!(receiver.iter().eq(std::iter::repeat_n(true, 400)));
    assert!(from_memory.load(Ordering::SeqCst) < 400, "some were pages");
}

/// Its pipes come back when the connection goes, also those that were sent in part.
pub fn closing_gives_pages_back(transport: Arc<dyn Transport>) {
    const PIPES: usize = 12;
    let content = pattern(5, PAGES_BYTES_MAX);
    let (file, pool) = (filled(&content), PagePool::new(PIPES));
    let handled = Arc::new(AtomicUsize::new(0));
    let (counting, taking) = (handled.clone(), pool.clone());
    let answer = move |_: &wire::BufferPool, mut incoming: Incoming<'_>| {
        let mut pages = taking.try_take().expect("a pipe for each call");
        pages.fill(&file, 0, PAGES_BYTES_MAX).unwrap();
        send(&mut incoming, vec![Part::Pages(pages)]);
        counting.fetch_add(1, Ordering::SeqCst);
    };
    let pair = pair(&*transport, server(answer));
    // The first answer holds up the caller's reader.
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock();
    let ended = Arc::new(AtomicUsize::new(0));
    for _ in 0..PIPES {
        let (gate, ended) = (gate.clone(), ended.clone());
        call(&*pair.connection, echo(0), Vec::new(), LONG, move |_| {
            drop(gate.lock());
            ended.fetch_add(1, Ordering::SeqCst);
        });
    }
    until(|| handled.load(Ordering::SeqCst) == PIPES);
    drop(pair.listener);
    drop(held);
    until(|| ended.load(Ordering::SeqCst) == PIPES);
    drop(pair.connection);
    let all = || std::iter::from_fn(|| pool.try_take()).take(PIPES).collect::<Vec<_>>();
    until(|| all().len() == PIPES);
}

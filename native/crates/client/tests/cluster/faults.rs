//! Servers die and lie; the client goes on, and every acknowledged byte is there.

use crate::between::Between;
use crate::harness::{CHUNK, Cluster, INODE, Mirror, layout, pattern};
use crate::held::{Hold, Holder};
use bytes::Bytes;
use client::{Caller, Cancel, Client};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use transport::{Connection, Done, Outgoing, Transport};
use wire::{Code, MessageKind, Result};

#[test]
fn each_server_in_turn_is_killed_under_writes_and_reads() {
    let mut cluster = Cluster::start();
    let client = cluster.client();
    let mut file = Mirror::new(&client, INODE);
    let (sender, done) = mpsc::channel();
    let (mut submitted, mut acknowledged) = (0usize, 0);
    let mut burst = |file: &mut Mirror, count: usize| {
        for _ in 0..count {
            // Overlapping ones too: the order must hold also over a change of head.
            let offset = (submitted * 7919) % (20 * CHUNK as usize);
            let data = pattern(submitted as u64, 5000 + submitted % 90_000);
            file.keep(offset, &data);
            let sender = sender.clone();
            let told = move |result| sender.send(result).unwrap();
            file.chunks.write(INODE, &layout(), offset as u64, vec![Bytes::from(data)], told);
            submitted += 1;
        }
        submitted
    };
    for node in 1..=3 {
        burst(&mut file, 60);
        cluster.kill(node);
        let total = burst(&mut file, 60);
        while acknowledged < total {
            done.recv().unwrap().unwrap();
            acknowledged += 1;
        }
        file.check();
        cluster.start_server(node);
        cluster.wait_serving();
        file.check();
    }
    assert!(!cluster.manager.suspected().is_empty(), "lost connections are reported");
}

#[test]
fn a_flipped_bit_on_one_disk_is_served_from_another_copy() {
    let cluster = Cluster::start();
    let client = cluster.client();
    let mut file = Mirror::new(&client, INODE);
    file.write(0, pattern(3, 12 * CHUNK as usize));
    // Two of three copies of every chunk: whatever replica the client prefers, most reads meet them.
    let pieces: Vec<&[u8]> = file.bytes.chunks(CHUNK as usize).map(|chunk| &chunk[..64]).collect();
    for node in [1, 2] {
        let flipped: usize = pieces.iter().map(|piece| flip_bit(&cluster.disk(node), piece)).sum();
        assert_eq!(flipped, pieces.len());
    }
    file.check();
    assert!(client.figures().corrupt_answers > 0, "some reads met a flipped bit");
}

fn flip_bit(folder: &Path, wanted: &[u8]) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found +=
            if path.is_dir() { flip_bit(&path, wanted) } else { usize::from(flip_in_file(&path, wanted)) };
    }
    found
}

fn flip_in_file(path: &Path, wanted: &[u8]) -> bool {
    use rustix::fs::{SeekFrom, seek};
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut at = 0;
    // Segment files are sparse: only what is written is looked at.
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        let end = seek(&file, SeekFrom::Hole(start)).unwrap_or(length);
        let mut bytes = vec![0; (end - start) as usize];
        file.read_exact_at(&mut bytes, start).unwrap();
        if let Some(place) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            file.write_all_at(&[wanted[0] ^ 1], start + place as u64).unwrap();
            return true;
        }
        at = end;
    }
    false
}

/// A network that changes a bit of the first `left` read payloads.
fn noisy(inner: Arc<dyn Transport>, left: &Arc<AtomicUsize>) -> Arc<dyn Transport> {
    let left = left.clone();
    let carry = move |inner: &Arc<dyn Connection>, request_id, out: Outgoing, done: Done| {
        let left = left.clone();
        let reads = out.kind == MessageKind::KindRead;
        let noisy = move |result: Result<transport::Reply>| {
            let result = result.map(|mut reply| {
                let strike = |left: usize| (!reply.payload.is_empty()).then(|| left.checked_sub(1)).flatten();
                if reads && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, strike).is_ok() {
                    let mut bytes = reply.payload.to_vec();
                    *bytes.last_mut().unwrap() ^= 0x10;
                    reply.payload = Bytes::from(bytes);
                }
                reply
            });
            done(result);
        };
        inner.call(request_id, out, Box::new(noisy));
    };
    Arc::new(Between { inner, carry: Arc::new(carry) })
}

#[test]
fn a_bit_changed_on_the_way_is_seen_and_another_copy_asked() {
    let cluster = Cluster::start();
    let left = Arc::new(AtomicUsize::new(0));
    let network = noisy(cluster.transport.clone(), &left);
    let client = Client::connect_over(network, cluster.config()).unwrap();
    let mut file = Mirror::new(&client, INODE);
    file.write(0, pattern(4, CHUNK as usize));
    // Once may have been an overwrite under way: the same server is asked to look at its bytes.
    left.store(1, Ordering::SeqCst);
    file.check();
    assert_eq!((left.load(Ordering::SeqCst), client.figures().corrupt_answers), (0, 0));
    // Bytes that it has looked at do not match either: others are asked.
    left.store(3, Ordering::SeqCst);
    file.check();
    assert_eq!((left.load(Ordering::SeqCst), client.figures().corrupt_answers), (0, 2));
    // Every copy's answer is changed: the error is the answer, and nothing else is returned.
    left.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(file.read(0, 10).unwrap_err().code, Code::Corrupt);
}

#[test]
fn without_servers_operations_end_at_their_time_and_when_they_are_cancelled() {
    let mut cluster = Cluster::start();
    let config = client::Config { io_timeout: Duration::from_millis(1500), ..cluster.config() };
    let client = Client::connect_over(cluster.transport.clone(), config).unwrap();
    let hard =
        Client::connect_over(cluster.transport.clone(), client::Config { hard: true, ..cluster.config() })
            .unwrap();
    let mut file = Mirror::new(&client, INODE);
    file.write(0, pattern(4, 1000));
    (1..=3).for_each(|node| cluster.kill(node));
    assert!(file.read(0, 10).unwrap_err().code.retryable());
    let data = vec![Bytes::from(pattern(5, 1000))];
    let error = file.chunks.write_wait(&Caller::default(), INODE, &layout(), 0, data.clone()).unwrap_err();
    assert!(error.code.retryable(), "{error}");
    assert_eq!(client.figures().write_bytes_in_flight, 0);
    let cancel = Cancel::new();
    let caller = Caller { cancel: Some(cancel.clone()), ..Caller::default() };
    let waiting = std::thread::spawn(move || {
        let chunks = hard.chunks();
        (
            chunks.read_wait(&caller, INODE, &layout(), 0, 10).err(),
            chunks.write_wait(&caller, INODE, &layout(), 0, data),
        )
    });
    std::thread::sleep(Duration::from_millis(50));
    cancel.cancel();
    let (read, write) = waiting.join().unwrap();
    assert_eq!((read.unwrap().code, write.unwrap_err().code), (Code::Interrupted, Code::Interrupted));
    // They come back, and the file with them. The failed write may have happened.
    (1..=3).for_each(|node| cluster.start_server(node));
    cluster.wait_serving();
    let bytes = file.read(0, 1000).unwrap();
    assert!(bytes == pattern(4, 1000) || bytes == pattern(5, 1000));
    // Whatever became of it, it does not come behind a later write.
    file.write(0, pattern(6, 1000));
    file.check();
}

/// Writes of one chunk whose requests get lost are given up. When the program writes there again, or cuts the file,
/// and that is acknowledged, the lost requests change nothing any more, whenever they arrive (P7).
#[test]
fn lost_requests_that_arrive_late_change_nothing_that_was_acknowledged_since() {
    let cluster = Cluster::start();
    let (holder, network) = Holder::over(cluster.transport.clone());
    let client = Client::connect_over(network, cluster.config()).unwrap();
    let mut file = Mirror::new(&client, INODE);
    file.write(0, pattern(1, 1000));
    let lose = |file: &Mirror| {
        holder.hold(Hold::Requests(MessageKind::KindUpdate));
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            for place in 0..8u64 {
                let caller = Caller { cancel: Some(cancel.clone()), ..Caller::default() };
                scope.spawn(move || {
                    let data = vec![Bytes::from(pattern(10 + place, 100))];
                    let result = file.chunks.write_wait(&caller, INODE, &layout(), place * 100, data);
                    assert_eq!(result.unwrap_err().code, Code::Interrupted);
                });
            }
            // Each of them has been sent, most more than once.
            holder.wait_held(32);
            cancel.cancel();
        });
        holder.hold(Hold::Nothing);
    };
    lose(&file);
    // In another order than before, within one of them, over two, and over all.
    for (seed, (offset, length)) in [(300, 100), (110, 20), (550, 150), (0, 800)].into_iter().enumerate() {
        file.write(offset, pattern(20 + seed as u64, length));
    }
    assert!(holder.release() >= 32);
    file.check();
    lose(&file);
    file.chunks.truncate(&Caller::default(), INODE, &layout(), Some(1000), 50).unwrap();
    file.bytes.truncate(50);
    assert!(holder.release() >= 32);
    file.check();
    assert_eq!(file.read(0, 1000).unwrap()[50..], [0; 950], "nothing is behind the new end");
    lose(&file);
    file.chunks.remove(&Caller::default(), INODE, &layout(), 1000).unwrap();
    assert!(holder.release() >= 32);
    assert_eq!(file.read(0, 1000).unwrap(), [0; 1000]);
}

//! The bytes of notifications, and what becomes of them when the session ends.

use super::*;
use crate::session::scripted::ScriptedChannel;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

fn notified(refusal: Option<Errno>, notify: impl FnOnce(&Notifier)) -> Vec<Vec<u8>> {
    let channel = ScriptedChannel::new(Vec::new(), 1000, refusal);
    let notifier = Notifier::new(channel.clone());
    let threads = notifier.start().expect("threads");
    notify(&notifier);
    notifier.stop();
    threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
    channel.sent.lock().clone()
}

type Told = Receiver<Result<(), Errno>>;

/// A kernel in which somebody holds the pages of every file until the connection is gone.
#[derive(Default)]
struct HeldPages {
    gone: Mutex<bool>,
    changed: Condvar,
    /// Notices that came, also those that wait.
    arrived: Mutex<usize>,
}

impl HeldPages {
    fn abort(&self) {
        *self.gone.lock() = true;
        self.changed.notify_all();
    }
}

impl Channel for HeldPages {
    fn receive(&self, _: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno::NODEV)
    }

    fn send(&self, pieces: &[IoSlice<'_>]) -> Result<(), Errno> {
        *self.arrived.lock() += 1;
        let message = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>();
        let is_of_inode = message[4..8] == abi::NOTIFY_INVALIDATE_INODE.to_ne_bytes();
        if is_of_inode && i64::from_ne_bytes(message[24..32].try_into().expect("an offset")) >= 0 {
            let mut gone = self.gone.lock();
            while !*gone {
                self.changed.wait(&mut gone);
            }
        }
        Ok(())
    }

    fn another(&self) -> Result<Arc<dyn Channel>, Errno> {
        Err(Errno::NOTSUP)
    }
}

/// Its first notice of pages waits in the kernel.
fn stuck() -> (Arc<HeldPages>, Notifier, [JoinHandle<()>; 2], Told) {
    let kernel = Arc::new(HeldPages::default());
    let notifier = Notifier::new(kernel.clone());
    let threads = notifier.start().expect("threads");
    let first = later(|done| notifier.invalidate_inode(7, 0, 0, done));
    while *kernel.arrived.lock() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    (kernel, notifier, threads, first)
}

/// The outcome that `done` will be told.
fn later(notify: impl FnOnce(Done)) -> Told {
    let (sender, receiver) = mpsc::channel();
    notify(Box::new(move |result| sender.send(result).expect("it is awaited")));
    receiver
}

/// The outcome that `done` is told.
fn outcome(notify: impl FnOnce(Done)) -> Result<(), Errno> {
    later(notify).recv_timeout(Duration::from_secs(20)).expect("done is always told")
}

#[test]
fn notifications_have_the_kernels_form() {
    let sent = notified(None, |notifier| {
        assert_eq!(outcome(|done| notifier.invalidate_inode(7, -1, 0, done)), Ok(()));
        assert_eq!(outcome(|done| notifier.invalidate_entry(9, b"name", done)), Ok(()));
    });
    assert_eq!(sent[0].len(), 16 + 24);
    assert_eq!(sent[0][4..8], 2i32.to_ne_bytes());
    assert_eq!(sent[0][8..16], [0; 8], "no request's number");
    assert_eq!(sent[0][16..24], 7u64.to_ne_bytes());
    assert_eq!(sent[0][24..32], (-1i64).to_ne_bytes());
    assert_eq!(sent[1].len(), 16 + 16 + 5);
    assert_eq!(sent[1][4..8], 3i32.to_ne_bytes());
    assert_eq!(sent[1][24..28], 4u32.to_ne_bytes());
    assert_eq!(&sent[1][32..], b"name\0");
}

#[test]
fn what_the_kernel_does_not_have_is_invalid_already() {
    notified(Some(Errno::NOENT), |notifier| {
        assert_eq!(outcome(|done| notifier.invalidate_inode(7, 0, 0, done)), Ok(()));
    });
    notified(Some(Errno::NODEV), |notifier| {
        assert_eq!(outcome(|done| notifier.invalidate_inode(7, 0, 0, done)), Err(Errno::NODEV));
    });
}

#[test]
fn nothing_waits_for_an_ended_session() {
    let notifier = Notifier::new(ScriptedChannel::new(Vec::new(), 1000, None));
    notifier.stop();
    assert_eq!(outcome(|done| notifier.invalidate_entry(1, b"x", done)), Err(Errno::BUSY));
}

#[test]
fn a_notice_that_waits_for_pages_holds_up_no_name_and_no_attributes() {
    let (kernel, notifier, threads, first) = stuck();
    let second = later(|done| notifier.invalidate_inode(8, 4096, 4096, done));
    assert_eq!(outcome(|done| notifier.invalidate_inode(7, -1, 0, done)), Ok(()));
    assert_eq!(outcome(|done| notifier.invalidate_entry(9, b"name", done)), Ok(()));
    assert!(first.try_recv().is_err() && second.try_recv().is_err(), "they wait all the time");
    kernel.abort();
    assert_eq!((first.recv(), second.recv()), (Ok(Ok(())), Ok(Ok(()))));
    notifier.stop();
    threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
}

#[test]
fn neither_queue_grows_beyond_its_bound_nor_takes_the_others_room() {
    let notifier = Notifier::new(ScriptedChannel::new(Vec::new(), 1000, None));
    for offset in [0, -1] {
        for node in 0..WAITING_MAX as u64 {
            notifier.invalidate_inode(node, offset, 0, |sent| assert_eq!(sent, Err(Errno::NODEV)));
        }
        assert_eq!(outcome(|done| notifier.invalidate_inode(1, offset, 0, done)), Err(Errno::BUSY));
    }
    assert_eq!(outcome(|done| notifier.invalidate_entry(1, b"x", done)), Err(Errno::BUSY));
    notifier.stop();
    let threads = notifier.start().expect("threads");
    threads.into_iter().for_each(|thread| thread.join().expect("everybody was told of the end"));
}

#[test]
fn the_end_of_a_session_ends_both_threads() {
    let (kernel, notifier, [prompt, patient], first) = stuck();
    let waiting = later(|done| notifier.invalidate_inode(8, 0, 0, done));
    notifier.stop();
    prompt.join().expect("it waits for no page");
    assert_eq!(outcome(|done| notifier.invalidate_inode(9, 0, 0, done)), Err(Errno::BUSY));
    // What the kernel does before the last worker ends, and so before a session stops its notifier.
    kernel.abort();
    patient.join().expect("it ends with the connection");
    assert_eq!(first.recv(), Ok(Ok(())));
    assert_eq!(waiting.recv(), Ok(Err(Errno::NODEV)), "what waits is not sent any more");
}

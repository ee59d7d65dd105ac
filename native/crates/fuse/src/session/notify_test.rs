//! The bytes of notifications, and what becomes of them when the session ends.

use super::*;
use crate::session::scripted::ScriptedChannel;
use std::sync::mpsc;

fn notified(refusal: Option<Errno>, notify: impl FnOnce(&Notifier)) -> Vec<Vec<u8>> {
    let channel = ScriptedChannel::new(Vec::new(), 1000, refusal);
    let notifier = Notifier::new(channel.clone());
    let running = notifier.clone();
    let thread = std::thread::spawn(move || running.run());
    notify(&notifier);
    notifier.stop();
    thread.join().expect("it ends");
    channel.sent.lock().clone()
}

/// The outcome that `done` is told.
fn outcome(notify: impl FnOnce(Box<dyn FnOnce(Result<(), Errno>) + Send>)) -> Result<(), Errno> {
    let (sender, receiver) = mpsc::channel();
    notify(Box::new(move |result| sender.send(result).expect("it is awaited")));
    receiver.recv().expect("done is always told")
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

//! Exactly one answer, whoever comes first, and interrupts that overtake their request.

use super::*;
use crate::session::scripted::ScriptedChannel;
use parking_lot::Mutex;

fn setup() -> (Arc<Table>, Arc<ScriptedChannel>, Arc<dyn Channel>) {
    let recorder = ScriptedChannel::new(Vec::new(), 16 + 64, None);
    (Table::new(Arc::new(Metrics::new())), recorder.clone(), recorder)
}

/// Number, error and length of each answer.
fn sent(recorder: &ScriptedChannel) -> Vec<(u64, i32, usize)> {
    let word = |message: &[u8], at: usize| i32::from_ne_bytes(message[at..at + 4].try_into().unwrap());
    let unique = |message: &[u8]| u64::from_ne_bytes(message[8..16].try_into().unwrap());
    recorder.sent.lock().iter().map(|message| (unique(message), word(message, 4), message.len())).collect()
}

fn header(unique: u64) -> abi::InHeader {
    abi::InHeader { unique, opcode: 15, ..Default::default() }
}

#[test]
fn the_second_answer_is_not_sent() {
    let (table, recorder, channel) = setup();
    let (pending, _) = table.register(&header(4), &channel);
    assert!(pending.answer(Ok(&[b"abc", b"de"])));
    assert!(!pending.answer(Err(Errno::INTR)));
    assert_eq!(sent(&recorder), [(4, 0, 21)]);
    assert_eq!(table.in_flight(), 0);
}

#[test]
fn many_threads_answer_once() {
    let (table, recorder, channel) = setup();
    let pending: Vec<_> = (1..=200).map(|i| table.register(&header(i * 2), &channel).0).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                pending.iter().for_each(|one| {
                    let _ = one.answer(Ok(&[]));
                })
            });
        }
    });
    let mut uniques: Vec<u64> = sent(&recorder).iter().map(|sent| sent.0).collect();
    uniques.sort_unstable();
    assert_eq!(uniques, (1..=200).map(|i| i * 2).collect::<Vec<_>>());
}

#[test]
fn an_interrupt_runs_the_hook_once_and_finds_only_what_waits() {
    let (table, _, channel) = setup();
    let (pending, early) = table.register(&header(6), &channel);
    assert!(!early);
    let count = Arc::new(Mutex::new(0));
    let counter = count.clone();
    pending.on_interrupt(Box::new(move || *counter.lock() += 1));
    let found = table.find_interrupted(6).expect("it waits");
    found.interrupt();
    found.interrupt();
    assert_eq!(*count.lock(), 1);
    let counter = count.clone();
    pending.on_interrupt(Box::new(move || *counter.lock() += 10));
    assert_eq!(*count.lock(), 11, "a hook set too late runs at once");
}

#[test]
fn an_interrupt_before_its_request_is_kept() {
    let (table, _, channel) = setup();
    assert!(table.find_interrupted(8).is_none());
    assert!(!table.register(&header(10), &channel).1);
    assert!(table.register(&header(8), &channel).1);
    assert!(!table.register(&header(8), &channel).1, "only once");
}

#[test]
fn a_hook_never_outlives_the_answer() {
    let (table, _, channel) = setup();
    let (pending, _) = table.register(&header(12), &channel);
    let held = Arc::new(());
    let inside = held.clone();
    pending.on_interrupt(Box::new(move || drop(inside)));
    pending.answer(Ok(&[]));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_body_that_the_kernel_refuses_becomes_an_error() {
    let (table, recorder, channel) = setup();
    let (pending, _) = table.register(&header(14), &channel);
    assert!(!pending.answer(Ok(&[&[0; 65]])));
    assert_eq!(sent(&recorder), [(14, -Errno::IO.raw_os_error(), 16)]);
}

#[test]
fn interrupts_answer_only_while_they_may() {
    let (table, recorder, channel) = setup();
    let (pending, _) = table.register(&header(16), &channel);
    pending.answer_interrupts();
    assert!(pending.end_interrupt_answers());
    pending.interrupt();
    assert!(sent(&recorder).is_empty(), "the file system answers now");
    pending.answer_interrupts();
    assert_eq!(sent(&recorder), [(16, -Errno::INTR.raw_os_error(), 16)], "it came before");
    assert!(!pending.end_interrupt_answers());
}

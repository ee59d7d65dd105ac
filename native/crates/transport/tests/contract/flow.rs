//! Back-pressure, limits, and the end of connections.

use crate::server::{LONG, ask, echo, no_requests, pair, pattern, server, until};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use transport::{CALLS_IN_FLIGHT_MAX, Connection, Transport, call};
use wire::message::{EchoReply, EchoRequest};
use wire::{BufferPool, Code};

#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock() = true;
        self.1.notify_all();
    }
    fn pass(&self) {
        let mut open = self.0.lock();
        while !*open {
            self.1.wait(&mut open);
        }
    }
}

/// Sends `count` payloads of 1 MiB from a thread of its own; the counters are calls sent and answers good.
fn stream(connection: &Arc<dyn Connection>, count: usize) -> (Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (sent, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (sending, answering, connection) = (sent.clone(), answered.clone(), connection.clone());
    std::thread::spawn(move || {
        let payload = pattern(1, 1 << 20);
        for _ in 0..count {
            let answering = answering.clone();
            call(&*connection, echo(0), vec![payload.clone()], LONG, move |result| {
                if result.is_ok() {
                    answering.fetch_add(1, Ordering::SeqCst);
                }
            });
            sending.fetch_add(1, Ordering::SeqCst);
        }
    });
    (sent, answered)
}

/// Waits until the counter has stood still for a while. What is asserted afterwards holds however short the
/// while is, in a right implementation.
fn settle(counter: &AtomicUsize) -> usize {
    let mut last = counter.load(Ordering::SeqCst);
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = counter.load(Ordering::SeqCst);
        if now == last && now > 0 {
            return now;
        }
        last = now;
    }
}

pub fn a_payload_that_nobody_pulls_is_skipped(transport: Arc<dyn Transport>) {
    let pair = pair(
        &*transport,
        server(|pool, mut incoming| {
            let request: EchoRequest = incoming.decode().unwrap();
            let payload = if request.reply_bytes == 0 { incoming.pull(pool).unwrap() } else { Bytes::new() };
            assert_eq!(incoming.payload_bytes() == 0, request.reply_bytes == 0);
            incoming.replier().send(EchoReply::default(), vec![payload]);
        }),
    );
    for (number, length) in [10, 4096, 300_000, 3 << 20, 64 << 20].into_iter().enumerate() {
        assert_eq!(ask(&*pair.connection, echo(1), vec![pattern(1, length)]).unwrap(), Bytes::new());
        let number = number as u64;
        assert_eq!(
            ask(&*pair.connection, echo(0), vec![pattern(number, 5000)]).unwrap(),
            pattern(number, 5000)
        );
    }
}

pub fn a_server_that_does_not_read_holds_back_its_callers(transport: Arc<dyn Transport>) {
    const COUNT: usize = 200;
    let gate = Arc::new(Gate::default());
    let passing = gate.clone();
    let pair = pair(
        &*transport,
        server(move |pool, mut incoming| {
            passing.pass();
            let whole = incoming.pull(pool).unwrap() == pattern(1, 1 << 20);
            assert!(whole);
            incoming.replier().send(EchoReply::default(), Vec::new());
        }),
    );
    let (sent, answered) = stream(&pair.connection, COUNT);
    assert!(settle(&sent) < COUNT / 2, "the transport queues without a limit");
    assert_eq!(answered.load(Ordering::SeqCst), 0);
    gate.open();
    until(|| answered.load(Ordering::SeqCst) == COUNT);
}

pub fn a_pool_without_room_holds_back_the_reader(transport: Arc<dyn Transport>) {
    const COUNT: usize = 60;
    let budget = BufferPool::with_budget(0, 4 << 20);
    let held = Arc::new(Mutex::new(Vec::new()));
    let arrived = Arc::new(AtomicUsize::new(0));
    let (pool, holding, arriving) = (budget.clone(), held.clone(), arrived.clone());
    let pair = pair(
        &*transport,
        server(move |_, mut incoming| {
            let payload = incoming.pull(&pool).unwrap();
            arriving.fetch_add(1, Ordering::SeqCst);
            holding.lock().push((incoming.replier(), payload));
        }),
    );
    let (_, answered) = stream(&pair.connection, COUNT);
    let mut done = 0;
    while done < COUNT {
        until(|| !held.lock().is_empty());
        assert!(budget.used_bytes() <= 4 << 20);
        assert!(arrived.load(Ordering::SeqCst) - done <= 3, "three payloads and their slack fit the budget");
        let (replier, payload) = held.lock().remove(0);
        assert!(payload == pattern(1, 1 << 20));
        done += 1;
        drop(payload);
        replier.send(EchoReply::default(), Vec::new());
    }
    until(|| answered.load(Ordering::SeqCst) == COUNT);
}

pub fn calls_in_flight_are_limited(transport: Arc<dyn Transport>) {
    let gate = Arc::new(Gate::default());
    let passing = gate.clone();
    let pair = pair(
        &*transport,
        server(move |_, mut incoming| {
            passing.pass();
            incoming.replier().send(EchoReply::default(), Vec::new());
        }),
    );
    let (sender, receiver) = mpsc::channel();
    for _ in 0..CALLS_IN_FLIGHT_MAX + 5 {
        let sender = sender.clone();
        call(&*pair.connection, echo(0), Vec::new(), LONG, move |result| {
            sender.send(result.map_err(|error| error.code).err()).unwrap();
        });
    }
    for _ in 0..5 {
        assert_eq!(receiver.recv().unwrap(), Some(Code::Overloaded));
    }
    gate.open();
    for _ in 0..CALLS_IN_FLIGHT_MAX {
        assert_eq!(receiver.recv().unwrap(), None);
    }
    ask(&*pair.connection, echo(0), Vec::new()).unwrap();
}

pub fn unanswered_requests_are_limited(transport: Arc<dyn Transport>) {
    let held = Arc::new(Mutex::new(Vec::new()));
    let holding = held.clone();
    let pair = pair(&*transport, server(move |_, mut incoming| holding.lock().push(incoming.replier())));
    // Calls that timed out free the caller's table, not the server's.
    let (sender, receiver) = mpsc::channel();
    let rounds = 3;
    for _ in 0..rounds {
        for _ in 0..CALLS_IN_FLIGHT_MAX {
            let sender = sender.clone();
            call(&*pair.connection, echo(0), Vec::new(), Duration::from_millis(1), move |result| {
                sender.send(result.unwrap_err().code).unwrap();
            });
        }
        for _ in 0..CALLS_IN_FLIGHT_MAX {
            assert_eq!(receiver.recv().unwrap(), Code::TimedOut);
        }
    }
    until(|| held.lock().len() >= CALLS_IN_FLIGHT_MAX);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(held.lock().len(), CALLS_IN_FLIGHT_MAX);
    let mut answered = 0;
    while answered < rounds * CALLS_IN_FLIGHT_MAX {
        let Some(replier) = held.lock().pop() else { continue };
        replier.send(EchoReply::default(), Vec::new());
        answered += 1;
    }
}

pub fn a_caller_that_does_not_read_its_answers_gets_no_more(transport: Arc<dyn Transport>) {
    const COUNT: usize = 100;
    const LIMIT: usize = 4 << 20;
    let admitted = Arc::new(AtomicUsize::new(0));
    let admitting = admitted.clone();
    let handler = server(move |_, mut incoming| {
        let request: EchoRequest = incoming.decode().unwrap();
        let (bytes, admitting) = (request.reply_bytes as usize, admitting.clone());
        incoming.admit(usize::from(request.reply_bytes == 0), bytes, LIMIT, move |replier| {
            admitting.fetch_add(1, Ordering::SeqCst);
            replier.send(EchoReply::default(), vec![pattern(3, bytes)]);
        });
    });
    let listener = transport.listen("127.0.0.1:0", handler).unwrap();
    // The first answer's callback blocks, which no caller may do for long: it stands for a stopped process.
    let connection = transport.connect(&listener.address(), LONG, no_requests()).unwrap();
    let gate = Arc::new(Gate::default());
    let (sender, receiver) = mpsc::channel();
    for _ in 0..COUNT {
        let (gate, sender) = (gate.clone(), sender.clone());
        call(&*connection, echo(1 << 20), Vec::new(), LONG, move |result| {
            gate.pass();
            sender.send(result.unwrap().1 == pattern(3, 1 << 20)).unwrap();
        });
    }
    assert!(settle(&admitted) < COUNT / 2, "answers are made without a limit");
    let other = transport.connect(&listener.address(), LONG, no_requests()).unwrap();
    assert_eq!(ask(&*other, echo(1 << 20), Vec::new()).unwrap().len(), 1 << 20, "others are served");
    gate.open();
    for _ in 0..COUNT {
        assert!(receiver.recv().unwrap());
    }
    assert_eq!(
        ask(&*connection, echo(64 << 20), Vec::new()).unwrap().len(),
        64 << 20,
        "one is always admitted"
    );
}

pub fn answering_never_waits_for_a_caller(transport: Arc<dyn Transport>) {
    const COUNT: usize = 60;
    let held = Arc::new(Mutex::new(Vec::new()));
    let holding = held.clone();
    let pair = pair(&*transport, server(move |_, mut incoming| holding.lock().push(incoming.replier())));
    let gate = Arc::new(Gate::default());
    let (sender, receiver) = mpsc::channel();
    for _ in 0..COUNT {
        let (gate, sender) = (gate.clone(), sender.clone());
        call(&*pair.connection, echo(0), Vec::new(), LONG, move |result| {
            gate.pass();
            sender.send(result.unwrap().1.len()).unwrap();
        });
    }
    until(|| held.lock().len() == COUNT);
    // More than queue and sockets hold, from a thread that is not the transport's, to a caller that reads
    // nothing.
    for replier in std::mem::take(&mut *held.lock()) {
        replier.send(EchoReply::default(), vec![pattern(1, 1 << 20)]);
    }
    gate.open();
    for _ in 0..COUNT {
        assert_eq!(receiver.recv().unwrap(), 1 << 20);
    }
}

pub fn closing_ends_every_call_once(transport: Arc<dyn Transport>) {
    for closed_by_server in [false, true] {
        let held = Arc::new(Mutex::new(Vec::new()));
        let holding = held.clone();
        let pair = pair(&*transport, server(move |_, mut incoming| holding.lock().push(incoming.replier())));
        let (sender, receiver) = mpsc::channel();
        for number in 0..50 {
            let sender = sender.clone();
            call(&*pair.connection, echo(0), Vec::new(), LONG, move |result| {
                sender.send((number, result.unwrap_err().code)).unwrap();
            });
        }
        until(|| held.lock().len() == 50);
        if closed_by_server {
            pair.listener.close();
        } else {
            pair.connection.close();
            pair.connection.close();
        }
        drop(sender);
        let mut ended: Vec<(i32, Code)> = receiver.iter().collect();
        ended.sort_unstable_by_key(|&(number, _)| number);
        assert_eq!(ended, (0..50).map(|number| (number, Code::ConnectionLost)).collect::<Vec<_>>());
        assert!(!pair.connection.is_open());
        assert_eq!(ask(&*pair.connection, echo(0), Vec::new()).unwrap_err().code, Code::ConnectionLost);
        // Answers to a caller that is gone go nowhere and hurt nobody.
        for replier in std::mem::take(&mut *held.lock()) {
            replier.send(EchoReply::default(), vec![pattern(1, 1000)]);
        }
    }
}

pub fn dropping_a_connection_tells_the_server(transport: Arc<dyn Transport>) {
    let handler = server(|_, mut incoming| incoming.replier().send(EchoReply::default(), Vec::new()));
    let listener = transport.listen("127.0.0.1:0", handler.clone()).unwrap();
    for count in 1..=20 {
        let connection = transport.connect(&listener.address(), LONG, no_requests()).unwrap();
        ask(&*connection, echo(0), Vec::new()).unwrap();
        drop(connection);
        until(|| handler.closed.load(Ordering::SeqCst) == count);
    }
}

pub fn a_closed_listener_ends_its_connections_and_its_address_is_free(transport: Arc<dyn Transport>) {
    let handler = server(|_, mut incoming| incoming.replier().send(EchoReply::default(), Vec::new()));
    let pair = pair(&*transport, handler.clone());
    let address = pair.listener.address();
    ask(&*pair.connection, echo(0), Vec::new()).unwrap();
    pair.listener.close();
    assert_eq!(handler.closed.load(Ordering::SeqCst), 1, "close waits for the readers");
    until(|| !pair.connection.is_open());
    assert!(transport.connect(&address, LONG, no_requests()).is_err());
    // Reconnect: the same address serves again.
    let listener = transport.listen(&address, handler).unwrap();
    assert_eq!(listener.address(), address);
    let again = transport.connect(&address, LONG, no_requests()).unwrap();
    ask(&*again, echo(0), Vec::new()).unwrap();
}

pub fn closing_releases_writers_that_wait(transport: Arc<dyn Transport>) {
    const COUNT: usize = 100;
    let gate = Arc::new(Gate::default());
    let passing = gate.clone();
    let pair = pair(&*transport, server(move |_, _incoming| passing.pass()));
    let (sent, answered) = stream(&pair.connection, COUNT);
    assert!(settle(&sent) < COUNT);
    pair.connection.close();
    until(|| sent.load(Ordering::SeqCst) == COUNT);
    assert_eq!(answered.load(Ordering::SeqCst), 0);
    gate.open();
}

pub fn answers_pass_writers_that_wait(transport: Arc<dyn Transport>) {
    // Both sides call each other with more than any queue holds; answers must come through all the same.
    const COUNT: usize = 60;
    let reflect = || {
        server(|pool: &BufferPool, mut incoming: transport::Incoming<'_>| {
            let payload = incoming.pull(pool).unwrap();
            incoming.replier().send(EchoReply::default(), vec![payload]);
        })
    };
    let back = Arc::new(Mutex::new(None));
    let storing = back.clone();
    let far = server(move |pool, mut incoming| {
        storing.lock().get_or_insert_with(|| incoming.connection());
        let payload = incoming.pull(pool).unwrap();
        incoming.replier().send(EchoReply::default(), vec![payload]);
    });
    let listener = transport.listen("127.0.0.1:0", far).unwrap();
    let near = transport.connect(&listener.address(), LONG, reflect()).unwrap();
    ask(&*near, echo(0), Vec::new()).unwrap();
    let far: Arc<dyn Connection> = back.lock().clone().unwrap();
    let (_, one) = stream(&near, COUNT);
    let (_, other) = stream(&far, COUNT);
    until(|| one.load(Ordering::SeqCst) == COUNT && other.load(Ordering::SeqCst) == COUNT);
}

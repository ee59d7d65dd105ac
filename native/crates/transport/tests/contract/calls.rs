//! Calls and answers.

use crate::server::{LONG, ask, echo, no_requests, pair, pattern, server, until};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use transport::{Incoming, Outgoing, Transport, call, call_wait};
use wire::message::{EchoReply, EchoRequest, ReadRequest, RoutingPush};
use wire::{BufferPool, Code, Error, MessageKind};

/// Answers with the payload it got.
fn reflect(pool: &BufferPool, mut incoming: Incoming<'_>) {
    let payload = incoming.pull(pool).unwrap();
    incoming.replier().send(EchoReply::default(), vec![payload]);
}

pub fn payloads_arrive_whole_both_ways(transport: Arc<dyn Transport>) {
    let pair = pair(&*transport, server(reflect));
    let lengths = [0, 1, 15, 4096, 65_535, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 5_000_001, 64 << 20, 3];
    for (seed, length) in lengths.into_iter().enumerate() {
        let sent = pattern(seed as u64, length);
        let parts = vec![sent.slice(..length / 3), Bytes::new(), sent.slice(length / 3..)];
        let got = ask(&*pair.connection, echo(0), parts).unwrap();
        assert!(got == sent, "payload of {length} bytes");
    }
    let slices: Vec<Bytes> = (0..3000).map(|seed| pattern(seed, 7)).collect();
    let whole: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
    assert_eq!(ask(&*pair.connection, echo(0), slices).unwrap(), whole);
}

pub fn many_threads_share_a_connection(transport: Arc<dyn Transport>) {
    let pair = pair(&*transport, server(reflect));
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let connection = &pair.connection;
            scope.spawn(move || {
                let (sender, receiver) = mpsc::channel();
                for round in 0..100u64 {
                    let seed = thread * 1000 + round;
                    let length = usize::try_from(seed * 7919 % 150_000).unwrap();
                    let sent = pattern(seed, length);
                    let (sender, expected) = (sender.clone(), sent.clone());
                    call(&**connection, echo(0), vec![sent], LONG, move |result| {
                        sender.send(result.unwrap().1 == expected).unwrap();
                    });
                }
                drop(sender);
                let answers: Vec<bool> = receiver.iter().collect();
                assert_eq!(answers, vec![true; 100]);
            });
        }
    });
}

/// What was sent before in the same work, to this peer and to others, as well.
pub fn whoever_waits_for_an_answer_sends_what_is_held_back_first(transport: Arc<dyn Transport>) {
    let (first, second) = (pair(&*transport, server(reflect)), pair(&*transport, server(reflect)));
    let (sender, receiver) = mpsc::channel();
    let answered = transport::together(|| {
        call(&*first.connection, echo(0), vec![pattern(1, 10)], LONG, move |result| {
            sender.send(result.is_ok()).unwrap();
        });
        ask(&*second.connection, echo(0), vec![pattern(2, 10)]).map(|bytes| (bytes, receiver.recv()))
    });
    assert_eq!(answered.unwrap(), (pattern(2, 10), Ok(true)));
}

pub fn answers_may_come_in_any_order(transport: Arc<dyn Transport>) {
    let held = Arc::new(Mutex::new(Vec::new()));
    let holding = held.clone();
    let pair = pair(
        &*transport,
        server(move |pool, mut incoming| {
            let payload = incoming.pull(pool).unwrap();
            holding.lock().push((incoming.replier(), payload));
        }),
    );
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..20u64 {
        let order = order.clone();
        call(&*pair.connection, echo(0), vec![pattern(number, 100)], LONG, move |result| {
            assert_eq!(result.unwrap().1, pattern(number, 100));
            order.lock().push(number);
        });
    }
    until(|| held.lock().len() == 20);
    let mut answers = std::mem::take(&mut *held.lock());
    while let Some((replier, payload)) = answers.pop() {
        replier.send(EchoReply::default(), vec![payload]);
    }
    until(|| order.lock().len() == 20);
    assert_eq!(*order.lock(), (0..20).rev().collect::<Vec<u64>>());
}

pub fn one_way_messages_arrive_in_order(transport: Arc<dyn Transport>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = seen.clone();
    let pair = pair(
        &*transport,
        server(move |_, mut incoming| {
            if incoming.one_way {
                assert_eq!(incoming.kind, MessageKind::KindRoutingPush as u8);
                let push: RoutingPush = incoming.decode().unwrap();
                seeing.lock().push(push.routing.unwrap().version);
            } else {
                incoming.replier().send(EchoReply::default(), Vec::new());
            }
        }),
    );
    for version in 0..500 {
        let routing = Some(wire::message::Routing { version, ..Default::default() });
        transport::push(&*pair.connection, &RoutingPush { routing }).unwrap();
    }
    ask(&*pair.connection, echo(0), Vec::new()).unwrap();
    assert_eq!(*seen.lock(), (0..500).collect::<Vec<u64>>());
}

pub fn a_call_without_answer_times_out_and_the_connection_goes_on(transport: Arc<dyn Transport>) {
    let held = Arc::new(Mutex::new(Vec::new()));
    let holding = held.clone();
    let pair = pair(
        &*transport,
        server(move |_, mut incoming| {
            let request: EchoRequest = incoming.decode().unwrap();
            if request.reply_bytes == 1 {
                holding.lock().push(incoming.replier());
            } else {
                incoming.replier().send(EchoReply::default(), Vec::new());
            }
        }),
    );
    // A long call first: a shorter deadline after it must still be met.
    let (sender, receiver) = mpsc::channel();
    let long = sender.clone();
    call(&*pair.connection, echo(1), Vec::new(), LONG, move |result| long.send(("long", result)).unwrap());
    for timeout_ms in [60, 20, 40] {
        let sender = sender.clone();
        let timeout = Duration::from_millis(timeout_ms);
        call(&*pair.connection, echo(1), Vec::new(), timeout, move |result| {
            sender.send(("short", result)).unwrap();
        });
    }
    for _ in 0..3 {
        let (which, result) = receiver.recv().unwrap();
        assert_eq!((which, result.unwrap_err().code), ("short", Code::TimedOut));
    }
    ask(&*pair.connection, echo(0), Vec::new()).unwrap();
    assert!(pair.connection.is_open());
    held.lock().remove(0).send(EchoReply::default(), Vec::new());
    assert!(receiver.recv().unwrap().1.is_ok());
}

pub fn a_late_answer_is_dropped(transport: Arc<dyn Transport>) {
    let held = Arc::new(Mutex::new(Vec::new()));
    let holding = held.clone();
    let pair = pair(
        &*transport,
        server(move |pool, mut incoming| {
            let request: EchoRequest = incoming.decode().unwrap();
            let payload = incoming.pull(pool).unwrap();
            if request.reply_bytes == 1 {
                holding.lock().push((incoming.replier(), payload));
            } else {
                incoming.replier().send(EchoReply::default(), vec![payload]);
            }
        }),
    );
    let timeout = Duration::from_millis(10);
    let late = call_wait(&*pair.connection, echo(1), vec![pattern(1, 300_000)], timeout);
    assert_eq!(late.unwrap_err().code, Code::TimedOut);
    until(|| held.lock().len() == 1);
    let (replier, payload) = held.lock().remove(0);
    replier.send(EchoReply::default(), vec![payload]);
    let next = ask(&*pair.connection, echo(0), vec![pattern(2, 1000)]).unwrap();
    assert_eq!(next, pattern(2, 1000));
}

pub fn nobody_listens(transport: Arc<dyn Transport>) {
    let listener = transport.listen("127.0.0.1:0", no_requests()).unwrap();
    let address = listener.address();
    listener.close();
    let refused = transport.connect(&address, LONG, no_requests());
    assert_eq!(refused.err().unwrap().code, Code::Unreachable);
}

pub fn an_address_is_taken_once(transport: Arc<dyn Transport>) {
    let listener = transport.listen("127.0.0.1:0", no_requests()).unwrap();
    let second = transport.listen(&listener.address(), no_requests());
    assert_eq!(second.err().unwrap().code, Code::AlreadyRunning);
}

pub fn errors_arrive_as_errors(transport: Arc<dyn Transport>) {
    let error = Error::new(Code::NotHead, "chain 7");
    let answered = error.clone();
    let pair = pair(&*transport, server(move |_, mut incoming| incoming.replier().fail(&answered)));
    assert_eq!(ask(&*pair.connection, echo(0), vec![pattern(1, 100_000)]), Err(error.clone()));
    let other = call_wait(&*pair.connection, ReadRequest::default(), Vec::new(), LONG);
    assert_eq!(other.unwrap_err(), error);
}

pub fn a_request_that_is_dropped_is_answered(transport: Arc<dyn Transport>) {
    let pair = pair(&*transport, server(|_, incoming| drop(incoming)));
    assert_eq!(ask(&*pair.connection, echo(0), Vec::new()).unwrap_err().code, Code::Internal);
    assert!(pair.connection.is_open());
}

pub fn a_panicking_handler_costs_its_connection_only(transport: Arc<dyn Transport>) {
    let handler = server(|_, mut incoming| {
        let request: EchoRequest = incoming.decode().unwrap();
        let replier = incoming.replier();
        if request.reply_bytes == 1 {
            // As on a connection that breaks: no answer at all.
            std::mem::forget(replier);
            panic!("planted");
        }
        replier.send(EchoReply::default(), Vec::new());
    });
    let pair = pair(&*transport, handler.clone());
    let other = transport.connect(&pair.listener.address(), LONG, no_requests()).unwrap();
    assert_eq!(ask(&*pair.connection, echo(1), Vec::new()).unwrap_err().code, Code::ConnectionLost);
    ask(&*other, echo(0), Vec::new()).unwrap();
    until(|| handler.closed.load(Ordering::SeqCst) == 1);
}

pub fn the_server_can_push_to_its_caller(transport: Arc<dyn Transport>) {
    let handler = server(|_, mut incoming| {
        let routing = Some(wire::message::Routing { version: 42, ..Default::default() });
        transport::push(&*incoming.connection(), &RoutingPush { routing }).unwrap();
        // And a call in the other direction, answered before this one.
        let (connection, replier) = (incoming.connection(), incoming.replier());
        call(&*connection, echo(0), vec![pattern(5, 70_000)], LONG, move |result| {
            replier.send(EchoReply::default(), vec![result.unwrap().1]);
        });
    });
    let pushed = Arc::new(AtomicU64::new(0));
    let pushing = pushed.clone();
    let listener = transport.listen("127.0.0.1:0", handler).unwrap();
    let caller = server(move |pool, mut incoming| {
        if incoming.one_way {
            let push: RoutingPush = incoming.decode().unwrap();
            pushing.store(push.routing.unwrap().version, Ordering::SeqCst);
        } else {
            let payload = incoming.pull(pool).unwrap();
            incoming.replier().send(EchoReply::default(), vec![payload]);
        }
    });
    let connection = transport.connect(&listener.address(), LONG, caller).unwrap();
    assert_eq!(ask(&*connection, echo(0), Vec::new()).unwrap(), pattern(5, 70_000));
    assert_eq!(pushed.load(Ordering::SeqCst), 42);
}

pub fn deadlines_reach_the_handler(transport: Arc<dyn Transport>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let seeing = seen.clone();
    let pair = pair(
        &*transport,
        server(move |_, mut incoming| {
            let request: EchoRequest = incoming.decode().unwrap();
            seeing.store(request.header.unwrap().deadline_ms as usize, Ordering::SeqCst);
            incoming.replier().send(EchoReply::default(), Vec::new());
        }),
    );
    call_wait(&*pair.connection, echo(0), Vec::new(), Duration::from_millis(43_210)).unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 43_210);
    // A request under an id that its message does not name would never be answered; the raw form lets callers
    // do so.
    let message = wire::request::encode_request(echo(0), 77, LONG);
    let (sender, receiver) = mpsc::channel();
    let out = Outgoing { kind: MessageKind::KindEcho, message, payload: Vec::new(), timeout: LONG };
    pair.connection.call(77, out, Box::new(move |result| sender.send(result).unwrap()));
    assert!(receiver.recv().unwrap().is_ok());
}

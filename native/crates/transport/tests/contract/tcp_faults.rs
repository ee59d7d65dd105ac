//! Peers that break the protocol, die in the middle of a frame, or stop.

use crate::server::{LONG, ask, echo, no_requests, pattern, server, until};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use transport::{Connection, EchoHandler, TcpTransport, Transport, call};
use wire::message::EchoReply;
use wire::request::{encode_reply, encode_request};
use wire::{Code, Flags, FrameHeader, MessageKind};

/// A peer that is a bare socket.
fn bare_peer() -> (Arc<dyn Connection>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connection = TcpTransport::new().connect(&address, LONG, no_requests()).unwrap();
    (connection, listener.accept().unwrap().0)
}

fn frame(kind: MessageKind, flags: Flags, message: &[u8], payload_bytes: usize) -> Vec<u8> {
    let header = FrameHeader {
        kind: kind as u8,
        flags,
        message_bytes: u32::try_from(message.len()).unwrap(),
        payload_bytes: u32::try_from(payload_bytes).unwrap(),
    };
    [&header.encode()[..], message].concat()
}

#[test]
fn a_peer_killed_in_the_middle_of_a_frame_ends_every_call() {
    // Cut at every place of a reply: in the header, in the message, in the payload.
    let reply = frame(MessageKind::KindEcho, Flags::REPLY, &encode_reply(EchoReply::default(), 1), 5000);
    let whole = [&reply[..], &pattern(1, 5000)[..]].concat();
    for cut in [0, 1, 15, 16, 17, reply.len(), reply.len() + 1, whole.len() - 1] {
        let (connection, mut peer) = bare_peer();
        let (sender, receiver) = mpsc::channel();
        for _ in 0..3 {
            let sender = sender.clone();
            call(&*connection, echo(0), Vec::new(), LONG, move |result| {
                sender.send(result.unwrap_err().code).unwrap();
            });
        }
        peer.write_all(&whole[..cut]).unwrap();
        drop(peer);
        for _ in 0..3 {
            assert_eq!(receiver.recv().unwrap(), Code::ConnectionLost, "cut at {cut}");
        }
        assert!(!connection.is_open());
    }
}

#[test]
fn a_server_forgets_a_caller_killed_in_the_middle_of_a_frame() {
    let handler = server(|pool, mut incoming| {
        let pulled = incoming.pull(pool);
        incoming.replier().respond(pulled.map(|_| wire::message::EchoReply::default()));
    });
    let listener = TcpTransport::new().listen("127.0.0.1:0", handler.clone()).unwrap();
    let request = frame(MessageKind::KindEcho, Flags::NONE, &encode_request(echo(0), 1, LONG), 100_000);
    for (count, cut) in [3, 16, request.len(), request.len() + 50_000].into_iter().enumerate() {
        let mut caller = TcpStream::connect(listener.address()).unwrap();
        let whole = [&request[..], &pattern(1, 100_000)[..]].concat();
        caller.write_all(&whole[..cut]).unwrap();
        drop(caller);
        until(|| handler.closed.load(Ordering::SeqCst) == count + 1);
    }
}

#[test]
fn garbage_closes_its_connection_only() {
    let transport = TcpTransport::new();
    let listener = transport.listen("127.0.0.1:0", Arc::new(EchoHandler::new())).unwrap();
    let good = transport.connect(&listener.address(), LONG, no_requests()).unwrap();
    ask(&*good, echo(0), Vec::new()).unwrap();
    let request = encode_request(echo(0), 1, LONG);
    let mut wrong_crc = frame(MessageKind::KindEcho, Flags::NONE, &request, 0);
    wrong_crc[12] ^= 1;
    let no_header = frame(MessageKind::KindEcho, Flags::NONE, &[], 0);
    let no_protobuf = frame(MessageKind::KindEcho, Flags::NONE, &[0xFF; 40], 0);
    let mut too_long = [0xCA, 1, 1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
    let crc = crc32c::crc32c(&too_long[..12]).to_le_bytes();
    too_long[12..].copy_from_slice(&crc);
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let unknown_reply = frame(MessageKind::KindEcho, Flags::REPLY, &[], 0);
    for garbage in [
        wrong_crc,
        no_header,
        no_protobuf,
        too_long.to_vec(),
        http,
        unknown_reply,
        pattern(3, 70_000).to_vec(),
    ] {
        let mut peer = TcpStream::connect(listener.address()).unwrap();
        // It may be closed before all of it is written.
        let _ = peer.write_all(&garbage);
        let mut answer = Vec::new();
        let _ = peer.read_to_end(&mut answer);
        assert!(answer.is_empty());
        ask(&*good, echo(0), Vec::new()).unwrap();
    }
    let fresh = transport.connect(&listener.address(), LONG, no_requests()).unwrap();
    ask(&*fresh, echo(10), Vec::new()).unwrap();
}

#[test]
fn a_kind_that_nobody_knows_is_refused_and_the_connection_goes_on() {
    let transport = TcpTransport::new();
    let listener = transport.listen("127.0.0.1:0", Arc::new(EchoHandler::new())).unwrap();
    let connection = transport.connect(&listener.address(), LONG, no_requests()).unwrap();
    let read = wire::message::ReadRequest::default();
    let refused = transport::call_wait(&*connection, read, vec![pattern(1, 100_000)], LONG);
    assert_eq!(refused.unwrap_err().code, Code::UnknownKind);
    assert_eq!(ask(&*connection, echo(70_000), Vec::new()).unwrap().len(), 70_000);
}

#[test]
fn a_frame_in_single_bytes_is_a_frame() {
    let listener = TcpTransport::new().listen("127.0.0.1:0", Arc::new(EchoHandler::new())).unwrap();
    let mut caller = TcpStream::connect(listener.address()).unwrap();
    caller.set_nodelay(true).unwrap();
    let request = frame(MessageKind::KindEcho, Flags::NONE, &encode_request(echo(5), 1, LONG), 3);
    for byte in request.iter().chain(b"abc") {
        caller.write_all(&[*byte]).unwrap();
    }
    let mut head = [0; 16];
    caller.read_exact(&mut head).unwrap();
    let header = FrameHeader::decode(&head).unwrap();
    assert_eq!((header.flags, header.payload_bytes), (Flags::REPLY, 5));
}

/// The end of a large payload is waited for in another way than its beginning: wherever its pieces begin and end, and
/// however long its peer says nothing more, it is read.
#[test]
fn a_large_payload_in_pieces_is_read_to_its_end() {
    let head = frame(MessageKind::KindEcho, Flags::REPLY, &encode_reply(EchoReply::default(), 1), 1 << 20);
    let sent = pattern(1, 1 << 20);
    for last_bytes in [1, 10, 60_000, 65_536, 70_000, 200_000] {
        let (connection, mut peer) = bare_peer();
        let (sender, receiver) = mpsc::channel();
        call(&*connection, echo(0), Vec::new(), LONG, move |result| sender.send(result.unwrap()).unwrap());
        let (first, last) = sent.split_at(sent.len() - last_bytes);
        peer.write_all(&head).unwrap();
        for piece in first.chunks(7_001) {
            peer.write_all(piece).unwrap();
        }
        assert!(receiver.recv_timeout(Duration::from_millis(5)).is_err(), "not before it is whole");
        peer.write_all(last).unwrap();
        assert!(
            receiver.recv_timeout(LONG).expect("read to its end").1 == sent,
            "the last {last_bytes} bytes"
        );
    }
}

#[test]
fn a_half_open_peer_ends_calls_by_time_and_then_by_its_close() {
    let (connection, peer) = bare_peer();
    let silent = transport::call_wait(&*connection, echo(0), Vec::new(), Duration::from_millis(20));
    assert_eq!(silent.unwrap_err().code, Code::TimedOut);
    assert!(connection.is_open());
    let (sender, receiver) = mpsc::channel();
    call(&*connection, echo(0), Vec::new(), LONG, move |result| sender.send(result).unwrap());
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receiver.recv().unwrap().unwrap_err().code, Code::ConnectionLost);
}

#[test]
fn a_peer_that_takes_nothing_does_not_hold_a_call_beyond_its_time() {
    let (connection, _peer) = bare_peer();
    let (sender, receiver) = mpsc::channel();
    for _ in 0..6 {
        let sender = sender.clone();
        call(&*connection, echo(0), vec![pattern(1, 1 << 20)], Duration::from_millis(50), move |result| {
            sender.send(result.unwrap_err().code).unwrap();
        });
    }
    for _ in 0..6 {
        assert_eq!(receiver.recv().unwrap(), Code::TimedOut);
    }
}

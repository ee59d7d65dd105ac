//! INIT with kernels of different ages.

use super::*;
use crate::session::scripted::ScriptedChannel;
use zerocopy::FromBytes;

fn request(opcode: u32, major: u32, minor: u32, flags: u32, rest: &[u8]) -> Vec<u8> {
    let body = abi::InitIn { major, minor, readahead_max: 131_072, flags };
    let len = (40 + 16 + rest.len()) as u32;
    let header = abi::InHeader { len, opcode, unique: 2, ..Default::default() };
    [header.as_bytes(), body.as_bytes(), rest].concat()
}

fn shake(requests: Vec<Vec<u8>>) -> (Result<Negotiated, Errno>, Vec<Vec<u8>>) {
    let channel = ScriptedChannel::new(requests, 1000, None);
    let negotiated = shake_hands(&*channel, 4 << 20);
    let sent = channel.sent.lock().clone();
    (negotiated, sent)
}

fn answer(message: &[u8]) -> abi::InitOut {
    abi::InitOut::read_from_prefix(&message[16..]).expect("an answer to INIT").0
}

#[test]
fn a_new_kernel_gets_what_it_offers_and_we_want() {
    // Everything, in both words; also what we must not take.
    let rest = [&u32::MAX.to_ne_bytes()[..], &[0; 44]].concat();
    let (negotiated, sent) = shake(vec![request(26, 7, 45, u32::MAX, &rest)]);
    let out = answer(&sent[0]);
    assert_eq!((out.major, out.minor), (7, abi::MINOR));
    assert_eq!((out.write_max, out.pages_max, out.readahead_max), (1 << 20, 256, 4 << 20));
    let features = u64::from(out.flags) | u64::from(out.flags2) << 32;
    assert_eq!(features, WANTED);
    assert_eq!(negotiated.expect("agreed").features, features);
    let (locks, flocks, write_back) = (1 << 1, 1 << 10, 1 << 16);
    assert_eq!(features & (locks | flocks | write_back), 0, "P22, and locks are the kernel's");
}

#[test]
fn an_old_kernel_has_no_second_word_and_small_requests() {
    let offered = (init::ASYNC_READ | init::BIG_WRITES) as u32;
    let (negotiated, sent) = shake(vec![request(26, 7, 27, offered, &[])]);
    let out = answer(&sent[0]);
    assert_eq!((out.minor, out.flags, out.flags2), (27, offered, 0));
    assert_eq!((out.write_max, out.pages_max), (128 << 10, 32));
    assert_eq!(negotiated.expect("agreed").request_bytes_max, 128 << 10);
}

#[test]
fn a_kernel_of_the_next_major_version_asks_again() {
    let (negotiated, sent) = shake(vec![request(26, 8, 0, 0, &[]), request(26, 7, 45, 0, &[])]);
    assert_eq!(answer(&sent[0]).major, 7);
    assert_eq!(sent.len(), 2);
    assert!(negotiated.is_ok());
}

#[test]
fn anything_else_is_refused() {
    for bad in [request(26, 6, 0, 0, &[]), request(3, 7, 45, 0, &[])] {
        let (negotiated, sent) = shake(vec![bad]);
        assert_eq!(negotiated.expect_err("refused"), Errno::PROTO);
        assert_eq!(sent[0][4..8], (-Errno::PROTO.raw_os_error()).to_ne_bytes());
    }
    let (negotiated, _) = shake(vec![vec![0; 20]]);
    assert!(negotiated.is_err());
}

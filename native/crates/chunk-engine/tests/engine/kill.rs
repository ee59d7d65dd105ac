//! A real process writes to a real disk and says what was acknowledged; it is killed with -9 at some moment,
//! again and again. Every acknowledged version is there afterwards, and every byte is that of the version
//! that is shown.

use crate::support::{id, options, pattern, tag, version, with_tag};
use bytes::Bytes;
use chunk_engine::{Engine, FileDisk, Media, Options, StageRequest, Update};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use wire::Version;

const FOLDER: &str = "CATENA_KILL_FOLDER";
/// What the child opens the folder as.
const MEDIA: &str = "CATENA_KILL_MEDIA";
const CHUNKS: u64 = 5;
const CHUNK: u32 = 256 << 10;

fn small() -> Options {
    // Short journals and a thread: the kill meets checkpoints too.
    Options { segment_bytes: 16 << 20, journal_bytes_max: 300 << 10, background: true, ..options() }
}

fn media() -> Media {
    std::env::var(MEDIA).map_or(Media::Buffered, |name| name.parse().unwrap())
}

enum Change {
    Write(u32, Bytes),
    Truncate(u32),
}

/// The update that makes version `number` of a chunk, whoever asks.
fn change(chunk: u64, number: u64) -> Change {
    let dice = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (chunk << 7);
    let offset = (dice >> 13) as u32 % (CHUNK / 2);
    match dice >> 60 {
        0 => Change::Truncate((dice >> 20) as u32 % CHUNK),
        1..4 => Change::Write(offset, pattern(dice, 100_000)),
        4..8 => Change::Write(offset / 4096 * 4096, pattern(dice, 4096)),
        _ => Change::Write(offset, pattern(dice, 1 + (dice >> 30) as usize % 9000)),
    }
}

fn expected(chunk: u64, number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 1..=number {
        match change(chunk, number) {
            Change::Truncate(length) => bytes.truncate(length as usize),
            Change::Write(offset, data) => {
                let end = offset as usize + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[offset as usize..end].copy_from_slice(&data);
            }
        }
    }
    bytes
}

/// Not a test of its own: the process that is killed.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let disk = media().open(Path::new(&folder)).unwrap();
    let (engine, _) = Engine::open(disk, small()).unwrap();
    let mut stdout = std::io::stdout().lock();
    loop {
        for chunk in 0..CHUNKS {
            let number = engine.meta(id(chunk, 0)).map_or(0, |meta| meta.tip().number);
            let next = change(chunk, number + 1);
            let data;
            let update = match next {
                Change::Truncate(length) => Update::Truncate { length },
                Change::Write(offset, bytes) => {
                    data = [bytes];
                    Update::Write { offset, data: &data }
                }
            };
            let request = StageRequest {
                chunk: id(chunk, 0),
                version: version(number + 1),
                base: Some(if number == 0 { Version::NONE } else { version(number) }),
                update,
                chunk_size: CHUNK,
                channel: None,
                crc: None,
                commit: false,
            };
            engine.stage(&with_tag(request, tag(1, chunk as u32, number + 1))).unwrap();
            writeln!(stdout, "staged {chunk} {}", number + 1).unwrap();
            if number % 3 != 0 {
                engine.commit(id(chunk, 0), version(number + 1)).unwrap();
                writeln!(stdout, "committed {chunk} {}", number + 1).unwrap();
            }
            if number % 50 == 7 {
                engine.flush().unwrap();
            }
            stdout.flush().unwrap();
        }
    }
}

/// Runs the child until it said `lines` things, kills it, and gives what it acknowledged: per chunk staged
/// and committed.
fn run_and_kill(folder: &Path, media: &str, lines: usize) -> Vec<(u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(MEDIA, media)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = vec![(0, 0); CHUNKS as usize];
    let reader = BufReader::new(child.stdout.take().unwrap());
    for (count, line) in reader.lines().enumerate() {
        let line = line.unwrap();
        if count == lines {
            child.kill().unwrap();
        }
        // What was still in the pipe was acknowledged too. The last line may be cut.
        let words: Vec<&str> = line.split(' ').collect();
        if let [what, chunk, number] = words[..]
            && let (Ok(chunk), Ok(number)) = (chunk.parse::<usize>(), number.parse::<u64>())
        {
            match what {
                "staged" => acknowledged[chunk].0 = number,
                "committed" => acknowledged[chunk].1 = number,
                _ => {}
            }
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "the child ended before it was killed: {status}");
    acknowledged
}

#[test]
fn everything_acknowledged_survives_kill_9() {
    survives_kill_9("buffered");
}

#[test]
fn everything_acknowledged_survives_kill_9_past_the_page_cache() {
    survives_kill_9("direct");
}

fn survives_kill_9(media: &str) {
    if std::env::var_os(FOLDER).is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    Engine::create(Arc::new(FileDisk::open(folder.path()).unwrap()), small()).unwrap().close().unwrap();
    for (round, lines) in [3, 40, 111, 256, 77, 400].into_iter().enumerate() {
        let acknowledged = run_and_kill(folder.path(), media, lines);
        let (engine, opened) =
            Engine::open(Arc::new(FileDisk::open(folder.path()).unwrap()), small()).unwrap();
        assert!(opened.complete && !opened.clean, "{opened:?}");
        for (chunk, (staged, committed)) in (0..).zip(acknowledged) {
            let meta = engine.meta(id(chunk, 0));
            let (tip, shown) = meta.map_or((0, 0), |meta| (meta.tip().number, meta.committed.number));
            assert!(tip >= staged && shown >= committed, "round {round}: {chunk} has {tip} and {shown}");
            assert!(
                crate::support::content(&engine, id(chunk, 0)) == expected(chunk, shown),
                "round {round}, chunk {chunk}"
            );
            let mut bytes = vec![0; CHUNK as usize];
            if tip > 0 {
                let info = engine.read_version(id(chunk, 0), version(tip), 0, &mut bytes).unwrap();
                assert!(
                    bytes[..info.length as usize] == expected(chunk, tip),
                    "round {round}, pending of {chunk}"
                );
                let entry = engine.channel(tag(1, 0, 0).client, chunk as u32).unwrap();
                assert_eq!((entry.tag.sequence, entry.version.number), (tip, tip));
            }
        }
        let report = engine.check().unwrap();
        assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{report:?}");
    }
}

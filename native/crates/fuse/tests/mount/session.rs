//! The session on a real mount: signals, workers that are all busy, processes that die, mounts that are left
//! behind.

use crate::mounted::{MemoryMount, is_mounted, wait_for};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that reads a file whose reads never answer, once it waits for the answer. Directly: for reads
/// through the page cache the kernel waits without asking us, and sends no INTERRUPT.
fn stuck_reader(path: &Path) -> Child {
    stuck(Command::new("dd").arg(format!("if={}", path.display())).args(["iflag=direct", "bs=4096"]))
}

fn stuck(command: &mut Command) -> Child {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut before = String::new();
    wait_for("the reader to block", || {
        let now = fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
        // State S or D, and no processor time since the last look.
        let waits =
            now.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S") || rest.starts_with(" D"));
        let still = now == before;
        before = now;
        std::thread::sleep(std::time::Duration::from_millis(30));
        (waits && still).then_some(())
    });
    child
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).expect("it lives");
}

fn stuck_file(mount: &MemoryMount, name: &str) -> std::path::PathBuf {
    let path = mount.path.join(name);
    // Only a length: nothing for the page cache to answer with.
    File::create(&path).and_then(|file| file.set_len(4096)).expect("it is created");
    path
}

#[test]
fn a_killed_reader_ends_while_every_worker_is_busy() {
    let mount = MemoryMount::start(&["--stall", "stuck", "--threads", "3", "--valid-ms", "60000"]);
    let paths: Vec<_> = (0..6).map(|i| stuck_file(&mount, &format!("stuck-{i}"))).collect();
    let mut readers: Vec<_> = paths.iter().map(|path| stuck_reader(path)).collect();
    // Two workers are stuck, the third only reads; the other requests wait in the queue.
    for (position, reader) in readers.iter_mut().enumerate() {
        let deadly = [rustix::process::Signal::KILL, rustix::process::Signal::INT][position % 2];
        signal(reader, deadly);
        let status = wait_for("the killed reader's end", || reader.try_wait().expect("its end"));
        assert_eq!(status.signal(), Some(deadly.as_raw()));
    }
    fs::write(mount.path.join("after"), b"alive").expect("the workers are free again");
    assert_eq!(fs::read(mount.path.join("after")).expect("it reads"), b"alive");
}

/// Writes and fsyncs that wait for chains do not take the threads of what is for others (P25).
#[test]
fn stuck_writers_hold_up_nobody_else_and_can_be_killed() {
    let mount = MemoryMount::start(&["--stall", "stuck", "--threads", "3"]);
    let stuck_child = |number: usize| {
        let path = stuck_file(&mount, &format!("stuck-{number}"));
        let mut command = Command::new(if number.is_multiple_of(2) { "sync" } else { "dd" });
        stuck(match number % 2 {
            0 => command.arg(&path),
            _ => command.arg(format!("of={}", path.display())).args([
                "if=/dev/zero",
                "oflag=direct",
                "conv=notrunc",
                "bs=4096",
                "count=1",
            ]),
        })
    };
    let mut children: Vec<_> = (0..12).map(stuck_child).collect();
    let path = mount.path.join("other");
    let other = path.clone();
    let (sender, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        fs::write(&other, b"written").expect("it is written");
        File::open(&other).and_then(|file| file.sync_all()).expect("it is synchronized");
        let length = fs::metadata(&other).expect("its attributes").len();
        sender.send((length, fs::read(&other).expect("it is read"))).expect("it is awaited");
    });
    let seen = wait_for("the work on another file", || done.try_recv().ok());
    assert_eq!(seen, (7, b"written".to_vec()));
    for child in &mut children {
        assert!(child.try_wait().expect("its state").is_none(), "it waited all the time");
        signal(child, rustix::process::Signal::KILL);
        wait_for("the killed process's end", || child.try_wait().expect("its end"));
    }
}

/// Requests that wait for a worker can be given up, too.
#[test]
fn a_queued_request_is_interrupted() {
    let mount = MemoryMount::start(&["--stall", "stuck", "--threads", "2"]);
    // Read-ahead, which nobody can interrupt, and more other readers than there are workers, also those that were
    // started for chains and stay to read.
    let paths: Vec<_> = (0..10).map(|number| stuck_file(&mount, &format!("stuck-{number}"))).collect();
    let cached = stuck(Command::new("cat").arg(&paths[0]));
    let readers: Vec<_> = paths[1..].iter().map(|path| stuck_reader(path)).collect();
    let queued = stuck(Command::new("ls").arg("-l").arg(mount.path.join("anything")));
    for mut child in [queued].into_iter().chain(readers).chain([cached]) {
        signal(&child, rustix::process::Signal::KILL);
        wait_for("the killed process's end", || child.try_wait().expect("its end"));
    }
}

#[test]
fn a_harmless_signal_ends_a_read_that_goes_on_waiting() {
    let mount = MemoryMount::start(&["--stall", "stuck"]);
    let path = stuck_file(&mount, "stuck");
    // dd prints its counts when a read returns EINTR after SIGUSR1, and reads again.
    let mut reader = stuck_reader(&path);
    signal(&reader, rustix::process::Signal::USR1);
    let mut line = String::new();
    BufReader::new(reader.stderr.take().expect("piped")).read_line(&mut line).expect("a line");
    assert_eq!(line.trim(), "0+0 records in");
    assert!(reader.try_wait().expect("its state").is_none(), "it reads again");
    signal(&reader, rustix::process::Signal::KILL);
    wait_for("the killed reader's end", || reader.try_wait().expect("its end"));
}

#[test]
fn parallel_readers_get_their_own_bytes() {
    let mount = MemoryMount::start(&[]);
    let path = mount.path.join("numbers");
    let bytes: Vec<u8> = (0..4u32 << 20).flat_map(|word| word.to_le_bytes()).collect();
    fs::write(&path, &bytes).expect("it is written");
    fs::write("/proc/sys/vm/drop_caches", "1").expect("the page cache is dropped");
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (path, bytes) = (&path, &bytes);
            scope.spawn(move || {
                let file = File::open(path).expect("it opens");
                let mut buffer = vec![0; 100_000];
                for step in 0..100u64 {
                    let at = ((thread * 7_919 + step * 104_729) * 97) % (bytes.len() as u64);
                    let read = file.read_at(&mut buffer, at).expect("it reads");
                    let end = (at as usize + buffer.len()).min(bytes.len());
                    assert_eq!(read, end - at as usize);
                    assert!(buffer[..read] == bytes[at as usize..end], "wrong bytes at {at}");
                }
            });
        }
    });
}

#[test]
fn a_new_start_removes_the_mount_of_a_dead_process() {
    let mut first = MemoryMount::start(&[]);
    fs::write(first.path.join("lost"), b"with the process").expect("it is written");
    first.kill();
    let error = fs::read_dir(&first.path).expect_err("nobody serves it");
    assert_eq!(error.raw_os_error(), Some(Errno::NOTCONN.raw_os_error()));
    let mut second = MemoryMount::try_start(&first.path, &[]).expect("it mounts over the dead one");
    assert_eq!(fs::read_dir(&second.path).expect("it lists").count(), 0);
    assert!(second.finish().success());
    assert!(!is_mounted(&first.path), "the dead mount is gone too, not only covered");
}

#[test]
fn a_mount_that_lives_is_left_alone() {
    let mount = MemoryMount::start(&[]);
    fs::write(mount.path.join("kept"), b"x").expect("it is written");
    let Err(refusal) = MemoryMount::try_start(&mount.path, &[]) else { panic!("two mounts on one point") };
    assert!(refusal.contains("is a FUSE mount already"), "{refusal}");
    assert_eq!(fs::read(mount.path.join("kept")).expect("the first still serves"), b"x");
}

#[test]
fn a_missing_mount_point_is_refused_with_advice() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing");
    let Err(refusal) = MemoryMount::try_start(&missing, &[]) else { panic!("mounted on nothing") };
    assert!(refusal.contains("create the directory first"), "{refusal}");
}

#[test]
fn a_busy_mount_is_unmounted_with_force() {
    let mut mount = MemoryMount::start(&["--stall", "stuck"]);
    let path = stuck_file(&mount, "stuck");
    let mut reader = stuck_reader(&path);
    let mut held = File::create(mount.path.join("held")).expect("it is created");
    assert!(mount.finish().success());
    assert!(!is_mounted(&mount.path));
    wait_for("the reader's error", || reader.try_wait().expect("its end"));
    assert!(held.read(&mut [0; 1]).is_err());
}

/// A read that is not answered holds its pages. The notice that waits for them holds up no open.
fn mount_with_held_pages() -> (MemoryMount, Child) {
    let mount = MemoryMount::start(&["--stall", "stuck"]);
    let path = stuck_file(&mount, "stuck");
    fs::write(mount.path.join("other"), b"x").expect("it is written");
    let reader = stuck(Command::new("cat").arg(&path));
    let file = File::options().write(true).open(&path).expect("it opens");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, 4096).expect("it says so");
    wait_for("the notice to wait for the pages", || mount.is_stuck("fuse-drop-pages").then_some(()));
    let other = mount.path.join("other");
    let (sender, opened) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(File::open(other).map(drop).is_ok()));
    assert!(wait_for("the open of another file", || opened.try_recv().ok()));
    assert!(mount.is_stuck("fuse-drop-pages"), "it waited all the time");
    (mount, reader)
}

#[test]
fn held_pages_hold_up_no_open_and_no_forced_end() {
    let (mut mount, mut reader) = mount_with_held_pages();
    assert!(mount.finish().success());
    assert!(!is_mounted(&mount.path));
    wait_for("the reader's error", || reader.try_wait().expect("its end"));
}

/// The file is not open any more, so that the mount is not busy.
#[test]
fn held_pages_of_a_dead_reader_hold_up_no_end() {
    let (mut mount, mut reader) = mount_with_held_pages();
    signal(&reader, rustix::process::Signal::KILL);
    wait_for("the killed reader's end", || reader.try_wait().expect("its end"));
    assert!(mount.finish().success());
    assert!(!is_mounted(&mount.path));
}

/// Then the process is told to end.
#[test]
fn held_pages_of_a_dead_reader_hold_up_no_umount_for_ever() {
    let (mut mount, mut reader) = mount_with_held_pages();
    signal(&reader, rustix::process::Signal::KILL);
    wait_for("the killed reader's end", || reader.try_wait().expect("its end"));
    let mut umount = Command::new("umount").arg(&mount.path).spawn().expect("umount runs");
    wait_for("the mount to go", || (!is_mounted(&mount.path)).then_some(()));
    assert!(mount.finish().success());
    assert!(wait_for("the end of umount", || umount.try_wait().expect("its end")).success());
}

#[test]
fn umount_ends_the_process() {
    let mut mount = MemoryMount::start(&[]);
    fs::write(mount.path.join("a"), b"x").expect("it is written");
    assert!(Command::new("umount").arg(&mount.path).status().expect("umount runs").success());
    assert!(mount.finish().success());
}

#[test]
fn the_helper_mounts_and_unmounts() {
    assert!(
        Path::new("/usr/bin/fusermount3").exists(),
        "this test needs fusermount3 (apt-get install fuse3)"
    );
    let mut mount = MemoryMount::start(&["--helper"]);
    fs::write(mount.path.join("a"), b"through the helper").expect("it is written");
    assert_eq!(fs::read(mount.path.join("a")).expect("it reads"), b"through the helper");
    assert!(mount.finish().success());
    assert!(!is_mounted(&mount.path));
}

/// The kernel's FORGETs take unlinked inodes away: an inode leak would stay.
#[test]
fn unlinked_inodes_are_forgotten() {
    let mount = MemoryMount::start(&[]);
    let inodes = || rustix::fs::statvfs(&mount.path).expect("it answers").f_files;
    let before = inodes();
    let files: Vec<_> = (0..500).map(|i| mount.path.join(format!("file-{i}"))).collect();
    let open: Vec<_> = files.iter().map(|path| File::create(path).expect("it is created")).collect();
    files.iter().for_each(|path| fs::remove_file(path).expect("it is removed"));
    assert_eq!(inodes(), before + 500, "open files live on");
    drop(open);
    wait_for("the kernel to forget", || (inodes() == before).then_some(()));
}

/// Large requests need the negotiated sizes: with 128 KiB ones a 64 MiB read would take 512 of them.
#[test]
fn requests_are_large() {
    let mut mount = MemoryMount::start(&[]);
    let path = mount.path.join("large");
    fs::write(&path, vec![7; 16 << 20]).expect("it is written");
    fs::write("/proc/sys/vm/drop_caches", "1").expect("the page cache is dropped");
    assert_eq!(fs::read(&path).expect("it reads").len(), 16 << 20);
    let device = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let device =
        device.lines().find(|line| line.split(' ').nth(4) == mount.path.to_str()).expect("our mount");
    let device = device.split(' ').nth(2).expect("major:minor");
    let readahead =
        fs::read_to_string(format!("/sys/class/bdi/{device}/read_ahead_kb")).expect("its setting");
    assert_eq!(readahead.trim(), "4096");
    assert!(mount.finish().success());
}

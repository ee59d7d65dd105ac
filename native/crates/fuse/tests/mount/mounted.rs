//! The memory file system as its own process on a real mount, so that tests can kill it. Needs root and
//! /dev/fuse, and says so.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes seconds; a wait that long is a hang, and the test says which.
const HANG: Duration = Duration::from_secs(20);

pub struct MemoryMount {
    child: Child,
    /// Closing it unmounts.
    stdin: Option<ChildStdin>,
    pub path: PathBuf,
    _directory: Option<tempfile::TempDir>,
}

pub fn check_prerequisites() {
    assert!(
        Path::new("/dev/fuse").exists(),
        "these tests need /dev/fuse (modprobe fuse; in a container: --device /dev/fuse)"
    );
    assert!(rustix::process::geteuid().is_root(), "these tests mount file systems and need root");
}

/// The example is built beside the test programs.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let target = test.parent().and_then(Path::parent).expect("tests run from the target directory's deps");
    let program = target.join("examples/memory");
    assert!(program.exists(), "{} is missing: cargo build --release -p fuse --examples", program.display());
    program
}

impl MemoryMount {
    pub fn start(flags: &[&str]) -> MemoryMount {
        let directory = tempfile::tempdir().expect("a directory under the temporary one");
        let mut mount =
            MemoryMount::try_start(directory.path(), flags).unwrap_or_else(|error| panic!("{error}"));
        mount._directory = Some(directory);
        mount
    }

    /// What the program wrote on standard error, if it did not mount.
    pub fn try_start(path: &Path, flags: &[&str]) -> Result<MemoryMount, String> {
        check_prerequisites();
        let mut child = Command::new(program())
            .arg(path)
            .arg("--until-eof")
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the memory file system starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its first line");
        if line.trim() != "mounted" {
            let output = child.wait_with_output().expect("its end");
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        // Whoever logs must not stop because nobody reads.
        let mut errors = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while errors.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let _ = std::io::stderr().write_all(&line);
                line.clear();
            }
        });
        let stdin = child.stdin.take();
        Ok(MemoryMount { child, stdin, path: path.to_path_buf(), _directory: None })
    }

    /// As a crash would: nothing is unmounted.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("its end");
    }

    /// Whether its thread of this name waits in the kernel for something that no signal ends.
    pub fn is_stuck(&self, thread: &str) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it lives");
        tasks.flatten().any(|task| {
            let state = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            state.contains(&format!("({thread}) D"))
        })
    }

    /// Asks for an orderly end and waits for it.
    pub fn finish(&mut self) -> ExitStatus {
        self.stdin = None;
        wait_for("the memory file system to end", || self.child.try_wait().expect("its end"))
    }
}

impl Drop for MemoryMount {
    fn drop(&mut self) {
        self.stdin = None;
        let deadline = Instant::now() + HANG;
        while self.child.try_wait().ok().flatten().is_none() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if is_mounted(&self.path) {
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        }
    }
}

pub fn is_mounted(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    table.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

/// Asks until there is an answer.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + HANG;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

//! Attributes, and who may do what.

use super::refused;
use rustix::fs::{Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

/// A shell command as the user nobody; whether it succeeded.
fn as_nobody(root: &Path, script: &str) -> bool {
    let status = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", script])
        .current_dir(root)
        .stderr(std::process::Stdio::null())
        .status();
    status.expect("these tests need setpriv (apt-get install util-linux)").success()
}

/// Every directory above must let nobody through.
fn open_the_way(root: &Path) {
    for directory in root.ancestors().take_while(|path| *path != Path::new("/tmp") && *path != Path::new("/"))
    {
        let mode = fs::metadata(directory).expect("it has attributes").mode();
        fs::set_permissions(directory, Permissions::from_mode(mode & 0o7777 | 0o011)).expect("it is ours");
    }
}

pub fn modes_and_owners(root: &Path) {
    let path = root.join("file");
    fs::write(&path, b"").expect("it is written");
    fs::set_permissions(&path, Permissions::from_mode(0o4751)).expect("its mode changes");
    assert_eq!(fs::metadata(&path).expect("it has attributes").mode(), 0o104_751);
    chown(&path, Some(12), None).expect("its owner changes");
    chown(&path, None, Some(34)).expect("its group changes");
    let attributes = fs::metadata(&path).expect("it has attributes");
    assert_eq!((attributes.uid(), attributes.gid()), (12, 34));
    assert_eq!(attributes.mode(), 0o100_751, "a new owner loses set-user-id");
}

pub fn times_to_the_nanosecond(root: &Path) {
    let path = root.join("file");
    fs::write(&path, b"x").expect("it is written");
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(-5, 999_999_999),
        last_modification: time(1_700_000_000, 123_456_789),
    };
    let file = OpenOptions::new().write(true).open(&path).expect("it opens");
    rustix::fs::futimens(&file, &times).expect("its times change");
    let attributes = fs::metadata(&path).expect("it has attributes");
    assert_eq!((attributes.atime(), attributes.atime_nsec()), (-5, 999_999_999));
    assert_eq!((attributes.mtime(), attributes.mtime_nsec()), (1_700_000_000, 123_456_789));
    let before = (attributes.ctime(), attributes.ctime_nsec());
    (&file).write_all(b"y").expect("it is written");
    drop(file);
    let attributes = fs::metadata(&path).expect("it has attributes");
    assert!(attributes.mtime() > 1_700_000_000, "a write sets it");
    assert!((attributes.ctime(), attributes.ctime_nsec()) >= before, "it never goes back");
}

/// Whoever changes names sees the directory's new times at once, and others' names too.
pub fn directory_times_follow_names(root: &Path) {
    let times = || {
        let attributes = fs::metadata(root).expect("it has attributes");
        let nanoseconds = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
        let mtime = nanoseconds(attributes.mtime(), attributes.mtime_nsec());
        (mtime, nanoseconds(attributes.ctime(), attributes.ctime_nsec()))
    };
    let steps: [(&str, &dyn Fn() -> std::io::Result<()>); 8] = [
        ("create", &|| File::create(root.join("a")).map(drop)),
        ("create again", &|| File::create(root.join("b")).map(drop)),
        ("link", &|| fs::hard_link(root.join("a"), root.join("c"))),
        ("symlink", &|| std::os::unix::fs::symlink("a", root.join("d"))),
        ("mkdir", &|| fs::create_dir(root.join("e"))),
        ("rename", &|| fs::rename(root.join("a"), root.join("f"))),
        ("unlink", &|| fs::remove_file(root.join("b"))),
        ("rmdir", &|| fs::remove_dir(root.join("e"))),
    ];
    let mut before = times();
    for (name, step) in steps {
        // The clock of the service must have moved.
        std::thread::sleep(std::time::Duration::from_millis(10));
        step().expect(name);
        let after = times();
        assert!(after.0 > before.0 && after.1 > before.1, "{name}: {before:?}, then {after:?}");
        before = after;
    }
    File::open(root.join("c")).expect("it opens");
    File::create(root.join("c")).expect("it exists already");
    assert_eq!(times(), before, "opening a file changes no names");
}

pub fn unlinked_while_open(root: &Path) {
    let path = root.join("file");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("it opens");
    file.write_all_at(b"still here", 0).expect("it is written");
    fs::remove_file(&path).expect("it is removed");
    assert!(!path.exists());
    file.write_all_at(b"STILL", 0).expect("it is written");
    let mut buffer = [0; 10];
    file.read_exact_at(&mut buffer, 0).expect("it reads");
    assert_eq!(&buffer, b"STILL here");
    let attributes = file.metadata().expect("it has attributes");
    assert_eq!((attributes.nlink(), attributes.len()), (0, 10));
    File::create_new(&path).expect("the name is free");
    assert_eq!(fs::metadata(&path).expect("it has attributes").len(), 0);
}

pub fn writing_clears_set_user_id(root: &Path) {
    open_the_way(root);
    for (mode, after) in [(0o6777, 0o777), (0o2666, 0o2666), (0o4666, 0o666)] {
        let path = root.join(format!("file-{mode:o}"));
        fs::write(&path, b"x").expect("it is written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its mode changes");
        assert!(as_nobody(root, &format!("echo y >> file-{mode:o}")));
        assert_eq!(fs::metadata(&path).expect("it has attributes").mode() & 0o7777, after, "{mode:o}");
    }
}

pub fn other_users_are_refused(root: &Path) {
    open_the_way(root);
    fs::write(root.join("secret"), b"x").expect("it is written");
    fs::set_permissions(root.join("secret"), Permissions::from_mode(0o600)).expect("its mode changes");
    fs::write(root.join("public"), b"x").expect("it is written");
    fs::set_permissions(root.join("public"), Permissions::from_mode(0o644)).expect("its mode changes");
    assert!(as_nobody(root, "cat public > /dev/null"));
    assert!(!as_nobody(root, "cat secret"));
    assert!(!as_nobody(root, "echo y >> public"));
    assert!(!as_nobody(root, "touch mine"));
    assert!(!as_nobody(root, "chmod 777 public"));
    fs::create_dir(root.join("shared")).expect("it is made");
    fs::set_permissions(root.join("shared"), Permissions::from_mode(0o1777)).expect("its mode changes");
    fs::write(root.join("shared/roots"), b"x").expect("it is written");
    assert!(as_nobody(root, "touch shared/mine && rm shared/mine"));
    assert!(!as_nobody(root, "rm -f shared/roots"), "sticky: only the owner removes");
    refused(fs::metadata(root.join("mine")), Errno::NOENT);
}

pub fn set_group_id_is_inherited(root: &Path) {
    let directory = root.join("group");
    fs::create_dir(&directory).expect("it is made");
    chown(&directory, None, Some(77)).expect("its group changes");
    fs::set_permissions(&directory, Permissions::from_mode(0o2775)).expect("its mode changes");
    fs::write(directory.join("file"), b"").expect("it is written");
    fs::create_dir(directory.join("inner")).expect("it is made");
    assert_eq!(fs::metadata(directory.join("file")).expect("it has attributes").gid(), 77);
    let inner = fs::metadata(directory.join("inner")).expect("it has attributes");
    assert_eq!((inner.gid(), inner.mode() & 0o2000), (77, 0o2000));
}

pub fn statistics(root: &Path) {
    let statistics = rustix::fs::statvfs(root).expect("it answers");
    assert_eq!(statistics.f_namemax, 255);
    assert!(statistics.f_blocks > 0 && statistics.f_bavail <= statistics.f_blocks);
}

//! Names and directories.

use super::refused;
use rustix::fs::{CWD, FileType, Mode, RenameFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

fn touch(path: &Path) {
    File::create(path).expect("it is created");
}

pub fn a_large_directory_lists_once(root: &Path) {
    let expected: BTreeSet<String> =
        (0..10_000).map(|i| format!("entry-{i:05}-{}", "x".repeat(i % 40))).collect();
    expected.iter().for_each(|name| touch(&root.join(name)));
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(root).expect("it lists") {
        let entry = entry.expect("an entry");
        assert!(entry.file_type().expect("its type").is_file());
        assert_eq!(entry.metadata().expect("its attributes").len(), 0);
        assert!(seen.insert(entry.file_name().into_string().expect("text")), "{entry:?} came twice");
    }
    assert_eq!(seen, expected);
    expected.iter().for_each(|name| fs::remove_file(root.join(name)).expect("it is removed"));
    assert_eq!(fs::read_dir(root).expect("it lists").count(), 0);
}

/// As `rm -r` does: every entry that was there all the time comes exactly once.
pub fn listing_goes_on_after_removals(root: &Path) {
    for i in 0..3000 {
        touch(&root.join(format!("{i:04}")));
    }
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(root).expect("it lists") {
        let path = entry.expect("an entry").path();
        fs::remove_file(&path).expect("it is removed");
        assert!(seen.insert(path));
    }
    assert_eq!(seen.len(), 3000);
}

pub fn rename_replaces(root: &Path) {
    fs::write(root.join("old"), b"old").expect("it is written");
    fs::write(root.join("new"), b"new").expect("it is written");
    let held = File::open(root.join("new")).expect("it opens");
    fs::rename(root.join("old"), root.join("new")).expect("it is renamed");
    assert_eq!(fs::read(root.join("new")).expect("it reads"), b"old");
    assert!(!root.join("old").exists());
    assert_eq!(held.metadata().expect("the replaced one lives on").nlink(), 0);
    fs::create_dir_all(root.join("from/inner")).expect("it is made");
    fs::create_dir(root.join("to")).expect("it is made");
    fs::rename(root.join("from/inner"), root.join("to/inner")).expect("a directory moves");
    assert!(root.join("to/inner/..").canonicalize().expect("it resolves").ends_with("to"));
    fs::rename(root.join("to/inner"), root.join("from")).expect("an empty directory is replaced");
    refused(fs::read_dir(root.join("to/inner")), Errno::NOENT);
}

pub fn rename_flags(root: &Path) {
    let (first, second) = (root.join("first"), root.join("second"));
    fs::write(&first, b"1").expect("it is written");
    fs::create_dir(&second).expect("it is made");
    let rename =
        |flags| rustix::fs::renameat_with(CWD, &first, CWD, &second, flags).map_err(std::io::Error::from);
    refused(rename(RenameFlags::NOREPLACE), Errno::EXIST);
    rename(RenameFlags::EXCHANGE).expect("they change places");
    assert!(first.is_dir());
    assert_eq!(fs::read(&second).expect("it reads"), b"1");
    fs::remove_dir(&first).expect("it is removed");
    refused(rename(RenameFlags::EXCHANGE), Errno::NOENT);
    rustix::fs::renameat_with(CWD, &second, CWD, &first, RenameFlags::NOREPLACE).expect("the name is free");
}

pub fn rename_refuses_what_it_must(root: &Path) {
    fs::create_dir_all(root.join("outer/inner")).expect("it is made");
    fs::create_dir(root.join("full")).expect("it is made");
    touch(&root.join("full/file"));
    touch(&root.join("file"));
    refused(fs::rename(root.join("outer"), root.join("outer/inner/outer")), Errno::INVAL);
    refused(fs::rename(root.join("outer"), root.join("full")), Errno::NOTEMPTY);
    refused(fs::rename(root.join("outer"), root.join("file")), Errno::NOTDIR);
    refused(fs::rename(root.join("file"), root.join("outer")), Errno::ISDIR);
    refused(fs::rename(root.join("missing"), root.join("other")), Errno::NOENT);
    refused(fs::remove_dir(root.join("full")), Errno::NOTEMPTY);
    refused(fs::remove_dir(root.join("file")), Errno::NOTDIR);
}

pub fn symbolic_links(root: &Path) {
    fs::create_dir(root.join("directory")).expect("it is made");
    fs::write(root.join("directory/file"), b"behind").expect("it is written");
    symlink("directory", root.join("link")).expect("it is linked");
    assert_eq!(fs::read(root.join("link/file")).expect("it reads"), b"behind");
    assert_eq!(fs::read_link(root.join("link")).expect("it reads"), Path::new("directory"));
    assert_eq!(root.join("link").symlink_metadata().expect("its own").len(), 9);
    let long = format!("/{}", "l".repeat(4094));
    symlink(&long, root.join("long")).expect("4095 bytes are the longest");
    assert_eq!(fs::read_link(root.join("long")).expect("it reads"), Path::new(&long));
    symlink("loop", root.join("loop")).expect("it is linked");
    refused(fs::read(root.join("loop")), Errno::LOOP);
}

pub fn hard_links(root: &Path) {
    fs::write(root.join("first"), b"shared").expect("it is written");
    fs::hard_link(root.join("first"), root.join("second")).expect("it is linked");
    let attributes = fs::metadata(root.join("first")).expect("it has attributes");
    assert_eq!(attributes.nlink(), 2);
    assert_eq!(attributes.ino(), fs::metadata(root.join("second")).expect("it has attributes").ino());
    fs::write(root.join("second"), b"changed").expect("it is written");
    assert_eq!(fs::read(root.join("first")).expect("it reads"), b"changed");
    fs::remove_file(root.join("first")).expect("it is removed");
    assert_eq!(fs::metadata(root.join("second")).expect("it has attributes").nlink(), 1);
    assert_eq!(fs::read(root.join("second")).expect("it reads"), b"changed");
    refused(fs::hard_link(root.join("second"), root.join("second")), Errno::EXIST);
    fs::create_dir(root.join("directory")).expect("it is made");
    refused(fs::hard_link(root.join("directory"), root.join("other")), Errno::PERM);
}

pub fn exclusive_create(root: &Path) {
    let exclusive = || OpenOptions::new().write(true).create_new(true).open(root.join("file"));
    exclusive().expect("it is created");
    refused(exclusive(), Errno::EXIST);
    refused(fs::create_dir(root.join("file")), Errno::EXIST);
    refused(fs::read(root.join("missing")), Errno::NOENT);
    // A name that was missing just now appears at once.
    touch(&root.join("missing"));
    assert!(root.join("missing").exists());
}

pub fn name_limits(root: &Path) {
    let longest = root.join("n".repeat(255));
    touch(&longest);
    assert!(longest.exists());
    refused(File::create(root.join("n".repeat(256))), Errno::NAMETOOLONG);
    for name in [" ", "a\nb", "\u{e4}\u{1f600}", "-rf", "*"] {
        touch(&root.join(name));
        assert!(root.join(name).exists(), "{name:?}");
    }
    assert_eq!(fs::read_dir(root).expect("it lists").count(), 6);
}

pub fn special_files(root: &Path) {
    let mode = Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, mode, 0).expect("a fifo is made");
    rustix::fs::mknodat(CWD, root.join("socket"), FileType::Socket, mode, 0).expect("a socket is made");
    rustix::fs::mknodat(CWD, root.join("null"), FileType::CharacterDevice, mode, rustix::fs::makedev(1, 3))
        .expect("a device is made");
    let attributes = |name: &str| fs::metadata(root.join(name)).expect("it has attributes");
    assert!(attributes("fifo").file_type().is_fifo());
    assert!(attributes("socket").file_type().is_socket());
    assert!(attributes("null").file_type().is_char_device());
    assert_eq!(attributes("null").rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(attributes("fifo").mode() & 0o7777, 0o640);
}

pub fn directories_count_links(root: &Path) {
    let links = || fs::metadata(root).expect("it has attributes").nlink();
    assert_eq!(links(), 2);
    fs::create_dir(root.join("a")).expect("it is made");
    fs::create_dir(root.join("b")).expect("it is made");
    touch(&root.join("c"));
    assert_eq!(links(), 4);
    fs::rename(root.join("a"), root.join("b/a")).expect("it moves");
    assert_eq!(links(), 3);
    fs::remove_dir_all(root.join("b")).expect("it is removed");
    assert_eq!(links(), 2);
}

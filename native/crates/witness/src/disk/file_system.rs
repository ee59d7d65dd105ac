//! The file system of two files: `disk`, on which a loop device stands, and `fault`, which takes a word and says how
//! many requests have met a fault so far. Reads and writes go on to an image beside the log; nothing is cached here.

use super::fault::Fault;
use super::log::{append_flush, append_write};
use crate::clock::boot_ns;
use bytes::Bytes;
use fuse::abi::{Attributes, opened};
use fuse::{
    AttachOptions, Created, Data, DirectoryList, Entry, Errno, FileAttributes, FileSystem, Opened, Reply,
    Request, Session, SessionOptions, SetAttributes, Statistics, Written,
};
use parking_lot::Mutex;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const DISK: u64 = 2;
const FAULT: u64 = 3;
const NAMES: [(u64, &[u8]); 2] = [(DISK, b"disk"), (FAULT, b"fault")];
const DIRECTORY_MODE: u32 = 0o040_700;
const FILE_MODE: u32 = 0o100_600;
/// Nothing changes but by this process.
const VALID: Duration = Duration::from_secs(3600);
/// A word of the file `fault`.
const FAULT_BYTES_MAX: usize = 64;

pub struct DiskOptions {
    pub mount_point: PathBuf,
    /// What the disk holds now; made if it is not there.
    pub image: PathBuf,
    pub bytes: u64,
    /// Without one nothing is recorded.
    pub log: Option<PathBuf>,
}

struct Disk {
    image: File,
    bytes: u64,
    log: Option<Mutex<File>>,
    fault: Mutex<Fault>,
    /// Requests that were delayed or failed.
    suffered: AtomicU64,
}

/// Mounts; the disk is there when this returns.
///
/// # Errors
/// The files cannot be made, or nothing can be mounted there.
pub fn start(options: &DiskOptions) -> std::io::Result<Arc<Session>> {
    let image = File::options().read(true).write(true).create(true).truncate(false).open(&options.image)?;
    image.set_len(options.bytes)?;
    let log = options.log.as_ref().map(File::create).transpose()?;
    let disk = Disk {
        image,
        bytes: options.bytes,
        log: log.map(Mutex::new),
        fault: Mutex::default(),
        suffered: AtomicU64::new(0),
    };
    let mut attach = AttachOptions::new(&options.mount_point);
    attach.source = "catena-disk".into();
    Session::start(&SessionOptions::new(attach), Arc::new(disk)).map_err(std::io::Error::other)
}

impl Disk {
    fn attributes(&self, node: u64) -> Attributes {
        let (mode, size) = match node {
            DISK => (FILE_MODE, self.bytes),
            FAULT => (FILE_MODE, 0),
            _ => (DIRECTORY_MODE, 0),
        };
        Attributes {
            inode: node,
            size,
            blocks: size / 512,
            mode,
            nlink: 1,
            block_size: 4096,
            ..Default::default()
        }
    }

    fn file_attributes(&self, node: u64) -> FileAttributes {
        FileAttributes { attributes: self.attributes(node), valid: VALID }
    }

    /// What each request of the disk suffers first.
    fn suffer(&self) -> Result<(), Errno> {
        let fault = *self.fault.lock();
        if fault != Fault::None {
            self.suffered.fetch_add(1, Ordering::Relaxed);
        }
        match fault {
            Fault::None => Ok(()),
            Fault::Fail => Err(Errno::IO),
            Fault::Delay(time) => {
                std::thread::sleep(time);
                Ok(())
            }
        }
    }

    fn read_disk(&self, offset: u64, size: u32) -> Result<Bytes, Errno> {
        self.suffer()?;
        let size = u64::from(size).min(self.bytes.saturating_sub(offset)) as usize;
        let mut bytes = vec![0; size];
        self.image.read_exact_at(&mut bytes, offset).map_err(|_| Errno::IO)?;
        Ok(bytes.into())
    }

    fn read_fault(&self, offset: u64) -> Bytes {
        let text = Bytes::from(format!("{}\n", self.suffered.load(Ordering::Relaxed)));
        text.slice(text.len().min(offset as usize)..)
    }

    fn write_disk(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let called_ns = boot_ns();
        self.suffer()?;
        if offset.saturating_add(data.len() as u64) > self.bytes {
            return Err(Errno::NOSPC);
        }
        self.image.write_all_at(data, offset).map_err(|_| Errno::IO)?;
        self.remember(|log| append_write(log, offset, data, called_ns, boot_ns()))
    }

    fn flush_disk(&self) -> Result<(), Errno> {
        let called_ns = boot_ns();
        self.suffer()?;
        self.remember(|log| append_flush(log, called_ns, boot_ns()))
    }

    /// Under the log's lock, so that records stand in the order of their ends.
    fn remember(&self, record: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<(), Errno> {
        let Some(log) = &self.log else { return Ok(()) };
        record(&mut log.lock()).map_err(|_| Errno::IO)
    }

    fn set_fault(&self, data: &[u8]) -> Result<(), Errno> {
        let text = std::str::from_utf8(data).map_err(|_| Errno::INVAL)?;
        *self.fault.lock() =
            Fault::parse(text).filter(|_| data.len() < FAULT_BYTES_MAX).ok_or(Errno::INVAL)?;
        Ok(())
    }
}

impl FileSystem for Disk {
    fn lookup(&self, _: &Request, _: u64, name: &[u8], reply: Reply<Entry>) {
        let found = NAMES.iter().find(|(_, known)| *known == name).ok_or(Errno::NOENT);
        reply.send(found.map(|&(node, _)| Entry {
            node,
            attributes: self.attributes(node),
            entry_valid: VALID,
            attributes_valid: VALID,
        }));
    }

    fn forget(&self, _: u64, _: u64) {}

    fn get_attributes(&self, _: &Request, node: u64, _: Option<u64>, reply: Reply<FileAttributes>) {
        reply.send(Ok(self.file_attributes(node)));
    }

    /// Opening `fault` with `>` truncates it, which changes nothing.
    fn set_attributes(&self, _: &Request, node: u64, _: SetAttributes, reply: Reply<FileAttributes>) {
        reply.send(if node == FAULT { Ok(self.file_attributes(node)) } else { Err(Errno::PERM) });
    }

    fn open(&self, _: &Request, node: u64, _: u32, _: bool, reply: Reply<Opened>) {
        // No PARALLEL_DIRECT_WRITES for `disk`: the loop device is its only user, and orders by itself.
        let flags = opened::DIRECT_IO | opened::NO_FLUSH;
        reply.send(Ok(Opened { handle: node, flags }));
    }

    fn read(&self, _: &Request, node: u64, _: u64, offset: u64, size: u32, _: u32, reply: Reply<Data>) {
        let bytes = if node == DISK { self.read_disk(offset, size) } else { Ok(self.read_fault(offset)) };
        reply.send(bytes.map(|bytes| Data(vec![bytes])));
    }

    fn write(
        &self,
        _: &Request,
        node: u64,
        _: u64,
        offset: u64,
        data: Bytes,
        _: u32,
        _: bool,
        reply: Reply<Written>,
    ) {
        let done = if node == DISK { self.write_disk(offset, &data) } else { self.set_fault(&data) };
        reply.send(done.map(|()| Written(data.len() as u32)));
    }

    fn sync(&self, _: &Request, node: u64, _: u64, _: bool, reply: Reply<()>) {
        reply.send(if node == DISK { self.flush_disk() } else { Ok(()) });
    }

    fn flush(&self, _: &Request, _: u64, _: u64, reply: Reply<()>) {
        reply.send(Ok(()));
    }

    fn release(&self, _: &Request, _: u64, _: u64, reply: Reply<()>) {
        reply.send(Ok(()));
    }

    fn open_directory(&self, _: &Request, _: u64, reply: Reply<Opened>) {
        reply.send(Ok(Opened { handle: 0, flags: 0 }));
    }

    fn release_directory(&self, _: &Request, _: u64, _: u64, reply: Reply<()>) {
        reply.send(Ok(()));
    }

    fn read_directory(
        &self,
        _: &Request,
        _: u64,
        _: u64,
        offset: u64,
        mut list: DirectoryList,
        _: bool,
        reply: Reply<DirectoryList>,
    ) {
        for (index, (node, name)) in (1..).zip(NAMES) {
            if index > offset && !list.push(node, index, FILE_MODE, name, None) {
                break;
            }
        }
        reply.send(Ok(list));
    }

    fn stat_file_system(&self, _: &Request, reply: Reply<Statistics>) {
        reply.send(Err(Errno::NOSYS));
    }

    // The two files are all there is.

    fn read_link(&self, _: &Request, _: u64, reply: Reply<Bytes>) {
        reply.send(Err(Errno::INVAL));
    }

    fn symlink(&self, _: &Request, _: u64, _: &[u8], _: &[u8], reply: Reply<Entry>) {
        reply.send(Err(Errno::PERM));
    }

    fn make_node(&self, _: &Request, _: u64, _: &[u8], _: u32, _: u32, reply: Reply<Entry>) {
        reply.send(Err(Errno::PERM));
    }

    fn make_directory(&self, _: &Request, _: u64, _: &[u8], _: u32, reply: Reply<Entry>) {
        reply.send(Err(Errno::PERM));
    }

    fn unlink(&self, _: &Request, _: u64, _: &[u8], reply: Reply<()>) {
        reply.send(Err(Errno::PERM));
    }

    fn remove_directory(&self, _: &Request, _: u64, _: &[u8], reply: Reply<()>) {
        reply.send(Err(Errno::PERM));
    }

    fn rename(&self, _: &Request, _: u64, _: &[u8], _: u64, _: &[u8], _: u32, reply: Reply<()>) {
        reply.send(Err(Errno::PERM));
    }

    fn link(&self, _: &Request, _: u64, _: u64, _: &[u8], reply: Reply<Entry>) {
        reply.send(Err(Errno::PERM));
    }

    fn create(&self, _: &Request, _: u64, _: &[u8], _: u32, _: u32, _: bool, reply: Reply<Created>) {
        reply.send(Err(Errno::PERM));
    }
}

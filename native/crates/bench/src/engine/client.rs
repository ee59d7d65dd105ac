//! Catena's own client without the mount: what chains and disks cost, without FUSE.

use super::{Engine, ReadDone, WriteDone, read_wait, write_wait};
use crate::job::Job;
use crate::pattern;
use bytes::Bytes;
use client::{Caller, Client, OpenFile};
use parking_lot::RwLock;
use std::sync::Arc;
use wire::{Code, Error, Result};

/// Content is made and written in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;
const READ_WRITE: u32 = rustix::fs::OFlags::RDWR.bits();

pub struct ClientEngine {
    client: Arc<Client>,
    folder: Vec<u8>,
    caller: Caller,
    files: RwLock<Vec<Arc<OpenFile>>>,
}

impl ClientEngine {
    /// `folder`: a directory of the file system, as an absolute path in it; it must exist.
    pub fn new(client: Arc<Client>, folder: &str, caller: Caller) -> Self {
        ClientEngine { client, folder: folder.as_bytes().to_vec(), caller, files: RwLock::default() }
    }

    fn directory(&self) -> Result<u64> {
        let mut inode = self.client.root();
        for name in self.folder.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            inode = self.client.lookup(&self.caller, inode, name)?.id;
        }
        Ok(inode)
    }

    fn open(&self, parent: u64, job: &Job, each: u32) -> Result<Arc<OpenFile>> {
        let name = format!("bench.{each}");
        let (file, _created) =
            self.client.create(&self.caller, parent, name.as_bytes(), 0o644, READ_WRITE)?;
        Ok(if job.expects_content() || file.attributes().length == 0 {
            file
        } else {
            let truncate = READ_WRITE | rustix::fs::OFlags::TRUNC.bits();
            file.close_wait(&self.caller)?;
            self.client.create(&self.caller, parent, name.as_bytes(), 0o644, truncate)?.0
        })
    }

    /// Writes the content that the job expects, unless an earlier run of the same seed left it.
    fn lay_out(&self, job: &Job, each: u32, file: &Arc<OpenFile>) -> Result<()> {
        let seed = job.content_seed(each);
        let last = (job.size_bytes - 512) & !7;
        let holds = |offset| -> Result<bool> {
            let got = read_wait(self, each, offset, 512)?.concat();
            Ok(got.len() == 512 && pattern::first_wrong(seed, offset, None, &got).is_none())
        };
        if file.attributes().length >= job.size_bytes && holds(0)? && holds(last)? {
            return Ok(());
        }
        let mut offset = 0;
        while offset < job.size_bytes {
            let len = (job.size_bytes - offset).min(PIECE_BYTES).next_multiple_of(8);
            write_wait(self, each, offset, pattern::make(seed, offset, 0, len as usize))?;
            offset += len;
        }
        file.fsync(&self.caller)
    }

    fn file(&self, job: u32) -> Arc<OpenFile> {
        self.files.read()[job as usize].clone()
    }
}

impl Engine for ClientEngine {
    fn prepare(&self, job: &Job) -> Result<()> {
        let parent = self.directory().map_err(|error| {
            let folder = String::from_utf8_lossy(&self.folder).into_owned();
            Error::new(error.code, format!("{folder}: {}", error.detail))
        })?;
        let files: Vec<_> = (0..job.jobs).map(|each| self.open(parent, job, each)).collect::<Result<_>>()?;
        *self.files.write() = files.clone();
        if job.expects_content() {
            for (each, file) in files.iter().enumerate() {
                self.lay_out(job, each as u32, file)?;
            }
        }
        Ok(())
    }

    fn blocks(&self) -> bool {
        false
    }

    fn read(&self, job: u32, offset: u64, len: u32, done: ReadDone) {
        self.file(job).read(&self.caller, offset, u64::from(len), move |result| {
            done(result.and_then(|got: Vec<Bytes>| {
                let total: usize = got.iter().map(Bytes::len).sum();
                if total == len as usize {
                    return Ok(got);
                }
                Err(Error::new(Code::Corrupt, format!("{total} bytes at offset {offset}, wanted {len}")))
            }));
        });
    }

    fn write(&self, job: u32, offset: u64, data: Bytes, done: WriteDone) {
        self.file(job).write(&self.caller, offset, vec![data], done);
    }

    fn fsync(&self, job: u32) -> Result<()> {
        self.file(job).fsync(&self.caller)
    }
}

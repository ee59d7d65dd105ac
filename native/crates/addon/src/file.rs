//! An open file for JavaScript. Writes leave in the order of their calls.

use crate::bytes_conversion::{joined, lent, unsigned};
use crate::error::{binding, thrown};
use crate::promise::promise;
use crate::work::{self, Strand};
use ::client::{Caller, OpenFile};
use napi::Env;
use napi::bindgen_prelude::{BigInt, Buffer, Object};
use napi_derive::napi;
use prost::Message;
use std::sync::Arc;
use wire::{Code, Error};

/// One read makes one JavaScript buffer; larger ones are the caller's loop, so that memory stays bounded.
const READ_BYTES_MAX: u32 = 64 << 20;

#[napi]
pub struct NativeFile {
    file: Arc<OpenFile>,
    writes: Strand,
}

type Failed = napi::Error<String>;

impl NativeFile {
    pub(crate) fn new(file: Arc<OpenFile>) -> NativeFile {
        NativeFile { file, writes: Strand::default() }
    }
}

#[napi]
impl NativeFile {
    /// The inode as this client knows it, encoded as `Inode`.
    #[napi]
    pub fn attributes(&self) -> Buffer {
        self.file.attributes().encode_to_vec().into()
    }

    /// Fewer bytes at the end of the file.
    #[napi(ts_return_type = "Promise<Buffer>")]
    pub fn read<'env>(&self, env: &'env Env, offset: BigInt, length: u32) -> Result<Object<'env>, Failed> {
        let offset = unsigned(&offset)?;
        if length > READ_BYTES_MAX {
            let detail = format!("a read of {length} bytes; at most {READ_BYTES_MAX}");
            return Err(thrown(&Error::new(Code::InvalidArgument, detail)));
        }
        let (settle, object) = promise::<Buffer>(env).map_err(|error| binding(&error))?;
        let file = self.file.clone();
        work::run(move || {
            file.read(&Caller::default(), offset, length.into(), move |rope| {
                settle.settle_with(rope.map(|rope| joined(&rope)), |_, bytes| Ok(bytes.into()));
            });
        });
        Ok(object)
    }

    /// The buffer must not change before the promise settles.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn write<'env>(&self, env: &'env Env, offset: BigInt, data: Buffer) -> Result<Object<'env>, Failed> {
        let offset = unsigned(&offset)?;
        let (settle, object) = promise::<()>(env).map_err(|error| binding(&error))?;
        let (file, data) = (self.file.clone(), lent(data));
        self.writes.run(move || {
            file.write(&Caller::default(), offset, vec![data], move |done| settle.settle(done));
        });
        Ok(object)
    }

    /// Behind all writes that were called before.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn fsync<'env>(&self, env: &'env Env) -> Result<Object<'env>, Failed> {
        let (settle, object) = promise::<()>(env).map_err(|error| binding(&error))?;
        let file = self.file.clone();
        self.writes.run(move || settle.settle(file.fsync(&Caller::default())));
        Ok(object)
    }

    /// Behind all writes that were called before.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn close<'env>(&self, env: &'env Env) -> Result<Object<'env>, Failed> {
        let (settle, object) = promise::<()>(env).map_err(|error| binding(&error))?;
        let file = self.file.clone();
        self.writes.run(move || settle.settle(file.close_wait(&Caller::default())));
        Ok(object)
    }
}

//! The file client for JavaScript: names as messages in bytes, chunks by inode and layout.

use crate::bytes_conversion::{joined, layout, lent, unsigned};
use crate::error::{binding, thrown};
use crate::file::NativeFile;
use crate::promise::promise;
use crate::{names, work};
use ::client::{Caller, Client, Config};
use napi::Env;
use napi::bindgen_prelude::{BigInt, Buffer, Object};
use napi_derive::napi;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

#[napi(object)]
pub struct ClientSettings {
    pub managers: Vec<String>,
    pub cluster: String,
    pub host: String,
    pub io_timeout_ms: u32,
    pub hard: bool,
    pub attribute_ttl_ms: u32,
    pub write_bytes_max: u32,
    pub connect_timeout_ms: u32,
    pub without_names: bool,
}

impl From<ClientSettings> for Config {
    fn from(settings: ClientSettings) -> Config {
        Config {
            managers: settings.managers,
            cluster: settings.cluster,
            host: settings.host,
            io_timeout: Duration::from_millis(settings.io_timeout_ms.into()),
            hard: settings.hard,
            attribute_ttl: Duration::from_millis(settings.attribute_ttl_ms.into()),
            write_bytes_max: settings.write_bytes_max as usize,
            connect_timeout: Duration::from_millis(settings.connect_timeout_ms.into()),
            without_names: settings.without_names,
        }
    }
}

/// Whose permissions count.
#[napi(object)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

impl From<User> for Caller {
    fn from(user: User) -> Caller {
        Caller { uid: user.uid, gid: user.gid, groups: user.groups, pid: std::process::id(), cancel: None }
    }
}

#[napi(object)]
pub struct Place {
    pub offset: BigInt,
    pub length: BigInt,
    pub nodes: Vec<u32>,
}

#[napi(object)]
pub struct SpaceFigures {
    pub capacity_bytes: BigInt,
    pub used_bytes: BigInt,
}

#[napi(object)]
pub struct ClientFigures {
    pub routing_version: BigInt,
    pub write_bytes_in_flight: f64,
    pub open_inodes: u32,
    pub corrupt_answers: f64,
    pub metadata_in_flight: u32,
}

impl From<::client::Figures> for ClientFigures {
    fn from(figures: ::client::Figures) -> ClientFigures {
        ClientFigures {
            routing_version: figures.routing_version.into(),
            write_bytes_in_flight: figures.write_bytes_in_flight as f64,
            open_inodes: figures.open_inodes as u32,
            corrupt_answers: figures.corrupt_answers as f64,
            metadata_in_flight: figures.metadata_in_flight as u32,
        }
    }
}

#[napi]
pub struct NativeClient(pub(crate) Arc<Client>);

type Failed = napi::Error<String>;

#[napi]
impl NativeClient {
    #[napi(ts_return_type = "Promise<NativeClient>")]
    pub fn connect(env: &Env, settings: ClientSettings) -> napi::Result<Object<'_>> {
        let (settle, object) = promise::<NativeClient>(env)?;
        work::run(move || settle.settle(Client::connect(settings.into()).map(NativeClient)));
        Ok(object)
    }

    #[napi(ts_return_type = "Promise<void>")]
    pub fn stop<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let (settle, object) = promise::<()>(env)?;
        let client = self.0.clone();
        work::run(move || {
            client.stop();
            settle.settle(Ok(()));
        });
        Ok(object)
    }

    #[napi]
    pub fn root(&self) -> BigInt {
        self.0.root().into()
    }

    #[napi]
    pub fn figures(&self) -> ClientFigures {
        self.0.figures().into()
    }

    /// Any metadata request but open, create, close and report, as bytes; the reply likewise.
    #[napi(ts_return_type = "Promise<Buffer>")]
    pub fn ask<'env>(
        &self,
        env: &'env Env,
        kind: u32,
        request: &[u8],
        user: User,
    ) -> Result<Object<'env>, Failed> {
        let question = names::decode_question(kind, request).map_err(|error| thrown(&error))?;
        let (settle, object) = promise::<Buffer>(env).map_err(|error| binding(&error))?;
        let client = self.0.clone();
        work::run(move || {
            let answer = question.ask(&client, &user.into());
            settle.settle_with(answer, |_, bytes: Vec<u8>| Ok(bytes.into()));
        });
        Ok(object)
    }

    #[napi(ts_return_type = "Promise<NativeFile>")]
    pub fn open<'env>(
        &self,
        env: &'env Env,
        inode: BigInt,
        flags: u32,
        user: User,
    ) -> Result<Object<'env>, Failed> {
        let inode = unsigned(&inode)?;
        let (settle, object) = promise::<NativeFile>(env).map_err(|error| binding(&error))?;
        self.0.open_then(&user.into(), inode, flags, move |file| settle.settle(file.map(NativeFile::new)));
        Ok(object)
    }

    #[napi(ts_return_type = "Promise<NativeFile>")]
    pub fn create<'env>(
        &self,
        env: &'env Env,
        parent: BigInt,
        name: &[u8],
        mode: u32,
        flags: u32,
        user: User,
    ) -> Result<Object<'env>, Failed> {
        let parent = unsigned(&parent)?;
        let (settle, object) = promise::<NativeFile>(env).map_err(|error| binding(&error))?;
        self.0.create_then(&user.into(), parent, name, mode, flags, move |made| {
            settle.settle(made.map(|(file, _)| NativeFile::new(file)));
        });
        Ok(object)
    }

    /// No byte at or beyond `length` is left. `oldLength`: how far the file reached, if that is known.
    #[napi(ts_return_type = "Promise<bigint>")]
    pub fn truncate_chunks<'env>(
        &self,
        env: &'env Env,
        inode: BigInt,
        layout_bytes: &[u8],
        length: BigInt,
        old_length: Option<BigInt>,
    ) -> Result<Object<'env>, Failed> {
        let (inode, layout, length) = (unsigned(&inode)?, layout(layout_bytes)?, unsigned(&length)?);
        let old_length = old_length.as_ref().map(unsigned).transpose()?;
        let (settle, object) = promise::<BigInt>(env).map_err(|error| binding(&error))?;
        let chunks = self.0.chunks();
        work::run(move || {
            let delta = chunks.truncate(&Caller::default(), inode, &layout, old_length, length);
            settle.settle_with(delta, |_, delta: i64| Ok(delta.into()));
        });
        Ok(object)
    }

    /// No chunk of the inode is left.
    #[napi(ts_return_type = "Promise<bigint>")]
    pub fn remove_chunks<'env>(
        &self,
        env: &'env Env,
        inode: BigInt,
        layout_bytes: &[u8],
        length: BigInt,
    ) -> Result<Object<'env>, Failed> {
        let (inode, layout, length) = (unsigned(&inode)?, layout(layout_bytes)?, unsigned(&length)?);
        let (settle, object) = promise::<BigInt>(env).map_err(|error| binding(&error))?;
        let chunks = self.0.chunks();
        work::run(move || {
            let delta = chunks.remove(&Caller::default(), inode, &layout, length);
            settle.settle_with(delta, |_, delta: i64| Ok(delta.into()));
        });
        Ok(object)
    }

    /// How far the chunks reach.
    #[napi(ts_return_type = "Promise<bigint>")]
    pub fn query_length<'env>(
        &self,
        env: &'env Env,
        inode: BigInt,
        layout_bytes: &[u8],
    ) -> Result<Object<'env>, Failed> {
        let (inode, layout) = (unsigned(&inode)?, layout(layout_bytes)?);
        let (settle, object) = promise::<BigInt>(env).map_err(|error| binding(&error))?;
        let chunks = self.0.chunks();
        work::run(move || {
            let length = chunks.query_length(&Caller::default(), inode, &layout);
            settle.settle_with(length, |_, length: u64| Ok(length.into()));
        });
        Ok(object)
    }

    #[napi(ts_return_type = "Promise<SpaceFigures>")]
    pub fn space<'env>(&self, env: &'env Env) -> Result<Object<'env>, Failed> {
        let (settle, object) = promise::<SpaceFigures>(env).map_err(|error| binding(&error))?;
        let chunks = self.0.chunks();
        work::run(move || {
            settle.settle_with(chunks.space(&Caller::default()), |_, space| {
                let (capacity_bytes, used_bytes) = (space.capacity_bytes.into(), space.used_bytes.into());
                Ok(SpaceFigures { capacity_bytes, used_bytes })
            });
        });
        Ok(object)
    }

    #[napi(ts_return_type = "Promise<Buffer>")]
    pub fn read_chunks<'env>(
        &self,
        env: &'env Env,
        inode: BigInt,
        layout_bytes: &[u8],
        offset: BigInt,
        length: u32,
    ) -> Result<Object<'env>, Failed> {
        let (inode, layout, offset) = (unsigned(&inode)?, layout(layout_bytes)?, unsigned(&offset)?);
        let (settle, object) = promise::<Buffer>(env).map_err(|error| binding(&error))?;
        let chunks = self.0.chunks();
        work::run(move || {
            chunks.read(inode, &layout, offset, length.into(), move |rope| {
                settle.settle_with(rope.map(|rope| joined(&rope)), |_, bytes| Ok(bytes.into()));
            });
        });
        Ok(object)
    }

    #[napi(ts_return_type = "Promise<void>")]
    pub fn write_chunks<'env>(
        &self,
        env: &'env Env,
        inode: BigInt,
        layout_bytes: &[u8],
        offset: BigInt,
        data: Buffer,
    ) -> Result<Object<'env>, Failed> {
        let (inode, layout, offset) = (unsigned(&inode)?, layout(layout_bytes)?, unsigned(&offset)?);
        let (settle, object) = promise::<()>(env).map_err(|error| binding(&error))?;
        let (chunks, data) = (self.0.chunks(), lent(data));
        work::run(move || chunks.write(inode, &layout, offset, vec![data], move |done| settle.settle(done)));
        Ok(object)
    }

    #[napi(ts_return_type = "Promise<void>")]
    pub fn flush_chunks<'env>(
        &self,
        env: &'env Env,
        layout_bytes: &[u8],
        length: BigInt,
    ) -> Result<Object<'env>, Failed> {
        let (layout, length) = (layout(layout_bytes)?, unsigned(&length)?);
        let (settle, object) = promise::<()>(env).map_err(|error| binding(&error))?;
        let chunks = self.0.chunks();
        work::run(move || chunks.flush(&layout, length, move |done| settle.settle(done)));
        Ok(object)
    }

    /// Which nodes serve each chunk of a range, the head first.
    #[napi(ts_return_type = "Promise<Place[]>")]
    pub fn locate<'env>(
        &self,
        env: &'env Env,
        layout_bytes: &[u8],
        offset: BigInt,
        length: BigInt,
    ) -> Result<Object<'env>, Failed> {
        let (layout, offset, length) = (layout(layout_bytes)?, unsigned(&offset)?, unsigned(&length)?);
        let (settle, object) = promise::<Vec<Place>>(env).map_err(|error| binding(&error))?;
        let chunks = self.0.chunks();
        work::run(move || {
            let located = chunks.locate(&Caller::default(), &layout, offset, length);
            settle.settle_with(located, |_, located| Ok(located.into_iter().map(Place::from).collect()));
        });
        Ok(object)
    }

    /// The chain table as this client knows it, encoded as `Routing`: for people and tests.
    #[napi]
    pub fn routing(&self) -> Buffer {
        self.0.routing().to_message().encode_to_vec().into()
    }
}

impl From<::client::Located> for Place {
    fn from(located: ::client::Located) -> Place {
        Place {
            offset: located.offset.into(),
            length: located.length.into(),
            nodes: located.nodes.iter().map(|node| node.0).collect(),
        }
    }
}

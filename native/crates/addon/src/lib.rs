//! The thin Node binding of the native data plane: it converts values, starts and stops parts, and takes no
//! decision. Nothing here may block the JavaScript thread: long work runs on native threads and settles
//! promises.
#![allow(unsafe_code)] // what napi-derive generates; every block written by hand says why it is sound

mod allocate;
mod bench;
mod bytes_conversion;
mod chain;
mod client;
mod clock;
mod error;
mod file;
mod lock;
mod logging;
mod mount;
mod names;
mod process;
mod promise;
mod storage;
mod work;

//! Names: the metadata session and one method per operation, named as in `meta.proto`.

mod attributes;
mod directories;
mod keeper;
mod names;
mod pending;
mod session;
mod window;

pub(crate) use names::checked;
pub(crate) use pending::{CallOptions, Pending};
pub(crate) use session::Session;

//! RELEASE: the last close. Nobody waits for it, so the session is closed behind the answer, some of them
//! together.

use super::volume::Volume;
use crate::session::Reply;

pub fn release(volume: &Volume, handle: u64, reply: Reply<()>) {
    volume.handles.close(handle);
    reply.send(Ok(()));
}

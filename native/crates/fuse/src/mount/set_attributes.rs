//! SETATTR: chmod, chown, utimensat, truncate. The client holds this host's writes back while a file is
//! truncated (P19).

use super::volume::Volume;
use crate::protocol::{FileAttributes, SetAttributes, TimeChange};
use crate::session::{Reply, Request};
use wire::message::SetAttributesRequest;

pub fn set_attributes(
    volume: &Volume,
    request: &Request,
    node: u64,
    set: SetAttributes,
    reply: Reply<FileAttributes>,
) {
    let caller = volume.caller(request);
    let session =
        set.handle.and_then(|handle| volume.handles.get(handle).ok()).map_or(0, |file| file.session());
    let changed = volume.client.set_attributes(&caller, message(volume.swap_root(node), session, &set));
    volume.directory_view.changed(volume.swap_root(node));
    reply.send(match changed {
        Ok(inode) => Ok(volume.file_attributes(&inode)),
        Err(error) => Err(volume.errno("setattr", &error)),
    });
}

fn message(inode: u64, session: u64, set: &SetAttributes) -> SetAttributesRequest {
    let given = |time| match time {
        Some(TimeChange::At(time_ns)) => Some(time_ns),
        _ => None,
    };
    SetAttributesRequest {
        header: None,
        inode,
        mode: set.mode,
        uid: set.uid,
        gid: set.gid,
        atime_ns: given(set.atime),
        mtime_ns: given(set.mtime),
        atime_now: set.atime == Some(TimeChange::Now),
        mtime_now: set.mtime == Some(TimeChange::Now),
        session,
        length: set.size,
        kill_suid: set.kill_suid,
        written: 0, // the client knows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_is_changed() {
        let set = SetAttributes {
            size: Some(0),
            atime: Some(TimeChange::Now),
            mtime: Some(TimeChange::At(-5)),
            kill_suid: true,
            ..Default::default()
        };
        let expected = SetAttributesRequest {
            inode: 9,
            session: 3,
            length: Some(0),
            atime_now: true,
            mtime_ns: Some(-5),
            kill_suid: true,
            ..Default::default()
        };
        assert_eq!(message(9, 3, &set), expected);
    }
}

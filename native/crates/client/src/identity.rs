//! Who this process is to the servers: 128 random bits (P4). A fenced client goes on under a new id and a new
//! epoch; what belongs to an older epoch (open files, channels) is void.

use bytes::Bytes;
use parking_lot::RwLock;
use std::io::Read;
use wire::ClientId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    pub client: ClientId,
    pub epoch: u32,
}

impl Me {
    pub fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.client.0)
    }
}

pub(crate) struct Identity(RwLock<Me>);

impl Identity {
    pub fn new() -> Self {
        Identity(RwLock::new(Me { client: random_id(), epoch: 1 }))
    }

    pub fn current(&self) -> Me {
        *self.0.read()
    }

    /// A new id, unless someone else found out about the fence before. The new one if it was changed.
    pub fn renew(&self, fenced: ClientId) -> Option<Me> {
        let mut me = self.0.write();
        if me.client != fenced {
            return None;
        }
        *me = Me { client: random_id(), epoch: me.epoch + 1 };
        Some(*me)
    }
}

fn random_id() -> ClientId {
    let mut id = ClientId::default();
    let filled = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut id.0));
    assert!(filled.is_ok(), "the kernel gives 16 random bytes: {filled:?}");
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_answered_once() {
        let identity = Identity::new();
        let me = identity.current();
        assert_eq!(identity.renew(me.client).unwrap(), identity.current());
        assert_eq!(identity.renew(me.client), None, "an old request that is refused late");
        assert_eq!(identity.current().epoch, 2);
        assert_ne!(identity.current().client, me.client);
    }
}

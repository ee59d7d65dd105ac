//! Who this process is to the servers: 128 random bits (P4). A fenced client goes on under a new id and a new
//! epoch; what belongs to an older epoch (open files, channels) is void.

use bytes::Bytes;
use parking_lot::RwLock;
use std::io::Read;
use std::sync::OnceLock;
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

/// When this process started, in clock ticks since the machine did (`starttime` in proc(5)), as its supervisor sees
/// it, too: with it a pid names one process, also beside another space of pids. 0: unknown.
pub(crate) fn process_start() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    *START.get_or_init(|| {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The command's name may hold spaces and brackets; the fields after it may not.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        fields.split(' ').nth(19).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
    })
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
    fn a_process_knows_when_it_started() {
        // Before this moment, and in this boot.
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let ticks_per_second = 100.0;
        let start = process_start() as f64 / ticks_per_second;
        assert!(start > 0.0 && start <= seconds, "{start} of {seconds}");
    }

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

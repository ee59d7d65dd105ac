//! Which clients still hold their lease (P4): one that lets it run out is to be fenced. As the product's manager
//! does it in `cluster-manager/src/clients.ts`, for the simulator and for the comparison of the two.

use crate::Time;
use crate::manager::{STALL_MS, lease_with_margin_ms};
use std::collections::BTreeMap;
use wire::ClientId;

#[derive(Clone, Copy, Debug)]
struct Lease {
    end: Time,
    sequence: u64,
}

#[derive(Clone, Debug)]
pub struct ClientLeases {
    lease_ms: u64,
    looked: Time,
    live: BTreeMap<ClientId, Lease>,
}

impl ClientLeases {
    /// Of a new manager: `live` as stored. They get the time of a lease to be heard.
    pub fn new(now: Time, lease_ms: u64, live: impl IntoIterator<Item = ClientId>) -> Self {
        let mut leases = ClientLeases { lease_ms, looked: now, live: BTreeMap::new() };
        live.into_iter().for_each(|client| leases.register(now, client));
        leases
    }

    /// It lives from now on; not of one that was fenced.
    pub fn register(&mut self, now: Time, client: ClientId) {
        self.live.insert(client, Lease { end: self.end(now), sequence: 0 });
    }

    /// Whether the lease goes on: not of one that is none of the live, or whose message was overtaken.
    pub fn heartbeat(&mut self, now: Time, client: ClientId, sequence: u64) -> bool {
        let end = self.end(now);
        let lease = self.live.get_mut(&client).filter(|lease| sequence > lease.sequence);
        lease.map(|lease| *lease = Lease { end: lease.end.max(end), sequence }).is_some()
    }

    /// Those whose lease has run out. After a pause of the manager everybody gets the time of a lease to be heard
    /// again.
    pub fn expired(&mut self, now: Time) -> Vec<ClientId> {
        if now.since_ms(self.looked) > STALL_MS {
            let end = self.end(now);
            let in_time = self.live.values_mut().filter(|lease| lease.end > self.looked);
            in_time.for_each(|lease| lease.end = end);
        }
        self.looked = now;
        let out = self.live.iter().filter(|(_, lease)| now >= lease.end);
        out.map(|(client, _)| *client).collect()
    }

    /// It was fenced.
    pub fn remove(&mut self, client: ClientId) {
        self.live.remove(&client);
    }

    fn end(&self, now: Time) -> Time {
        now.plus_ms(lease_with_margin_ms(self.lease_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE_MS: u64 = 10_000;
    const END_MS: u64 = 10_350;

    fn ms(ms: u64) -> Time {
        Time::ZERO.plus_ms(ms)
    }

    /// Looks often enough that there is no pause, and returns when the client was found to have run out.
    fn runs_out_at(leases: &mut ClientLeases, from_ms: u64) -> u64 {
        (from_ms..).find(|at| !leases.expired(ms(*at)).is_empty()).expect("some time")
    }

    #[test]
    fn a_silent_client_runs_out_after_its_lease_with_the_margin() {
        let client = ClientId([7; 16]);
        let mut leases = ClientLeases::new(ms(0), LEASE_MS, [client]);
        assert!(leases.heartbeat(ms(900), client, 1));
        assert!(!leases.heartbeat(ms(950), client, 1), "repeated");
        assert!(!leases.heartbeat(ms(950), ClientId([8; 16]), 1), "a stranger");
        assert_eq!(runs_out_at(&mut leases, 0), 900 + END_MS);
        leases.remove(client);
        assert_eq!(leases.expired(ms(900 + END_MS)), []);
    }

    #[test]
    fn after_a_pause_everybody_gets_the_time_of_a_lease() {
        let mut leases = ClientLeases::new(ms(0), LEASE_MS, [ClientId([7; 16])]);
        assert_eq!(leases.expired(ms(60_000)), []);
        assert_eq!(runs_out_at(&mut leases, 60_000), 60_000 + END_MS);
    }
}

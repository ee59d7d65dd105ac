//! The channels of one client on one chain (P7): at most 64, one update in the air on each, numbers that only
//! rise.

use wire::limits::CHANNELS_MAX;

/// One update's place: give it back when the update was answered or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    pub channel: u32,
    pub sequence: u64,
}

#[derive(Clone, Debug)]
pub struct Channels {
    /// The channel given back last is taken first: few channels stay few entries on the servers.
    free: Vec<u32>,
    last_sequence: Vec<u64>,
    allowed: u32,
}

impl Channels {
    /// `allowed` channels, at most `CHANNELS_MAX`.
    pub fn new(allowed: u32) -> Self {
        let allowed = allowed.clamp(1, CHANNELS_MAX);
        Channels { free: (0..allowed).rev().collect(), last_sequence: vec![0; allowed as usize], allowed }
    }

    /// `None`: as many updates as allowed are in the air; wait for one of them.
    pub fn acquire(&mut self) -> Option<Permit> {
        let channel = self.free.pop()?;
        let last = &mut self.last_sequence[channel as usize];
        *last += 1;
        Some(Permit { channel, sequence: *last })
    }

    pub fn release(&mut self, permit: Permit) {
        assert!(permit.channel < self.allowed, "a permit of these channels");
        assert!(!self.free.contains(&permit.channel), "a permit is given back once");
        assert_eq!(
            self.last_sequence[permit.channel as usize], permit.sequence,
            "a permit is given back once"
        );
        self.free.push(permit.channel);
    }

    pub fn in_air(&self) -> u32 {
        self.allowed - self.free.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_update_in_the_air_on_each_channel_and_numbers_rise() {
        let mut channels = Channels::new(2);
        let first = channels.acquire().expect("two are free");
        let second = channels.acquire().expect("one is free");
        assert_ne!(first.channel, second.channel);
        assert_eq!(channels.acquire(), None);
        assert_eq!(channels.in_air(), 2);
        channels.release(first);
        assert_eq!(channels.acquire(), Some(Permit { channel: first.channel, sequence: first.sequence + 1 }));
    }

    #[test]
    #[should_panic(expected = "given back once")]
    fn a_permit_is_not_given_back_twice() {
        let mut channels = Channels::new(1);
        let permit = channels.acquire().expect("free");
        channels.release(permit);
        channels.release(permit);
    }

    #[test]
    fn never_more_than_the_servers_keep() {
        let mut channels = Channels::new(10_000);
        assert_eq!(std::iter::from_fn(|| channels.acquire()).count(), CHANNELS_MAX as usize);
    }
}

//! A channel for tests: gives the requests that it was made with, then says that the mount is gone; keeps
//! what is sent.

use super::channel::Channel;
use parking_lot::Mutex;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

pub struct ScriptedChannel {
    requests: Mutex<VecDeque<Vec<u8>>>,
    pub sent: Mutex<Vec<Vec<u8>>>,
    /// Longer messages are refused with EINVAL, as the kernel does with answers longer than asked for.
    length_max: usize,
    /// What every send fails with.
    refusal: Option<Errno>,
}

impl ScriptedChannel {
    pub fn new(requests: Vec<Vec<u8>>, length_max: usize, refusal: Option<Errno>) -> Arc<Self> {
        let (requests, sent) = (Mutex::new(requests.into()), Mutex::default());
        Arc::new(ScriptedChannel { requests, sent, length_max, refusal })
    }
}

impl Channel for ScriptedChannel {
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let request = self.requests.lock().pop_front().ok_or(Errno::NODEV)?;
        buffer[..request.len()].copy_from_slice(&request);
        Ok(request.len())
    }

    fn send(&self, pieces: &[IoSlice<'_>]) -> Result<(), Errno> {
        let message = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>();
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        if message.len() > self.length_max {
            return Err(Errno::INVAL);
        }
        let stated = u32::from_ne_bytes(message[..4].try_into().expect("a header"));
        assert_eq!(stated as usize, message.len(), "the header states the whole length");
        self.sent.lock().push(message);
        Ok(())
    }

    fn another(&self) -> Result<Arc<dyn Channel>, Errno> {
        Err(Errno::NOTSUP)
    }
}

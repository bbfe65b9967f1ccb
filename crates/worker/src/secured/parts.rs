//! Handshakes that are not over: what all sessions of a worker keep of them, messages in parts above all, is
//! bounded (law 3).

use std::sync::Arc;

use base::limits::{TLS_PARTS_ALL, TLS_PARTS_MAX, TLS_PARTS_OWN, TLS_UNSIGNED_ALL};
use tls::{Failure, Found, Output, Session};

use crate::counters::WorkerCounters;

/// What a worker with such a pool keeps of them at most, beside what every session may: as much as the pool
/// has, or what a few sessions may need, but no more than is of use. `asks`: some clients are asked for
/// certificates.
pub fn handshake_bytes(asks: bool, buffers: u32, buffer_bytes: u32) -> usize {
    let pool = u64::from(buffers) * u64::from(buffer_bytes);
    let most = if asks { TLS_UNSIGNED_ALL } else { TLS_PARTS_ALL };
    usize::try_from(pool).unwrap_or(usize::MAX).clamp(2 * TLS_PARTS_MAX, most)
}

/// What there is of them, beside what every session may keep ([`TLS_PARTS_OWN`]).
pub(super) struct Parts {
    bytes: usize,
    most: usize,
    counters: Arc<WorkerCounters>,
}

impl Parts {
    /// `most`: see [`handshake_bytes`].
    pub(super) const fn new(most: usize, counters: Arc<WorkerCounters>) -> Self {
        Self { bytes: 0, most, counters }
    }

    /// As [`Session::read`], of one record; a session that would need more than there is room for fails,
    /// and is told so.
    pub(super) fn read(
        &mut self,
        session: &mut Session,
        record: &mut [u8],
        output: &mut Output<'_>,
        deliver: impl FnMut(&[u8]),
    ) -> Result<Found, Failure> {
        self.remove(session);
        let mut read = session.read(record, output, deliver);
        if read.is_ok() && self.bytes + counted(session) > self.most {
            read = Err(session.refuse(Failure::TooLarge, output));
        }
        self.add(session);
        read
    }

    /// As [`Session::refuse`], of what is no record.
    pub(super) fn refuse(&mut self, session: &mut Session, output: &mut Output<'_>) -> Failure {
        self.remove(session);
        let failure = session.refuse(Failure::Protocol, output);
        self.add(session);
        failure
    }

    /// A session comes to this worker; from another one without anything that counts
    /// ([`super::Secured::keeps_parts`]).
    pub(super) fn add(&mut self, session: &Session) {
        self.set(self.bytes + counted(session));
    }

    /// A session leaves it.
    pub(super) fn remove(&mut self, session: &Session) {
        self.set(self.bytes - counted(session));
    }

    /// Whether that is what these sessions keep.
    pub(super) fn audit<'s>(
        &self,
        sessions: impl Iterator<Item = &'s Session>,
    ) -> Result<(), String> {
        let kept: usize = sessions.map(counted).sum();
        let told = self.counters.tls_parts_bytes.get();
        if kept == self.bytes && told == kept as u64 && kept <= self.most {
            return Ok(());
        }
        let bytes = self.bytes;
        Err(format!("{kept} bytes of messages in parts are kept, {bytes} counted, {told} told of"))
    }

    fn set(&mut self, bytes: usize) {
        if self.bytes != bytes {
            self.bytes = bytes;
            self.counters.tls_parts_bytes.set(bytes as u64);
        }
    }
}

/// What counts of what a session keeps.
const fn counted(session: &Session) -> usize {
    session.parts().saturating_sub(TLS_PARTS_OWN)
}

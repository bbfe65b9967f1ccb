//! One session, over rustls' unbuffered interface. Nothing else of anteroom knows that interface.

use rustls::HandshakeKind;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};

use base::limits::{TLS_HEADER, TLS_PARTS_MAX, TLS_PARTS_OWN, TLS_PARTS_SHORT};

use crate::agreed::Agreed;
use crate::failure::Failure;
use crate::identity::subject_of;
use crate::output::Output;

/// What whole records came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Bytes of application data that were delivered.
    pub bytes: usize,
    /// The peer said that it sends nothing more (`close_notify`, RFC 8446 §6.1).
    pub closed: bool,
}

/// A record of a type that there is not: what rustls answers with `decode_error`, as it does what is
/// too long to be read (RFC 8446 §6.2).
const NO_RECORD: [u8; TLS_HEADER] = [0, 3, 3, 0, 1];

/// A session with a client or a server.
pub struct Session {
    end: End,
    /// Parts of a handshake message that is not whole yet; in all other moments it holds nothing.
    parts: Vec<u8>,
    /// Longest certificate chain that is kept of the peer's; 0 if it is not asked for any.
    chain: u32,
    /// Whether rustls keeps what was said until the client among us has signed it.
    signs: bool,
    /// Bytes that it may keep of a handshake that is not over: that, and the peer's chain.
    unsigned: u32,
    /// Who the client's certificate says it is (RFC 4514), once it is known that it showed one; empty
    /// if that is nobody, or too long.
    subject: Option<Box<str>>,
    /// Why it is over, if it is: then rustls is shown nothing more.
    over: Option<Failure>,
}

/// Which end we are.
enum End {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// One and the same call of both ends.
trait Process {
    type Data;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    /// Whether something is to be sent before anything is read.
    fn has_to_say(&self) -> bool;
}

impl Process for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
    fn has_to_say(&self) -> bool {
        self.wants_write()
    }
}

impl Process for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
    fn has_to_say(&self) -> bool {
        self.wants_write()
    }
}

impl Session {
    /// `chain`: longest that is kept of a client's certificate chain; 0 if it is not asked for any.
    pub(crate) const fn server(connection: UnbufferedServerConnection, chain: u32) -> Self {
        Self::new(End::Server(connection), chain, chain > 0)
    }

    /// `chain`: longest that is kept of the server's. `signs`: we may show a certificate.
    pub(crate) const fn client(
        connection: UnbufferedClientConnection,
        chain: u32,
        signs: bool,
    ) -> Self {
        Self::new(End::Client(connection), chain, signs)
    }

    const fn new(end: End, chain: u32, signs: bool) -> Self {
        Self { end, parts: Vec::new(), chain, signs, unsigned: 0, subject: None, over: None }
    }

    /// Begins as a client does: with a hello.
    ///
    /// # Errors
    /// When `output` is too small for it.
    pub fn begin(&mut self, output: &mut Output<'_>) -> Result<(), Failure> {
        self.read(&mut [], output, |_| ()).map(|_| ())
    }

    /// Reads whole records, usually one: of each there is at most one piece of application data, which
    /// `deliver` gets. What is to be sent in answer, an alert too, goes into `output`. All of `records` is
    /// taken, and has been written over.
    ///
    /// # Errors
    /// When the session is over for a fault; `output` then ends with the alert that is due. rustls has
    /// none for a message that says it is longer than it reads (64 KiB), nor for another record between the
    /// parts of one.
    pub fn read(
        &mut self,
        records: &mut [u8],
        output: &mut Output<'_>,
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<Found, Failure> {
        if let Some(failure) = self.over {
            return Err(failure);
        }
        let mut parts = core::mem::take(&mut self.parts);
        let joined = !parts.is_empty();
        if joined {
            // No more than that: what is counted is what there is.
            parts.reserve_exact(records.len());
            parts.extend_from_slice(records);
        }
        let input = if joined { &mut parts[..] } else { &mut *records };
        let before = output.len();
        let (taken, found) = match &mut self.end {
            End::Server(end) => drive(end, input, output, &mut deliver),
            End::Client(end) => drive(end, input, output, &mut deliver),
        };
        self.count_unsigned(taken, output.len() - before);
        let found = found.inspect_err(|failure| self.fail(*failure))?;
        // What stands behind an end is nothing.
        if taken < input.len() && !found.closed {
            self.parts = if joined {
                parts.drain(..taken);
                parts.shrink_to_fit();
                parts
            } else {
                records[taken..].to_vec()
            };
        }
        if self.parts.len() > self.parts_max() {
            return Err(self.refuse(Failure::TooLarge, output));
        }
        Ok(found)
    }

    /// rustls keeps nothing of a session that has failed.
    const fn fail(&mut self, failure: Failure) {
        self.over = Some(failure);
        self.unsigned = 0;
    }

    /// So much was heard, and said in answer.
    fn count_unsigned(&mut self, heard: usize, said: usize) {
        if self.chain == 0 || !self.is_handshaking() {
            self.unsigned = 0;
        } else if heard > 0 {
            // What a client begins with holds no certificate.
            let hello = matches!(self.end, End::Server(_)) && self.unsigned == 0;
            let chain = if hello { 0 } else { heard };
            // A list that grows takes twice what is in it.
            let transcript = if self.signs { 2 * (heard + said) } else { 0 };
            let kept = chain + transcript;
            self.unsigned = self.unsigned.saturating_add(u32::try_from(kept).unwrap_or(u32::MAX));
        }
    }

    /// Ends the session for what cannot be shown to it: no record (`Failure::Protocol`), or one for which
    /// there is no memory (`Failure::TooLarge`). The alert, `decode_error`, goes into `output`. What it is
    /// over for: that, or what it was before.
    pub fn refuse(&mut self, failure: Failure, output: &mut Output<'_>) -> Failure {
        if let Some(before) = self.over {
            return before;
        }
        self.fail(failure);
        let mut input = core::mem::take(&mut self.parts);
        input.extend_from_slice(&NO_RECORD);
        let deliver = &mut |_: &[u8]| debug_assert!(false, "there is no record");
        // How rustls calls it is known already.
        let _ = match &mut self.end {
            End::Server(end) => drive(end, &mut input, output, deliver),
            End::Client(end) => drive(end, &mut input, output, deliver),
        };
        failure
    }

    /// What may be kept of a message in parts. Of a client that has shaken hands nothing but new keys may
    /// come, of a server tickets too (RFC 8446 §4.6).
    fn parts_max(&self) -> usize {
        match (&self.end, self.is_handshaking()) {
            (End::Server(_), false) => TLS_PARTS_OWN,
            (_, true) if self.chain > 0 => TLS_PARTS_MAX,
            _ => TLS_PARTS_SHORT,
        }
    }

    /// Encrypts `bytes`, at most `base::limits::TLS_PLAIN_MAX` of them.
    ///
    /// # Errors
    /// When the keys are worn out (RFC 8446 §5.5) or `output` is too small.
    pub fn write(&mut self, bytes: &[u8], output: &mut Output<'_>) -> Result<(), Failure> {
        if let Some(failure) = self.over {
            return Err(failure);
        }
        match &mut self.end {
            End::Server(end) => encrypt(end, &mut self.parts, Some(bytes), output),
            End::Client(end) => encrypt(end, &mut self.parts, Some(bytes), output),
        }
    }

    /// Says that nothing more will be sent (`close_notify`).
    ///
    /// # Errors
    /// When the session cannot say so any more.
    pub fn close(&mut self, output: &mut Output<'_>) -> Result<(), Failure> {
        if let Some(failure) = self.over {
            return Err(failure);
        }
        match &mut self.end {
            End::Server(end) => encrypt(end, &mut self.parts, None, output),
            End::Client(end) => encrypt(end, &mut self.parts, None, output),
        }
    }

    /// Whether application data cannot be exchanged yet.
    pub fn is_handshaking(&self) -> bool {
        match &self.end {
            End::Server(end) => end.is_handshaking(),
            End::Client(end) => end.is_handshaking(),
        }
    }

    /// Bytes of memory that a handshake takes which is not over: the parts of a message that is not whole yet,
    /// and what was said so far, as far as there is no room for it where the peer's chain will be.
    pub const fn parts(&self) -> usize {
        self.parts.capacity() + self.unsigned.saturating_sub(self.chain) as usize
    }

    /// Whether an earlier session was resumed (RFC 8446 §2.2).
    pub fn is_resumed(&self) -> bool {
        let kind = match &self.end {
            End::Server(end) => end.handshake_kind(),
            End::Client(end) => end.handshake_kind(),
        };
        kind == Some(HandshakeKind::Resumed)
    }

    /// What both ends agreed on, once they have.
    pub fn agreed(&self) -> Option<Agreed> {
        let suite = match &self.end {
            End::Server(end) => end.negotiated_cipher_suite(),
            End::Client(end) => end.negotiated_cipher_suite(),
        };
        Some(Agreed::on(suite?.suite()))
    }

    /// Looks up who the client is, once the handshake is over.
    pub fn identify(&mut self) {
        let certificates = match &self.end {
            End::Server(end) => end.peer_certificates(),
            End::Client(_) => None,
        };
        let shown = certificates.and_then(<[_]>::first);
        self.subject = shown.map(|leaf| subject_of(leaf).unwrap_or_default());
    }

    /// Whether the client showed a certificate, which is trusted then.
    pub const fn has_certificate(&self) -> bool {
        self.subject.is_some()
    }

    /// The subject of that certificate (RFC 4514), if it has one of at most `TLS_SUBJECT_MAX` bytes.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref().filter(|subject| !subject.is_empty())
    }
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session")
            .field("handshaking", &self.is_handshaking())
            .finish_non_exhaustive()
    }
}

/// Has rustls read `input`; how much of it is done with, and what it came to.
fn drive<P: Process>(
    end: &mut P,
    input: &mut [u8],
    output: &mut Output<'_>,
    deliver: &mut dyn FnMut(&[u8]),
) -> (usize, Result<Found, Failure>) {
    let mut taken = 0;
    let mut found = Found::default();
    loop {
        let UnbufferedStatus { mut discard, state } = end.process(&mut input[taken..]);
        let step = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    None => break Ok(true),
                    Some(Err(error)) => break Err(Failure::of(&error)),
                    Some(Ok(record)) => {
                        discard += record.discard;
                        found.bytes += record.payload.len();
                        deliver(record.payload);
                    }
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let encoded = data.encode(output.space()).map_err(|_| Failure::TooLarge);
                encoded.map(|n| output.grow(n)).map(|()| true)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // Whoever gave the output sends it.
                data.done();
                Ok(true)
            }
            Ok(ConnectionState::PeerClosed) => {
                found.closed = true;
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) => Err(Failure::of(&error)),
        };
        taken += discard;
        match step {
            Ok(true) => {}
            Ok(false) => return (taken, Ok(found)),
            Err(failure) => {
                alert(end, output);
                return (taken, Err(failure));
            }
        }
    }
}

/// Writes what is to be said before the end, the alert last. Nothing is read any more.
fn alert<P: Process>(end: &mut P, output: &mut Output<'_>) {
    while end.has_to_say()
        && let Ok(ConnectionState::EncodeTlsData(mut data)) = end.process(&mut []).state
        && let Ok(n) = data.encode(output.space())
    {
        output.grow(n);
    }
}

/// Encrypts `bytes`, or says that there will be none, behind what else is to be sent.
fn encrypt<P: Process>(
    end: &mut P,
    parts: &mut [u8],
    bytes: Option<&[u8]>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    loop {
        match end.process(parts).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let n = data.encode(output.space()).map_err(|_| Failure::TooLarge)?;
                output.grow(n);
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let written = match bytes {
                    Some(bytes) => traffic.encrypt(bytes, output.space()),
                    None => traffic.queue_close_notify(output.space()),
                };
                output.grow(written.map_err(|_| Failure::Other)?);
                return Ok(());
            }
            Ok(ConnectionState::PeerClosed) => {}
            Ok(_) => return Err(Failure::Other),
            Err(error) => return Err(Failure::of(&error)),
        }
    }
}

#[cfg(test)]
mod tests;

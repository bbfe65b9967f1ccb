//! The access log's way out of a worker: one record for each exchange that is over, copied into
//! a ring of bytes from which another thread takes it. No allocation, no lock, no system call;
//! a record that finds no room is dropped and counted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::id::{ListenerId, ServerId};
use base::limits;
use driver::Wake;
use exchange::{Piece, Pieces, REQUEST_ID_MAX, Refusal};
use rtrb::{Consumer, Producer, RingBuffer};
use wire::http1::Fault;

use tls::{Agreed, Failure};

use crate::counters::CloseReason;

/// What is told of one exchange.
#[derive(Clone, Debug)]
pub struct AccessRecord<'r> {
    /// When it was over.
    pub time: SystemTime,
    /// Where the client came in.
    pub listener: ListenerId,
    /// The client's address; `None` for one on a Unix socket.
    pub peer: Option<IpAddr>,
    /// How the client's connection is secured, if it is.
    pub tls: Option<Agreed>,
    /// The answer's status; 0 if there was none. 499 if there was none because the client left.
    pub status: u16,
    /// Bytes received of the request, head and body as they came.
    pub received: u64,
    /// Bytes sent to the client, heads included.
    pub sent: u64,
    /// From the request's first byte to the answer's last byte taken, or to the end.
    pub request_time: Duration,
    /// In the ready queue, all waits together.
    pub queue_time: Duration,
    /// With a lease, all leases together.
    pub upstream_time: Duration,
    /// The server that was asked last.
    pub server: Option<ServerId>,
    /// Whether its connection had carried a request before.
    pub reused: bool,
    /// How often the request went again.
    pub retries: u8,
    /// Why we answered in the server's stead.
    pub refusal: Option<Refusal>,
    /// Why the exchange was cut off, if it did not end with its answer taken whole.
    pub closed: Option<CloseReason>,
    /// By what name logs know the request; empty if it has none.
    pub request_id: &'r [u8],
    /// What was wrong with a request that is refused, or with TLS; empty if that says enough.
    pub detail: &'r [u8],
    /// What stands in `text`.
    pub pieces: Pieces,
    /// The pieces of the request's head.
    pub text: &'r [u8],
}

/// Bytes of a record's length, of its fixed part, and of a whole record beside its text.
const LENGTH: usize = 4;
const FIXED: usize = 6 * 8 + 2 * 4 + 17 + 2 + 2 + 6 + Pieces::BYTES;
const DETAIL_MAX: usize = 255;

// The longest record fits into the smallest ring.
const _: () = {
    let longest = LENGTH + FIXED + REQUEST_ID_MAX + DETAIL_MAX + limits::LOG_LINE_RANGE[1] as usize;
    assert!(longest <= limits::LOG_BUFFER_RANGE[0] as usize);
};

impl AccessRecord<'_> {
    /// A piece of the request's head, and whether it is only the beginning of it.
    pub fn piece(&self, piece: Piece) -> (&[u8], bool) {
        (self.pieces.get(piece, self.text), self.pieces.is_cut(piece))
    }

    /// The part whose length does not depend on what is told.
    fn fixed(&self) -> [u8; FIXED] {
        let mut bytes = [0; FIXED];
        let mut put = Put { bytes: &mut bytes, at: 0 };
        let since = self.time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        for time in [since, self.request_time, self.queue_time, self.upstream_time] {
            put.bytes(&u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
        }
        put.bytes(&self.received.to_le_bytes());
        put.bytes(&self.sent.to_le_bytes());
        put.bytes(&self.listener.0.to_le_bytes());
        put.bytes(&self.server.map_or(u32::MAX, |server| server.0).to_le_bytes());
        let (family, address) = match self.peer {
            None => (0, [0; 16]),
            Some(IpAddr::V4(four)) => (4, four.to_ipv6_mapped().octets()),
            Some(IpAddr::V6(six)) => (6, six.octets()),
        };
        put.bytes(&[family]);
        put.bytes(&address);
        put.bytes(&self.tls.map_or(0, Agreed::number).to_le_bytes());
        put.bytes(&self.status.to_le_bytes());
        let mark =
            |found: Option<usize>| found.map_or(u8::MAX, |at| u8::try_from(at).unwrap_or(u8::MAX));
        put.bytes(&[
            u8::from(self.reused),
            self.retries,
            mark(self.refusal.map(|refusal| refusal as usize)),
            mark(self.closed.map(|closed| closed as usize)),
            u8::try_from(self.request_id.len()).unwrap_or(0),
            u8::try_from(self.detail.len()).unwrap_or(0),
        ]);
        put.bytes(&self.pieces.to_bytes());
        debug_assert_eq!(put.at, FIXED);
        bytes
    }

    /// The record that these bytes are; `None` if they are none.
    fn read(bytes: &[u8]) -> Option<AccessRecord<'_>> {
        let mut take = Take(bytes);
        let mut nanos = || take.number().map(Duration::from_nanos);
        let (time, request_time, queue_time, upstream_time) =
            (nanos()?, nanos()?, nanos()?, nanos()?);
        let (received, sent) = (take.number()?, take.number()?);
        let listener = ListenerId(u32::from_le_bytes(take.array()?));
        let server = u32::from_le_bytes(take.array()?);
        let [family] = take.array()?;
        let address: [u8; 16] = take.array()?;
        let [.., a, b, c, d] = address;
        let tls = u16::from_le_bytes(take.array()?);
        let status = u16::from_le_bytes(take.array()?);
        let [reused, retries, refusal, closed, id, detail] = take.array()?;
        let pieces = Pieces::from_bytes(take.array()?);
        let (request_id, detail) = (take.slice(id)?, take.slice(detail)?);
        Some(AccessRecord {
            time: UNIX_EPOCH + time,
            listener,
            peer: match family {
                4 => Some(Ipv4Addr::new(a, b, c, d).into()),
                6 => Some(Ipv6Addr::from(address).into()),
                _ => None,
            },
            tls: (tls != 0).then(|| Agreed::from_number(tls)),
            status,
            received,
            sent,
            request_time,
            queue_time,
            upstream_time,
            server: (server != u32::MAX).then_some(ServerId(server)),
            reused: reused != 0,
            retries,
            refusal: Refusal::ALL.get(usize::from(refusal)).copied(),
            closed: CloseReason::ALL.get(usize::from(closed)).copied(),
            request_id,
            detail,
            pieces,
            text: take.0,
        })
    }
}

/// What is told of a fault, or of what ended a session: at most [`DETAIL_MAX`] bytes.
pub(crate) fn detail(fault: Option<Fault>, unsecured: Option<Failure>) -> &'static [u8] {
    let reason = fault.map_or("", Fault::reason);
    let reason = unsecured.map_or(reason, Failure::label).as_bytes();
    reason.get(..DETAIL_MAX).unwrap_or(reason)
}

/// Fills an array from its beginning.
struct Put<'b> {
    bytes: &'b mut [u8; FIXED],
    at: usize,
}

impl Put<'_> {
    fn bytes(&mut self, part: &[u8]) {
        self.bytes[self.at..self.at + part.len()].copy_from_slice(part);
        self.at += part.len();
    }
}

/// Reads bytes from their beginning.
struct Take<'b>(&'b [u8]);

impl<'b> Take<'b> {
    fn slice(&mut self, length: u8) -> Option<&'b [u8]> {
        let (part, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (part, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*part)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// The two ends of a ring of `bytes`. `wake` is called when half of it was filled since it was
/// called last.
pub fn access_ring(bytes: usize, wake: Arc<dyn Wake>) -> (AccessWriter, AccessReader) {
    let (producer, consumer) = RingBuffer::new(bytes);
    let writer = AccessWriter { ring: producer, wake, filled: 0 };
    (writer, AccessReader { ring: consumer, joined: Vec::new() })
}

/// A worker's end of a ring.
pub struct AccessWriter {
    ring: Producer<u8>,
    wake: Arc<dyn Wake>,
    /// Bytes written since the reader was woken last.
    filled: usize,
}

impl AccessWriter {
    /// Copies a record into the ring, whole or not at all. False if there was no room.
    pub(crate) fn write(&mut self, record: &AccessRecord<'_>) -> bool {
        let parts = [&record.fixed()[..], record.request_id, record.detail, record.text];
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let Ok(mut chunk) = self.ring.write_chunk(LENGTH + length) else { return false };
        let (mut first, mut second) = chunk.as_mut_slices();
        let prefix = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        for mut part in std::iter::once(&prefix[..]).chain(parts) {
            while !part.is_empty() {
                if first.is_empty() {
                    first = std::mem::take(&mut second);
                }
                let fits = part.len().min(first.len());
                let (place, rest) = first.split_at_mut(fits);
                place.copy_from_slice(&part[..fits]);
                (first, part) = (rest, &part[fits..]);
            }
        }
        chunk.commit_all();
        self.filled += LENGTH + length;
        if self.filled >= self.ring.buffer().capacity() / 2 {
            self.filled = 0;
            self.wake.wake();
        }
        true
    }
}

/// The other end of a ring.
pub struct AccessReader {
    ring: Consumer<u8>,
    /// Where a record is joined that lies around the ring's end.
    joined: Vec<u8>,
}

impl AccessReader {
    /// Shows the records that are there to `each`, until it answers false.
    pub fn drain(&mut self, mut each: impl FnMut(&AccessRecord<'_>) -> bool) {
        let Ok(chunk) = self.ring.read_chunk(self.ring.slots()) else { return };
        let (first, second) = chunk.as_slices();
        let mut done = 0;
        let mut more = true;
        while more {
            let mut prefix = [0; LENGTH];
            if !copy(first, second, done, &mut prefix) {
                break;
            }
            let start = done + LENGTH;
            let length = u32::from_le_bytes(prefix) as usize;
            let whole = if start >= first.len() {
                second.get(start - first.len()..start - first.len() + length)
            } else {
                first.get(start..start + length)
            };
            let bytes = if let Some(whole) = whole {
                whole
            } else {
                self.joined.resize(length, 0);
                if !copy(first, second, start, &mut self.joined) {
                    debug_assert!(false, "a record is committed whole");
                    break;
                }
                &self.joined
            };
            if let Some(record) = AccessRecord::read(bytes) {
                more = each(&record);
            } else {
                debug_assert!(false, "records are written as they are read");
            }
            done = start + length;
        }
        chunk.commit(done);
    }

    /// Whether nothing more will come: the worker is over, and all it wrote was read.
    pub fn is_over(&self) -> bool {
        // In this order: what was written before the end is seen after it.
        self.ring.is_abandoned() && self.ring.is_empty()
    }
}

/// Copies from two slices, as if they were one, from `at` on. False if they are shorter.
fn copy(first: &[u8], second: &[u8], at: usize, out: &mut [u8]) -> bool {
    let head = first.get(at..).unwrap_or_default();
    let taken = head.len().min(out.len());
    let behind = at.saturating_sub(first.len());
    let Some(tail) = second.get(behind..behind + out.len() - taken) else { return false };
    out[..taken].copy_from_slice(&head[..taken]);
    out[taken..].copy_from_slice(tail);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use exchange::Note;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn record(number: u64, text: &[u8], pieces: Pieces) -> AccessRecord<'_> {
        AccessRecord {
            time: UNIX_EPOCH + Duration::from_millis(number),
            listener: ListenerId(3),
            peer: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            tls: number.is_multiple_of(2).then(|| Agreed::from_number(0x1301)),
            status: 502,
            received: number,
            sent: u64::MAX,
            request_time: Duration::from_nanos(5),
            queue_time: Duration::from_secs(6),
            upstream_time: Duration::ZERO,
            server: Some(ServerId(0)),
            reused: true,
            retries: 1,
            refusal: Some(Refusal::Silent),
            closed: Some(CloseReason::Drain),
            request_id: b"a-b",
            detail: b"bad",
            pieces,
            text,
        }
    }

    fn told(record: &AccessRecord<'_>) -> String {
        format!("{record:?}")
    }

    #[test]
    fn what_is_written_is_read_wherever_it_lies_in_the_ring() {
        let (mut writer, mut reader) = access_ring(500, Arc::new(Woken::default()));
        let mut space = [0; 64];
        let mut pieces = Pieces::default();
        Note::new(&mut space, &mut pieces).write(None, [[b"GET", b"/ab"]; 6]);
        let text = &space[..pieces.len()];
        for number in 0..1000 {
            // Lengths differ, so that the ring's end comes at every place of a record.
            let text = &text[..text.len() - usize::try_from(number % 7).unwrap()];
            let wrote = record(number, text, pieces);
            assert!(writer.write(&wrote));
            let mut read = Vec::new();
            reader.drain(|record| {
                read.push(told(record));
                true
            });
            assert_eq!(read, [told(&wrote)]);
        }
    }

    #[test]
    fn every_kind_of_client_and_end_survives() {
        let (mut writer, mut reader) = access_ring(4096, Arc::new(Woken::default()));
        let four: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
        for peer in [None, Some(four), Some(Ipv6Addr::LOCALHOST.into())] {
            let ends = CloseReason::ALL.into_iter().map(Some).chain([None]);
            for (closed, refusal) in ends.zip(Refusal::ALL.into_iter().map(Some).chain([None])) {
                let mut wrote = record(1, b"", Pieces::default());
                (wrote.peer, wrote.closed, wrote.refusal, wrote.server) =
                    (peer, closed, refusal, None);
                assert!(writer.write(&wrote));
                reader.drain(|read| {
                    assert_eq!(told(read), told(&wrote));
                    true
                });
            }
        }
    }

    #[test]
    fn a_full_ring_takes_no_part_of_a_record_and_wakes_at_its_half() {
        let woken = Arc::new(Woken::default());
        let (mut writer, mut reader) = access_ring(1000, woken.clone());
        let mut written = 0u64;
        while writer.write(&record(written, b"", Pieces::default())) {
            written += 1;
        }
        assert!(written > 4);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        let mut read = 0;
        reader.drain(|record| {
            assert_eq!(record.received, read);
            read += 1;
            read < 2
        });
        assert!(writer.write(&record(written, b"", Pieces::default())), "there is room again");
        drop(writer);
        assert!(!reader.is_over());
        reader.drain(|record| {
            assert_eq!(record.received, read);
            read += 1;
            true
        });
        assert_eq!(read, written + 1);
        assert!(reader.is_over());
    }
}

//! A name server of our own, whose answers change as the test says.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What is answered for a name.
#[derive(Clone, Debug)]
enum Reply {
    /// These addresses, for so many seconds.
    Addresses(Vec<Ipv4Addr>, u32),
    /// That the server cannot answer.
    Failure,
}

/// A name server on a free UDP port of 127.0.0.1. Names nobody told it do not exist (NXDOMAIN).
/// Dropping it ends it.
pub struct Dns {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    replies: Mutex<HashMap<String, Reply>>,
    questions: AtomicUsize,
    over: AtomicBool,
}

impl Dns {
    /// One that knows no name yet.
    ///
    /// # Panics
    /// When no port is free.
    pub fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        let address = socket.local_addr().expect("a bound socket has an address").to_string();
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        std::thread::spawn(move || serve(&socket, &served));
        Self { address, shared }
    }

    /// `IP:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on a name stands for these addresses, for so many seconds.
    pub fn tell(&self, name: &str, addresses: &[Ipv4Addr], ttl: u32) {
        self.set(name, Reply::Addresses(addresses.to_vec(), ttl));
    }

    /// From now on questions for a name are answered with a failure.
    pub fn fail(&self, name: &str) {
        self.set(name, Reply::Failure);
    }

    fn set(&self, name: &str, reply: Reply) {
        let mut replies = self.shared.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.insert(name.to_lowercase(), reply);
    }

    /// Questions for IPv4 addresses so far.
    pub fn questions(&self) -> usize {
        self.shared.questions.load(Ordering::SeqCst)
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut datagram = [0; 512];
    while !shared.over.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
        if let Some(answer) = answer(&datagram[..length], shared) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The type of IPv4 addresses (RFC 1035 §3.2.2).
const A: u16 = 1;

/// The answer to a query of one question (RFC 1035 §4.1).
fn answer(query: &[u8], shared: &Shared) -> Option<Vec<u8>> {
    let (header, rest) = query.split_at_checked(12)?;
    let mut labels = Vec::new();
    let mut at = 0;
    while let length @ 1..=63 = usize::from(*rest.get(at)?) {
        labels.push(String::from_utf8_lossy(rest.get(at + 1..=at + length)?).to_lowercase());
        at += length + 1;
    }
    let question = rest.get(..at + 5)?;
    let kind = u16::from_be_bytes([rest[at + 1], rest[at + 2]]);
    shared.questions.fetch_add(usize::from(kind == A), Ordering::SeqCst);
    let replies = shared.replies.lock().unwrap_or_else(PoisonError::into_inner);
    let (code, addresses, ttl) = match replies.get(&labels.join(".")) {
        Some(Reply::Addresses(addresses, ttl)) if kind == A => (0, &addresses[..], *ttl),
        Some(Reply::Addresses(_, ttl)) => (0, &[][..], *ttl),
        Some(Reply::Failure) => (2, &[][..], 0),
        None => (3, &[][..], 0),
    };
    let count = u8::try_from(addresses.len()).ok()?;
    // A response, recursion desired and available; one question, the answers, nothing else.
    let mut message = header[..2].to_vec();
    message.extend([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    message.extend(question);
    for address in addresses {
        // The name of the question, type A, class IN.
        message.extend([0xC0, 12, 0, 1, 0, 1]);
        message.extend(ttl.to_be_bytes());
        message.extend([0, 4]);
        message.extend(address.octets());
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_what_it_was_told() {
        let dns = Dns::new();
        dns.tell("app.test", &[Ipv4Addr::new(127, 0, 0, 2)], 7);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ask = |name: &[u8]| {
            let query = [&[9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &[0, 0, 1, 0, 1]].concat();
            socket.send_to(&query, dns.address()).unwrap();
            let mut datagram = [0; 512];
            let length = socket.recv(&mut datagram).unwrap();
            datagram[..length].to_vec()
        };
        let answer = ask(b"\x03App\x04test");
        assert_eq!(answer[..8], [9, 9, 0x81, 0x80, 0, 1, 0, 1]);
        assert!(answer.ends_with(&[0, 0, 0, 7, 0, 4, 127, 0, 0, 2]));
        assert_eq!(ask(b"\x03app")[3], 0x83, "no such name");
        dns.fail("app.test");
        assert_eq!(ask(b"\x03app\x04test")[3], 0x82);
        assert_eq!(dns.questions(), 3);
    }
}

//! Clients that dribble: each sends its POST at a few bytes a second, reads the answer and
//! begins again. Each acts once a second, all of them spread evenly over it, and they begin in
//! the middle of their bodies, spread evenly too, so that the crowd is in its steady state at
//! once: at 40 B/s a 2 KiB body takes 51 s.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::address::connect_from_crowd;
use crate::answer::{Answer, find};
use crate::error::Outcome;
use crate::role::{orders, say};

/// How slowly how many send how much.
pub(crate) struct Pace {
    /// Clients.
    pub(crate) clients: usize,
    /// Bytes a second each.
    pub(crate) rate: usize,
    /// Bytes of a body.
    pub(crate) body: usize,
}

/// What became of the crowd's requests.
#[derive(Default)]
struct Report {
    /// Status codes of the answers that came whole.
    answers: BTreeMap<u16, usize>,
    /// Connections that ended without an answer, or could not be opened.
    lost: usize,
}

/// Dribbles until a line `stop` or the end of standard input; then says, in one line, what
/// became of the requests: `slow CODE=COUNT ... lost=COUNT sending=COUNT waiting=COUNT`.
pub(crate) fn dribble(target: SocketAddrV4, pace: &Pace) -> Outcome<()> {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    std::thread::spawn(move || {
        let _ = orders().find(|order| order == "stop");
        flag.store(true, Ordering::Relaxed);
    });
    let message = Message::new(target, pace.body);
    let mut crowd: Vec<Member> =
        (0..pace.clients).map(|number| Member::new(number, pace)).collect();
    let mut report = Report::default();
    say("ready")?;
    let start = Instant::now();
    let apart = Duration::from_secs(1) / u32::try_from(pace.clients.max(1))?;
    for turn in 0_u32.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let due = start + apart * turn;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let number = usize::try_from(turn)? % pace.clients.max(1);
        if let Some(member) = crowd.get_mut(number) {
            member.act(target, &message, pace.rate, &mut report);
        }
    }
    say(&summary(&crowd, &report, message.bytes.len()))
}

/// What every member sends.
struct Message {
    bytes: Vec<u8>,
    /// Bytes of the head.
    head: usize,
}

impl Message {
    fn new(target: SocketAddrV4, body: usize) -> Self {
        let head = format!(
            "POST /slow HTTP/1.1\r\nHost: {target}\r\nUser-Agent: bench\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {body}\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        let head = bytes.len();
        bytes.resize(head + body, b'b');
        Self { bytes, head }
    }

    /// Up to where a member sends next that has sent so much: first the head and a part of the
    /// body, though never all of it.
    fn until(&self, sent: usize, ahead: usize, rate: usize) -> usize {
        match sent {
            0 => (self.head + ahead).min(self.bytes.len().saturating_sub(1)),
            sent => (sent + rate).min(self.bytes.len()),
        }
    }
}

fn summary(crowd: &[Member], report: &Report, whole: usize) -> String {
    let answers = report.answers.iter().map(|(code, count)| format!("{code}={count} "));
    let answers: String = answers.collect();
    let waiting = crowd.iter().filter(|member| member.sent >= whole).count();
    let sending = crowd.len() - waiting;
    format!("slow {answers}lost={} sending={sending} waiting={waiting}", report.lost)
}

struct Member {
    number: usize,
    stream: Option<TcpStream>,
    /// Bytes of the message sent so far.
    sent: usize,
    /// Bytes of the body that go with the head this time.
    ahead: usize,
    received: Vec<u8>,
}

impl Member {
    fn new(number: usize, pace: &Pace) -> Self {
        // A stride without a common factor spreads neighbours far apart.
        let ahead =
            number.wrapping_mul(7919) % pace.clients.max(1) * pace.body / pace.clients.max(1);
        Self { number, stream: None, sent: 0, ahead, received: Vec::new() }
    }

    /// Once a second: takes what came, then sends its few bytes.
    fn act(&mut self, target: SocketAddrV4, message: &Message, rate: usize, report: &mut Report) {
        let Some(stream) = self.stream.as_mut() else {
            match connect_from_crowd(target, 0, self.number, false) {
                Ok(stream) => self.stream = Some(stream),
                Err(_) => report.lost += 1,
            }
            return;
        };
        let going = take(stream, &mut self.received) && self.answered(message, report);
        if !(going && self.send(message, rate)) {
            report.lost += 1;
            self.restart();
        }
    }

    /// Looks for the answer; false when the connection cannot go on though none came whole.
    fn answered(&mut self, message: &Message, report: &mut Report) -> bool {
        match find(&self.received) {
            Answer::Incomplete => true,
            Answer::Broken => false,
            Answer::Complete { status, closes, .. } => {
                *report.answers.entry(status).or_default() += 1;
                let keeps = !closes && self.sent == message.bytes.len();
                let stream = self.stream.take();
                self.restart();
                self.stream = stream.filter(|_| keeps);
                true
            }
        }
    }

    fn restart(&mut self) {
        self.stream = None;
        self.sent = 0;
        self.ahead = 0;
        self.received.clear();
    }

    /// Sends the head and what goes with it, or the next few bytes; false when nobody takes
    /// them. A connection that is not there yet sends nothing.
    fn send(&mut self, message: &Message, rate: usize) -> bool {
        let Some(stream) = self.stream.as_mut() else { return true };
        let until = message.until(self.sent, self.ahead, rate);
        let Some(piece) = message.bytes.get(self.sent..until).filter(|piece| !piece.is_empty())
        else {
            return true;
        };
        match stream.write(piece) {
            Ok(sent) => {
                self.sent += sent;
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected),
        }
    }
}

/// Receives what there is; false when the connection has ended.
fn take(stream: &mut TcpStream, received: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes) {
        Ok(0) => false,
        Ok(length) => {
            received.extend_from_slice(bytes.get(..length).unwrap_or_default());
            true
        }
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener};

    #[test]
    fn a_message_is_sent_from_end_to_end() {
        let message = Message::new("127.0.0.1:80".parse().unwrap(), 100);
        for ahead in [0, 50, 100] {
            let mut sent = message.until(0, ahead, 40);
            assert!(sent >= message.head && sent < message.bytes.len(), "{ahead}");
            while sent < message.bytes.len() {
                let next = message.until(sent, ahead, 40);
                assert!(next > sent && next - sent <= 40);
                sent = next;
            }
        }
    }

    #[test]
    fn a_member_dribbles_reads_its_answer_and_begins_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(target) = listener.local_addr().unwrap() else { panic!("IPv4") };
        let pace = Pace { clients: 1, rate: 40, body: 100 };
        let message = Message::new(target, pace.body);
        let (mut member, mut report) = (Member::new(0, &pace), Report::default());
        member.act(target, &message, pace.rate, &mut report);
        let (mut server, _) = listener.accept().unwrap();
        for _ in 0..4 {
            member.act(target, &message, pace.rate, &mut report);
        }
        let mut request = vec![0; message.bytes.len()];
        server.read_exact(&mut request).unwrap();
        assert!(request == message.bytes);
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(50));
            member.act(target, &message, pace.rate, &mut report);
        }
        assert_eq!((report.answers.get(&200), report.lost), (Some(&1), 0));
        assert!(member.sent >= message.head, "the next request has begun on the same connection");
        drop(server);
        std::thread::sleep(Duration::from_millis(50));
        member.act(target, &message, pace.rate, &mut report);
        assert_eq!(report.lost, 1);
    }
}

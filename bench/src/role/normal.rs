//! Clients with a schedule (an open loop): a request is due when its time has come, whether or
//! not the one before was answered, and its latency counts from that time; a server that
//! stalls cannot hide it by being asked less.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use crate::answer::{Answer, find};
use crate::error::{Outcome, failure};
use crate::role::say;
use crate::statistics::percentile;

/// Who asks how often for how long.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Clients.
    pub(crate) clients: usize,
    /// From one request of a client to its next.
    pub(crate) interval: Duration,
    /// From the first request to the last.
    pub(crate) lasting: Duration,
    /// How long an answer may take.
    pub(crate) patience: Duration,
}

/// Asks for as long as the pace says, then says in one line what happened:
/// `normal requests=N errors=N p50_us=N p99_us=N max_us=N`. A request that failed counts with
/// the whole patience, or what it took if that is longer.
pub(crate) fn ask(target: SocketAddrV4, pace: &Pace) -> Outcome<()> {
    let start = Instant::now() + Duration::from_millis(50);
    let clients: Vec<_> = (0..pace.clients)
        .map(|number| {
            let (pace, offset) = (*pace, share(pace, number));
            std::thread::spawn(move || Client::new(target, &pace).run(start + offset, &pace))
        })
        .collect();
    let mut all = Record::default();
    for client in clients {
        let record = client.join().map_err(|_| failure("a client panicked"))?;
        all.latencies.extend(record.latencies);
        all.errors += record.errors;
    }
    all.latencies.sort_unstable();
    say(&format!(
        "normal requests={} errors={} p50_us={} p99_us={} max_us={}",
        all.latencies.len(),
        all.errors,
        percentile(&all.latencies, 0.5),
        percentile(&all.latencies, 0.99),
        percentile(&all.latencies, 1.0)
    ))
}

/// Where in the interval a client's requests are due: spread evenly.
fn share(pace: &Pace, number: usize) -> Duration {
    let number = u32::try_from(number).unwrap_or_default();
    pace.interval * number / u32::try_from(pace.clients.max(1)).unwrap_or(u32::MAX)
}

#[derive(Default)]
struct Record {
    /// Microseconds from when a request was due to its answer's last byte.
    latencies: Vec<u64>,
    errors: usize,
}

struct Client {
    target: SocketAddrV4,
    request: String,
    patience: Duration,
    stream: Option<TcpStream>,
}

impl Client {
    fn new(target: SocketAddrV4, pace: &Pace) -> Self {
        let request =
            format!("GET /normal HTTP/1.1\r\nHost: {target}\r\nUser-Agent: bench\r\n\r\n");
        Self { target, request, patience: pace.patience, stream: None }
    }

    fn run(mut self, first: Instant, pace: &Pace) -> Record {
        let mut record = Record::default();
        let mut due = first;
        while due < first + pace.lasting {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let answered = self.exchange(due + self.patience).is_some();
            let mut latency = due.elapsed();
            if !answered {
                record.errors += 1;
                latency = latency.max(self.patience);
                self.stream = None;
            }
            record.latencies.push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
            due += pace.interval;
        }
        record
    }

    /// One request and its answer; none when it failed or took too long.
    fn exchange(&mut self, end: Instant) -> Option<()> {
        if self.stream.is_none() {
            let left = left(end)?;
            let stream = TcpStream::connect_timeout(&self.target.into(), left).ok()?;
            stream.set_nodelay(true).ok()?;
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut()?;
        stream.write_all(self.request.as_bytes()).ok()?;
        let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            stream.set_read_timeout(Some(left(end)?)).ok()?;
            match stream.read(&mut piece) {
                Ok(length) if length > 0 => bytes.extend_from_slice(piece.get(..length)?),
                _ => return None,
            }
            match find(&bytes) {
                Answer::Incomplete => {}
                Answer::Complete { status: 200, closes, .. } => {
                    self.stream = self.stream.take().filter(|_| !closes);
                    return Some(());
                }
                _ => return None,
            }
        }
    }
}

/// The time left until then, at least a moment; none when it is over.
fn left(end: Instant) -> Option<Duration> {
    end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener};

    const PACE: Pace = Pace {
        clients: 2,
        interval: Duration::from_millis(20),
        lasting: Duration::from_millis(90),
        patience: Duration::from_millis(300),
    };

    fn listener() -> (TcpListener, SocketAddrV4) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(target) = listener.local_addr().unwrap() else { panic!("IPv4") };
        (listener, target)
    }

    #[test]
    fn every_due_request_is_recorded() {
        let (listener, target) = listener();
        std::thread::spawn(move || {
            let (mut server, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            while server.read(&mut request).unwrap_or_default() > 0 {
                let _ = server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let record = Client::new(target, &PACE).run(Instant::now(), &PACE);
        assert_eq!((record.latencies.len(), record.errors), (5, 0));
    }

    #[test]
    fn silence_counts_as_an_error_of_the_whole_patience() {
        let (_listener, target) = listener();
        let record = Client::new(target, &PACE).run(Instant::now(), &PACE);
        assert_eq!((record.latencies.len(), record.errors), (5, 5));
        assert!(record.latencies.iter().all(|&latency| latency >= 300_000));
    }
}

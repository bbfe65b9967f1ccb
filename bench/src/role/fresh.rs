//! Clients that open a connection for each request, which says `Connection: close`, and read
//! until its end.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};

use crate::answer::{Answer, find};
use crate::error::{Outcome, While, failure};
use crate::role::say;

/// How many ask for how long.
pub(crate) struct Pace {
    /// Connections at once.
    pub(crate) clients: usize,
    /// When no further request is sent.
    pub(crate) lasting: Duration,
    /// How many requests are sent at most.
    pub(crate) requests: u64,
}

/// Asks for as long as the pace says, then says in one line what happened: `fresh requests=N`,
/// all of which were answered 200 and whole. Anything else is a failure.
///
/// The oldest connection is waited for, and a new one takes its place: five system calls a
/// request, so that the core this runs on is not what limits the proxy.
pub(crate) fn ask(target: SocketAddrV4, pace: &Pace) -> Outcome<()> {
    let request = format!(
        "GET /fresh HTTP/1.1\r\nHost: {target}\r\nUser-Agent: bench\r\nConnection: close\r\n\r\n"
    );
    let mut waiting: VecDeque<TcpStream> = VecDeque::with_capacity(pace.clients);
    let end = Instant::now() + pace.lasting;
    let (mut sent, mut answered) = (0, 0);
    loop {
        let goes_on = sent < pace.requests && Instant::now() < end;
        if goes_on && waiting.len() < pace.clients {
            let mut stream = TcpStream::connect(target).doing("connecting")?;
            stream.write_all(request.as_bytes()).doing("sending")?;
            waiting.push_back(stream);
            sent += 1;
        } else if let Some(oldest) = waiting.pop_front() {
            finish(&oldest)?;
            answered += 1;
        } else {
            break;
        }
    }
    say(&format!("fresh requests={answered}"))
}

/// Reads until the connection ends.
fn finish(stream: &TcpStream) -> Outcome<()> {
    let mut bytes = [0; 4096];
    let (received, _) =
        recv(stream, bytes.as_mut_slice(), RecvFlags::WAITALL).doing("receiving")?;
    match find(bytes.get(..received).unwrap_or_default()) {
        Answer::Complete { status: 200, length, .. } if length == received => Ok(()),
        answer => Err(failure(format!("a connection ended with {answer:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};

    fn serve(response: &'static [u8]) -> SocketAddrV4 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(target) = listener.local_addr().unwrap() else { panic!("IPv4") };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let mut request = [0; 1024];
                let length = client.read(&mut request).unwrap();
                assert!(request[..length].ends_with(b"\r\n\r\n"));
                client.write_all(response).unwrap();
            }
        });
        target
    }

    const PACE: Pace = Pace { clients: 3, lasting: Duration::from_mins(1), requests: 10 };

    #[test]
    fn every_request_has_a_connection_of_its_own() {
        let target = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert!(ask(target, &PACE).is_ok());
    }

    #[test]
    fn a_cut_or_refusing_answer_is_a_failure() {
        for response in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"[..],
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
            b"",
        ] {
            assert!(ask(serve(response), &PACE).is_err());
        }
    }
}

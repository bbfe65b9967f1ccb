//! A server in a process of its own: it can be killed and stopped by its id, and told by a line
//! on its standard input to misbehave or to behave.

use std::io::{self, BufRead, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use blackbox::message::{Reader, Request};
use blackbox::random::Random;
use blackbox::stream::Stream;
use rustix::net::sockopt::set_socket_linger;

use crate::endless::{self, Parting};

/// What a server may be told.
#[derive(Debug, Default)]
struct Mood {
    /// One request in so many meets a fault; 0 for none.
    fault_in: AtomicU32,
    /// Connections older than this word are reset.
    resets: AtomicU64,
}

/// The body that a client gets for this target: `/bytes/LENGTH/SEED`.
pub(crate) fn body_of(target: &str) -> Option<Vec<u8>> {
    let mut parts = target.strip_prefix("/bytes/")?.split('/');
    let length: usize = parts.next()?.parse().ok()?;
    let seed: u64 = parts.next()?.parse().ok()?;
    Some(bytes(length, seed))
}

/// Bytes that depend on nothing but these two.
pub(crate) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut all = Vec::with_capacity(length + 8);
    while all.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_le_bytes());
    }
    all.truncate(length);
    all
}

/// Serves until standard input ends.
pub(crate) fn serve(address: &str) -> ExitCode {
    let Ok(listener) = TcpListener::bind(address) else { return ExitCode::FAILURE };
    let mood = Arc::new(Mood::default());
    let theirs = Arc::clone(&mood);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mood = Arc::clone(&theirs);
            std::thread::spawn(move || drop(converse(stream, &mood)));
        }
    });
    println!("listening");
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("faults", one_in)) => {
                mood.fault_in.store(one_in.parse().unwrap_or(0), SeqCst);
            }
            _ => drop(mood.resets.fetch_add(1, SeqCst)),
        }
    }
    ExitCode::SUCCESS
}

fn converse(stream: std::net::TcpStream, mood: &Mood) -> io::Result<()> {
    let mut stream = Stream::Tcp(stream).ready()?;
    stream.set_timeout(Duration::from_hours(1))?;
    let writing = stream.try_clone()?;
    let born = mood.resets.load(SeqCst);
    let mut random = Random::new(
        rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_nsec.unsigned_abs(),
    );
    let mut reader = Reader::new(stream.try_clone()?);
    while let Some(request) = reader.request()? {
        let fault_in = mood.fault_in.load(SeqCst) as usize;
        let faulty = fault_in > 0 && random.once_in(fault_in);
        if mood.resets.load(SeqCst) != born || (faulty && random.once_in(4)) {
            let _ = set_socket_linger(&writing, Some(Duration::ZERO));
            return Ok(());
        }
        if faulty {
            return misbehave(&request, &mut random, &mut stream);
        }
        if endless::is_endless(request.target()) {
            let moved = || mood.resets.load(SeqCst) != born;
            if endless::serve(&request, &mut stream, moved)? == Parting::Reset {
                let _ = set_socket_linger(&writing, Some(Duration::ZERO));
                return Ok(());
            }
            if !request.target().ends_with("/done") {
                return Ok(());
            }
            continue;
        }
        answer(&request, &mut random, &mut stream)?;
    }
    Ok(())
}

/// The right answer, framed one way or the other.
fn answer(request: &Request, random: &mut Random, stream: &mut Stream) -> io::Result<()> {
    let body = body_of(request.target()).unwrap_or_else(|| request.body.clone());
    let mark = request.head.get("x-mark").unwrap_or_default();
    let whom = request.head.get("x-forwarded-for").unwrap_or_default();
    let known = format!("X-Mark: {mark}\r\nX-Whom: {whom}");
    if random.once_in(3) {
        let head = format!("HTTP/1.1 200 OK\r\n{known}\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        for piece in random.cut(&body, 5) {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
            stream.write_all(piece)?;
            stream.write_all(b"\r\n")?;
        }
        return stream.write_all(b"0\r\n\r\n");
    }
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\n{known}\r\nContent-Length: {length}\r\n\r\n");
    let mut all = head.into_bytes();
    all.extend_from_slice(&body);
    stream.write_all(&all)
}

/// Something that no server should do, and then the end.
fn misbehave(request: &Request, random: &mut Random, stream: &mut Stream) -> io::Result<()> {
    if request.head.get("x-forwarded-for").is_none() {
        // It was passed through: nothing stands between that would make another answer of it.
        return Ok(());
    }
    let body = body_of(request.target()).unwrap_or_else(|| request.body.clone());
    let length = body.len();
    let cut = random.below(length.max(1));
    match random.below(7) {
        // Less than was promised.
        0 => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", length + 7);
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body[..cut])
        }
        1 => stream.write_all(b"\x00\x01nonsense\r\n\r\n"),
        2 => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n";
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body[..cut])
        }
        3 => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le"),
        // A protocol that nobody asked for.
        5 => stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
        ),
        // Silence for a while.
        4 => {
            std::thread::sleep(Duration::from_millis(100 * random.below(60) as u64));
            Ok(())
        }
        _ => {
            stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
    }
}

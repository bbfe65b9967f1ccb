//! Visits of HTTP clients, over whatever way they come in.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use crate::clients::Guest;
use crate::scene::{Ask, is_wait};

/// Clients that stay connected and rarely ask; of TLS fewer, as each has a session.
const PARKED: [usize; 2] = [1000, 300];

pub(crate) fn parked(guest: &mut Guest) -> io::Result<()> {
    let many = PARKED[usize::from(guest.is_sealed())];
    while guest.clients.len() < many && !guest.scene.has_ended() {
        let client = guest.connect()?;
        guest.clients.push(client);
    }
    guest.rest(40);
    let which = guest.random.below(guest.clients.len());
    let length = guest.random.length(3000);
    let ask = guest.get(length);
    let mut client = guest.clients.swap_remove(which);
    guest.ask(&mut client, &ask)?;
    if !guest.random.once_in(20) {
        guest.clients.push(client);
    }
    Ok(())
}

pub(crate) fn polite(guest: &mut Guest) -> io::Result<()> {
    guest.rest(30);
    let mut client = match guest.clients.pop() {
        Some(client) => client,
        None => guest.connect()?,
    };
    let length = guest.random.length(20_000);
    let ask = if guest.random.once_in(2) { guest.get(length) } else { guest.post(length) };
    guest.ask(&mut client, &ask)?;
    if !guest.random.once_in(50) {
        guest.clients.push(client);
    }
    Ok(())
}

pub(crate) fn slow_writer(guest: &mut Guest) -> io::Result<()> {
    let mut client = guest.connect()?;
    let length = 2000 + guest.random.below(8000);
    let mut ask = guest.post(length);
    ask.calm = false;
    for piece in ask.bytes.chunks(200) {
        if client.stream().has_news() || client.try_send(piece).is_err() {
            break;
        }
        guest.rest(40);
    }
    let answer = client.try_response();
    guest.answered(&ask, answer)
}

pub(crate) fn slow_reader(guest: &mut Guest) -> io::Result<()> {
    let mut client = guest.connect()?;
    // One that is slow in every way takes less, so that it comes to its end.
    let most = if guest.random.once_in(3) {
        client.stream().receive_little();
        100_000
    } else {
        4_000_000
    };
    let length = 50_000 + guest.random.below(most);
    let mut ask = guest.get(length);
    // Under pressure it may be cut off.
    ask.calm = false;
    client.try_send(&ask.bytes)?;
    guest.rest(4000);
    let answer = client.try_response();
    guest.answered(&ask, answer)
}

/// Leaves with a reset, somewhere in its request or in the answer.
pub(crate) fn aborting(guest: &mut Guest) -> io::Result<()> {
    let mut client = guest.connect()?;
    guest.rest(20);
    let length = guest.random.length(300_000);
    let ask = if guest.random.once_in(2) { guest.get(length) } else { guest.post(length) };
    let all = ask.bytes.len();
    let cut = if guest.random.once_in(2) { all } else { guest.random.below(all) };
    client.try_send(&ask.bytes[..cut])?;
    if cut == all && guest.random.once_in(2) {
        let _ = client.reader().skip(guest.random.below(ask.body.len() / 2 + 1));
    }
    guest.right();
    if guest.random.once_in(4) {
        drop(client);
    } else {
        client.reset();
    }
    Ok(())
}

pub(crate) fn pipelining(guest: &mut Guest) -> io::Result<()> {
    let mut client = guest.connect()?;
    guest.rest(100);
    let mut asks: Vec<Ask> = Vec::new();
    for _ in 0..10 {
        let length = guest.random.length(5000);
        asks.push(guest.get(length));
    }
    let all: Vec<u8> = asks.iter().flat_map(|ask| ask.bytes.iter().copied()).collect();
    client.try_send(all)?;
    for ask in &asks {
        let answer = client.try_response();
        guest.answered(ask, answer)?;
    }
    Ok(())
}

/// A large body either way at the same time.
pub(crate) fn big(guest: &mut Guest) -> io::Result<()> {
    let mut client = guest.connect()?;
    guest.rest(500);
    let length = 500_000 + guest.random.below(4_000_000);
    let ask = guest.post(length);
    guest.ask(&mut client, &ask)
}

const NONSENSE: [&[u8]; 8] = [
    b"\x00\x01\x02\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
];

pub(crate) fn malformed(guest: &mut Guest) -> io::Result<()> {
    let mut client = guest.connect()?;
    guest.rest(100);
    let which = guest.random.below(NONSENSE.len());
    let _ = client.try_send(NONSENSE[which]);
    match client.try_response() {
        Ok(answer) if answer.status < 400 => {
            guest.scene.wrong(format!("nonsense {which} was answered {}", answer.status));
        }
        Err(error) if is_wait(&error) => {
            guest.scene.wrong(format!("nonsense {which} got neither an answer nor an end"));
        }
        _ => guest.right(),
    }
    Ok(())
}

/// Never ends its head: it is told so, and closed.
pub(crate) fn half_head(guest: &mut Guest) -> io::Result<()> {
    let mut client = guest.connect()?;
    client.try_send("GET / HTTP/1.1\r\nHost: soak\r\nX-Mark: ")?;
    for _ in 0..80 {
        if guest.scene.has_ended() {
            return Ok(());
        }
        if client.stream().has_news() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let _ = client.stream().write(b"y");
    match client.try_response() {
        Ok(answer) if answer.status == 408 => guest.right(),
        // Whoever holds a buffer and does nothing may lose it without a word to write it in.
        Ok(answer) if answer.status == 503 => {}
        Ok(answer) => guest.scene.wrong(format!("half a head was answered {}", answer.status)),
        Err(error) if is_wait(&error) => {
            guest.scene.wrong("half a head got neither an answer nor an end".to_owned());
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Asks five times in a row.
pub(crate) fn loyal(guest: &mut Guest) -> io::Result<()> {
    guest.rest(100);
    let mut client = guest.connect()?;
    for _ in 0..5 {
        let length = guest.random.length(100_000);
        let ask = guest.post(length);
        guest.ask(&mut client, &ask)?;
        guest.rest(50);
    }
    Ok(())
}

//! Both ends of tunnels. Memory: clients that ask for another protocol and stay, before a server
//! that switches; they are served strictly in turn, so that neither watches anything. Throughput: a
//! server that sends without end, and clients that take it.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::error::{Outcome, failure};
use crate::role::{end_with_input, orders, say};

const ASK: &[u8] = b"GET /chat HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// A frame with a text of two letters, unmasked.
const FRAME: &[u8] = b"\x81\x02hi";

/// Switches so many connections, in the order they come, and echoes a frame of each, round after
/// round.
pub(crate) fn switch(address: SocketAddrV4, clients: usize) -> Outcome<()> {
    let listener = listen(address)?;
    end_with_input();
    let mut crowd: Vec<TcpStream> = Vec::with_capacity(clients);
    for _ in 0..clients {
        let (mut client, _) = listener.accept()?;
        client.set_nodelay(true)?;
        read_head(&mut client)?;
        client.write_all(SWITCHED)?;
        echo(&mut client)?;
        crowd.push(client);
    }
    loop {
        for client in &mut crowd {
            echo(client)?;
        }
    }
}

/// Opens so many tunnels at the first line `round`, and exchanges a frame on each at every one.
pub(crate) fn talk(target: SocketAddrV4, clients: usize) -> Outcome<()> {
    say("ready")?;
    let mut crowd: Vec<TcpStream> = Vec::with_capacity(clients);
    for order in orders() {
        if order != "round" {
            continue;
        }
        while crowd.len() < clients {
            let mut client = TcpStream::connect(target)?;
            client.set_nodelay(true)?;
            client.write_all(ASK)?;
            let head = read_head(&mut client)?;
            if !head.starts_with(b"HTTP/1.1 101 ") {
                return Err(failure(String::from_utf8_lossy(&head).into_owned()));
            }
            exchange(&mut client)?;
            crowd.push(client);
        }
        for client in &mut crowd {
            exchange(client)?;
        }
        say(&format!("round {}", crowd.len()))?;
    }
    Ok(())
}

/// Sends zeros to everybody, without end.
pub(crate) fn flood(address: SocketAddrV4) -> Outcome<()> {
    let listener = listen(address)?;
    end_with_input();
    for client in listener.incoming() {
        let mut client = client?;
        std::thread::spawn(move || {
            let zeros = vec![0; 1 << 18];
            while client.write_all(&zeros).is_ok() {}
        });
    }
    Ok(())
}

/// Takes what is sent, on so many connections, for so long.
pub(crate) fn drink(target: SocketAddrV4, clients: usize, lasting: Duration) -> Outcome<()> {
    let end = Instant::now() + lasting;
    let taken = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let Ok(mut stream) = TcpStream::connect(target) else { return };
                let mut space = vec![0; 1 << 18];
                while Instant::now() < end {
                    let Ok(read @ 1..) = stream.read(&mut space) else { return };
                    taken.fetch_add(read as u64, Ordering::Relaxed);
                }
            });
        }
    });
    say(&format!("drink bytes={}", taken.into_inner()))
}

fn listen(address: SocketAddrV4) -> Outcome<TcpListener> {
    let listener = TcpListener::from(Address::Tcp(address).listen()?);
    listener.set_nonblocking(false)?;
    say("ready")?;
    Ok(listener)
}

fn read_head(stream: &mut TcpStream) -> Outcome<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(head)
}

fn echo(client: &mut TcpStream) -> Outcome<()> {
    let mut frame = [0; FRAME.len()];
    if client.read_exact(&mut frame).is_err() {
        // The crowd has gone: the bench ends this process next.
        loop {
            std::thread::park();
        }
    }
    Ok(client.write_all(&frame)?)
}

fn exchange(client: &mut TcpStream) -> Outcome<()> {
    client.write_all(FRAME)?;
    let mut frame = [0; FRAME.len()];
    client.read_exact(&mut frame)?;
    if frame == FRAME { Ok(()) } else { Err(failure("another frame came back")) }
}

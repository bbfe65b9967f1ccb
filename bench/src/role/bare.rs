//! The other half of a pair of plain sockets: what kernel memory a connection costs with
//! nothing watching it. Clients are served strictly in turn, as `hold` brings them.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};

use crate::address::Address;
use crate::error::Outcome;
use crate::role::{end_with_input, say};

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Serves so many clients, round after round, until standard input ends.
pub(crate) fn serve(address: SocketAddrV4, clients: usize) -> Outcome<()> {
    let listener = Address::Tcp(address).listen()?;
    let listener = std::net::TcpListener::from(listener);
    listener.set_nonblocking(false)?;
    say("ready")?;
    end_with_input();
    let mut crowd: Vec<TcpStream> = Vec::with_capacity(clients);
    for _ in 0..clients {
        let (mut client, _) = listener.accept()?;
        answer(&mut client)?;
        crowd.push(client);
    }
    loop {
        for client in &mut crowd {
            answer(client)?;
        }
    }
}

/// Waits for a request, which arrives in one piece, and answers it.
fn answer(client: &mut TcpStream) -> Outcome<()> {
    let mut request = [0; 1024];
    let length = client.read(&mut request)?;
    if length == 0 {
        // The crowd has gone: the bench ends this process next.
        loop {
            std::thread::park();
        }
    }
    Ok(client.write_all(RESPONSE)?)
}

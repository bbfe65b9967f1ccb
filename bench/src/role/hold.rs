//! Clients that stay: each exchanges a request when told and is idle otherwise. Plain blocking
//! sockets, registered nowhere, so that the kernel's share of this side is a socket and no more.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use crate::address::connect_from_crowd;
use crate::answer::{Answer, find};
use crate::error::{Outcome, While, failure};
use crate::role::secret::{self, Line, Secret};
use crate::role::{orders, say};

/// Obeys until standard input ends: at each line `round` every client, connected at the first,
/// exchanges one request; the answer is `round N`, N being the clients that were answered 200.
pub(crate) fn hold(
    (target, tls): (SocketAddrV4, bool),
    clients: usize,
    batch: usize,
    net: u8,
) -> Outcome<()> {
    let request = format!("GET / HTTP/1.1\r\nHost: {target}\r\nUser-Agent: bench\r\n\r\n");
    let connector = tls.then(secret::connector).transpose()?;
    let mut crowd: Vec<Line> = Vec::with_capacity(clients);
    say("ready")?;
    for order in orders() {
        if order != "round" {
            return Err(failure(format!("`{order}` is no order")));
        }
        let mut answered = 0;
        for first in (0..clients).step_by(batch.max(1)) {
            let range = first..clients.min(first + batch);
            for number in range.clone().skip(crowd.len().saturating_sub(first)) {
                let stream = connect(target, net, number)?;
                crowd.push(match &connector {
                    None => Line::Plain(stream),
                    Some(connector) => Line::Secret(Box::new(Secret::new(stream, connector)?)),
                });
            }
            let members = crowd.get_mut(range).ok_or_else(|| failure("a client is missing"))?;
            answered += exchange(members, request.as_bytes());
        }
        say(&format!("round {answered}"))?;
    }
    Ok(())
}

fn connect(target: SocketAddrV4, net: u8, number: usize) -> Outcome<TcpStream> {
    let stream =
        connect_from_crowd(target, net, number, true).doing(&format!("client {number}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// All of them send, then all of them read; how many were answered 200 and may stay.
fn exchange(members: &mut [Line], request: &[u8]) -> usize {
    let sent: Vec<bool> =
        members.iter_mut().map(|member| member.write_all(request).is_ok()).collect();
    let pairs = members.iter_mut().zip(sent);
    pairs.filter_map(|(member, sent)| (sent && answered(member)).then_some(())).count()
}

fn answered(member: &mut Line) -> bool {
    let mut bytes = [0; 8 * 1024];
    let mut length = 0;
    loop {
        let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) else {
            return false;
        };
        match member.read(room) {
            Ok(more) if more > 0 => length += more,
            _ => return false,
        }
        match find(bytes.get(..length).unwrap_or_default()) {
            Answer::Incomplete => {}
            answer => {
                return answer == Answer::Complete { status: 200, length, closes: false };
            }
        }
    }
}

//! Visits that go on as a tunnel: bytes both ways, and an end at any of them, by either side.

use std::io::{self, Read};

use blackbox::client::Client;

use crate::clients::Guest;
use crate::endless::Parting;
use crate::scene::{Ask, is_wait};
use crate::server;

/// Most bytes that are under way in an echo at one time: a client that says them all before it
/// hears must not be waited for by a server that does the same.
const ROUND: usize = 60_000;

/// One tunnel.
pub(crate) fn visit(guest: &mut Guest) -> io::Result<()> {
    guest.rest(50);
    match guest.random.below(4) {
        0 => flood(guest),
        1 => server_goes(guest, Parting::End),
        2 => server_goes(guest, Parting::Reset),
        _ => echo(guest),
    }
}

/// The way to a tunnel; none if another answer came.
fn begin(guest: &mut Guest, ask: &Ask) -> io::Result<Option<Client>> {
    let mut client = guest.connect()?;
    client.try_send(&ask.bytes)?;
    let answer = client.try_response();
    Ok(guest.begins(ask, answer)?.then_some(client))
}

/// Something of a tunnel's went wrong: that is told of if nothing may.
fn failed(guest: &Guest, ask: &Ask, what: &str, error: io::Error) -> io::Error {
    if ask.calm || is_wait(&error) {
        guest.scene.wrong(format!("a tunnel, {what}: {error}"));
    }
    error
}

/// Says things, hears them again, and goes: at the end of a round, in the middle, or in order.
fn echo(guest: &mut Guest) -> io::Result<()> {
    let ask = guest.scene.switch("/tunnel/echo");
    let Some(mut client) = begin(guest, &ask)? else { return Ok(()) };
    for _ in 0..guest.random.below(6) {
        let length = guest.random.length(ROUND);
        let said = guest.random.bytes(length);
        let mut said_all = || client.send_cut(&said, &mut guest.random, 5);
        said_all().map_err(|error| failed(guest, &ask, "speaking", error))?;
        if guest.random.once_in(8) {
            guest.right();
            if guest.random.once_in(2) {
                client.reset();
            }
            return Ok(());
        }
        let heard = hear(&mut client, said.len());
        let heard = heard.map_err(|error| failed(guest, &ask, "hearing", error))?;
        if heard != said {
            guest.scene.wrong(format!("a tunnel: other bytes than the {length} that were said"));
        }
        guest.rest(30);
    }
    client.end();
    let rest = client.reader().rest().map_err(|error| failed(guest, &ask, "ending", error))?;
    if !rest.is_empty() {
        guest.scene.wrong(format!("a tunnel: {} bytes that nobody said", rest.len()));
    }
    guest.right();
    Ok(())
}

/// So many bytes.
fn hear(client: &mut Client, length: usize) -> io::Result<Vec<u8>> {
    let mut heard = client.reader().kept().to_vec();
    let kept = heard.len();
    client.reader().skip(kept)?;
    heard.resize(length.max(kept), 0);
    client.stream().read_exact(&mut heard[kept..])?;
    Ok(heard)
}

/// The server ends, or breaks off, before it has said all.
fn server_goes(guest: &mut Guest, parting: Parting) -> io::Result<()> {
    let length = 1 + guest.random.length(ROUND);
    let cut = guest.random.below(length);
    let manner = if parting == Parting::End { "leave" } else { "break" };
    let ask = guest.scene.switch(&format!("/tunnel/{manner}/{cut}"));
    let Some(mut client) = begin(guest, &ask)? else { return Ok(()) };
    let said = guest.random.bytes(length);
    // One that has gone does not hear it all: the reset may meet our words, and then it is not
    // told again.
    let said_all = client.send_cut(&said, &mut guest.random, 5).is_ok();
    let ended = client.reader().rest();
    let heard = match &ended {
        Ok(heard) => heard.clone(),
        Err(_) => client.reader().kept().to_vec(),
    };
    if heard.len() > cut || said[..heard.len()] != heard {
        guest.scene.wrong(format!("a tunnel: {} bytes, not the first {cut} said", heard.len()));
    }
    match (parting, ended) {
        (Parting::End, Err(error)) => return Err(failed(guest, &ask, "left", error)),
        (Parting::Reset, Err(error)) if is_wait(&error) => {
            return Err(failed(guest, &ask, "broken", error));
        }
        // Whose server is killed may see an end in order.
        (Parting::End, Ok(_)) if ask.calm && heard.len() < cut => {
            guest.scene.wrong(format!("a tunnel: {} bytes of {cut}, and an end", heard.len()));
        }
        (Parting::Reset, Ok(_)) if ask.calm && said_all => {
            guest.scene.wrong(format!(
                "{:?}: a tunnel that broke after {cut} of {length} ended in order",
                guest.way
            ));
        }
        _ => guest.right(),
    }
    Ok(())
}

/// The server says much, and is heard slowly.
fn flood(guest: &mut Guest) -> io::Result<()> {
    let (length, seed) = (guest.random.length(2_000_000), guest.random.number());
    let mut ask = guest.scene.switch(&format!("/tunnel/flood/{length}/{seed}"));
    let slow = guest.random.once_in(2);
    // Under pressure, who hears nothing may be cut off.
    ask.calm &= !slow;
    let Some(mut client) = begin(guest, &ask)? else { return Ok(()) };
    if slow {
        guest.rest(3000);
    }
    let ended = client.reader().rest();
    let heard = match &ended {
        Ok(heard) => heard.as_slice(),
        Err(_) => client.reader().kept(),
    };
    let wanted = server::bytes(length, seed);
    if !wanted.starts_with(heard) {
        guest.scene.wrong(format!("a tunnel: other bytes than the server's {length}"));
    }
    if ask.calm && ended.is_ok() && heard.len() < length {
        guest.scene.wrong(format!("a tunnel: {} of {length} bytes, and an end", heard.len()));
    }
    ended.map_err(|error| failed(guest, &ask, "flooded", error))?;
    guest.right();
    Ok(())
}

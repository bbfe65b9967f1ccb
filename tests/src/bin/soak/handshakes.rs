//! Visits that end before they have begun: in the middle of a TLS handshake, or of a balancer's
//! header.

use std::io::{self, Read};

use blackbox::client::Client;
use blackbox::sealed::Sealed;
use blackbox::stream::Stream;

use crate::clients::Guest;
use crate::scene::{PATIENCE, Way, is_wait};

/// What is no hello, the last of them in plain HTTP.
const NO_HELLO: [&[u8]; 4] = [
    b"\0\0\0\0",
    b"\x16\x03\x01\xff\xff\x01",
    b"\x17\x03\x03\x00\x05hello",
    b"GET / HTTP/1.1\r\nHost: soak\r\n\r\n",
];

/// What is no PROXY header.
const NO_HEADER: [&[u8]; 4] = [
    b"GET / HTTP/1.1\r\nHost: soak\r\n\r\n",
    b"PROXY TCP4 1.2.3 192.0.2.1 4242 80\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
    b"PROXY TCP9 ",
];

/// A part of the first words and no more, a part of the last words, or none that are any.
pub(crate) fn half_hello(guest: &mut Guest) -> io::Result<()> {
    guest.rest(100);
    let mut sealed = guest.scene.doors.knock(&mut guest.random)?;
    sealed.set_timeout(PATIENCE)?;
    let hello = sealed.words()?;
    match guest.random.below(4) {
        0 => {
            let which = guest.random.below(NO_HELLO.len());
            sealed.say(NO_HELLO[which])?;
        }
        1 => {
            let cut = guest.random.below(hello.len());
            sealed.say(&hello[..cut])?;
        }
        2 => {
            // In pieces it takes a while, and comes to its end all the same.
            for piece in hello.chunks(300) {
                sealed.say(piece)?;
                guest.rest(20);
            }
            return complete(guest, sealed);
        }
        _ => {
            sealed.say(&hello)?;
            while !sealed.wants_to_speak() {
                if sealed.hear()? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let last = sealed.words()?;
            let cut = guest.random.below(last.len());
            sealed.say(&last[..cut])?;
        }
    }
    part(guest, Stream::Sealed(Box::new(sealed)));
    Ok(())
}

/// Goes on as anybody else.
fn complete(guest: &mut Guest, mut sealed: Sealed) -> io::Result<()> {
    sealed.shake_hands()?;
    let ask = guest.get(1000);
    guest.ask(&mut Client::over(Stream::Sealed(Box::new(sealed))), &ask)
}

/// A part of a balancer's header, or none that is one.
pub(crate) fn half_header(guest: &mut Guest) -> io::Result<()> {
    guest.rest(100);
    let address = &guest.scene.doors.addresses[Way::Named as usize];
    let mut client = Client::try_new(address)?;
    client.patience(PATIENCE);
    let which = guest.random.below(NO_HEADER.len());
    client.try_send(NO_HEADER[which])?;
    let mut stream = client.into_stream();
    if which < 2 && guest.random.once_in(2) {
        // It is reset, and told nothing.
        if stream.read(&mut [0; 100]).is_ok_and(|heard| heard > 0) {
            guest.scene.wrong(format!("no header {which} was answered"));
        }
    }
    part(guest, stream);
    Ok(())
}

/// Leaves, or waits to be sent away.
fn part(guest: &mut Guest, mut stream: Stream) {
    match guest.random.below(3) {
        0 => stream.reset(),
        1 => drop(stream),
        _ => {
            let ended = stream.await_end();
            if ended.is_err_and(|error| is_wait(&error)) {
                guest.scene.wrong("half a handshake has no end".to_owned());
            }
        }
    }
    guest.right();
}

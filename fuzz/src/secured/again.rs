//! Clients that come again with what an earlier session gave them: as it is, changed on its way, from
//! somebody else, with data ahead of the handshake.

use std::io::Write;
use std::sync::Arc;

use rustls::client::ClientConnection;
use rustls::pki_types::ServerName;
use tls::{Failure, Tickets};

use super::behind::{HANDSHAKE, message_of_ticket};
use super::end::{End, HOST, Pair};
use super::peer::{Peer, early};
use super::way::{Deed, Way, meet};
use crate::cuts::Dice;

/// Nothing is done to what the client says.
const PASSED: [u8; 5] = [0; 5];

/// The first byte says what the client comes with, the second one of which kind the sessions are.
pub(super) fn check(mode: u8, kind: u8, bytes: &[u8]) {
    let mut pair = Pair::resuming(kind, tickets());
    let mut dice = Dice::of(bytes);
    let together = mode & 4 == 4;
    match mode & 3 {
        0 | 1 => {
            let Some((head, text)) = bytes.split_first_chunk() else { return };
            let (server, client) = meet(&pair, &mut Way::new(PASSED), b"", &mut dice, together);
            assert!(!server.session.is_resumed() && !client.session.is_resumed());
            let forgets = mode & 1 == 1;
            if forgets {
                pair.renew(kind, tickets());
            }
            let mut way = Way::new(*head);
            let (server, client) = meet(&pair, &mut way, text, &mut dice, together);
            let resumed = [&server, &client].map(|end| end.session.is_resumed());
            if way.deed == Deed::Passed {
                assert_eq!(resumed, [!forgets; 2], "with the keys of its ticket it is resumed");
            } else {
                assert!(!forgets || resumed == [false; 2], "resumed with a ticket of nobody's");
            }
        }
        2 => given(&pair, kind, bytes),
        _ => ahead(&pair, kind, bytes, together),
    }
}

fn tickets() -> Tickets {
    Tickets::new().unwrap_or_else(|error| panic!("no tickets: {error}"))
}

/// A client was given anything for a ticket, by a server that is another one by now: it is served all the
/// same, as somebody who comes for the first time.
fn given(pair: &Pair, kind: u8, bytes: &[u8]) {
    let mut client = pair.client();
    let mut peer = Peer::shake(&mut client, false, true, kind / 6);
    let record = peer.seal(HANDSHAKE, &message_of_ticket(bytes));
    client.receive(&record, false);
    assert_eq!(client.over, None, "a ticket is not taken");
    let mut way = Way::new(PASSED);
    let (server, client) = meet(pair, &mut way, b"again", &mut Dice::of(bytes), false);
    assert!(!server.session.is_resumed() && !client.session.is_resumed());
}

/// A client sends data ahead of the handshake, on the strength of what another server gave it: none of
/// that is heard, and what it says behind the handshake is.
fn ahead(pair: &Pair, kind: u8, bytes: &[u8], together: bool) {
    let config = early(kind / 6);
    let length = bytes.len().min(16 << 10);
    let (said_ahead, said) = bytes.split_at(length * usize::from(kind) / 256);
    let name = || ServerName::try_from(HOST).unwrap_or_else(|error| panic!("{error}"));
    let mut client = ClientConnection::new(Arc::clone(&config), name())
        .unwrap_or_else(|error| panic!("no client: {error}"));
    if let Some(mut early) = client.early_data() {
        assert_eq!(early.write(said_ahead).ok(), Some(said_ahead.len()));
    }
    let mut server = pair.server();
    let mut spoken = false;
    let mut dice = Dice::of(bytes);
    loop {
        let mut hello = Vec::new();
        while client.wants_write() {
            assert!(client.write_tls(&mut hello).is_ok());
        }
        if hello.is_empty() {
            break;
        }
        let cut = dice.below(hello.len() + 1);
        server.receive(&hello[..cut], together);
        server.receive(&hello[cut..], together);
        let answer = std::mem::take(&mut server.said);
        let mut rest = &answer[..];
        while !rest.is_empty() {
            assert!(client.read_tls(&mut rest).is_ok());
            if let Err(error) = client.process_new_packets() {
                // Who speaks TLS 1.2 alone says so.
                assert!(kind.is_multiple_of(3), "{error}");
                assert_eq!((server.over, &server.heard[..]), (Some(Failure::Version), &b""[..]));
                return;
            }
        }
        if !client.is_handshaking() && !spoken {
            spoken = true;
            assert!(client.writer().write_all(said).is_ok());
            client.send_close_notify();
        }
    }
    assert!(!client.is_early_data_accepted(), "data ahead of the handshake is taken");
    judge(&server, said);
}

/// All of that was heard, and nothing else.
fn judge(server: &End, said: &[u8]) {
    assert_eq!((server.over, server.closed), (None, true));
    assert_eq!(server.heard.escape_ascii().to_string(), said.escape_ascii().to_string());
    assert!(!server.session.is_resumed());
}

//! Connections that are passed through.

use crate::house::{House, Setting, text};
use base::id::{GroupId, ListenerId, ServerId};
use driver::ConnectFault;
use exchange::{Names, Passing, Refusal};
use sim::{Peer, ServerMode, WorldConfig};
use std::time::Duration;
use worker::{AtLimit, CloseReason, Letter, Timeouts};

fn at_once() -> Setting {
    Setting { passing: Some(Passing::default()), ..Setting::default() }
}

fn first_byte() -> Setting {
    Setting { passing: Some(Passing { first_byte: true, names: None }), ..Setting::default() }
}

/// Names lead to the only group there is, or nowhere.
fn by_name(otherwise: Option<GroupId>) -> Setting {
    let names = Names::new([("a.example", GroupId(0)), ("*.b.example", GroupId(0))], otherwise);
    Setting { passing: Some(Passing { first_byte: false, names: Some(names) }), ..first_byte() }
}

/// A TLS hello in one record that asks for this name.
fn hello(name: &str) -> Vec<u8> {
    let prefixed = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).expect("it is short").to_be_bytes();
        [&length[..], bytes].concat()
    };
    let list = prefixed(&[&[0][..], &prefixed(name.as_bytes())].concat());
    let extensions = prefixed(&[&[0, 0][..], &prefixed(&list)].concat());
    let body = [&[3, 3][..], &[9; 32], &[0], &[0, 2, 19, 1], &[1, 0], &extensions].concat();
    let length = u32::try_from(body.len()).expect("it is short").to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &prefixed(&message)].concat()
}

fn refused(house: &House, refusal: Refusal) -> u64 {
    house.sum(|c| c.refusals[refusal as usize].get())
}

fn say(house: &mut House, from: &Peer, to: &Peer, what: &[u8]) {
    from.write_all(what);
    house.settle();
    assert_eq!(to.read(), what);
}

#[test]
fn the_server_is_there_at_once_and_may_speak_first() {
    let mut house = House::new(&at_once());
    let pairs: Vec<_> = (0..5)
        .map(|number| {
            let client = house.client();
            let server = house.server();
            say(&mut house, &server, &client, b"220 ready\r\n");
            say(&mut house, &client, &server, format!("HELO {number}\r\n").as_bytes());
            (client, server)
        })
        .collect();
    assert_eq!(house.world.connections_to(ServerId(0)), 5, "one each, and more than leases");
    assert_eq!(house.sum(|c| c.buffers_used.get() + c.buffers_promised.get()), 0);
    // A connection is one client's: it is never another's.
    for (client, server) in pairs {
        client.write_all(b"QUIT\r\n");
        client.end();
        house.settle();
        assert_eq!(server.read(), b"QUIT\r\n");
        assert!(server.has_ended());
        say(&mut house, &server, &client, b"221 bye\r\n");
        server.end();
        house.settle();
        assert!(client.has_ended() && !client.is_reset());
    }
    assert_eq!(house.closed(CloseReason::Done), 5);
    assert_eq!(house.world.connections_to(ServerId(0)), 0);
    house.assert_quiet();
}

/// The greeting may arrive with the news that the connection is open, before it has its client.
#[test]
fn a_greeting_that_is_there_before_the_connection_is_given_away_is_not_lost() {
    let mut house = House::new(&at_once());
    let client = house.world.connect(ListenerId(0));
    // The worker asks for the connection in this turn, and hears of it in the next.
    house.workers[0].turn();
    let server = house.world.accept(ServerId(0)).expect("it is asked for at once");
    server.write_all(b"220 ready\r\n");
    house.settle();
    assert_eq!(text(&client), "220 ready\r\n");
    client.reset();
    house.assert_quiet();
}

#[test]
fn the_server_is_there_with_the_first_byte() {
    let mut house = House::new(&first_byte());
    let client = house.client();
    house.pass(Duration::from_mins(30));
    assert_eq!(house.world.connections_to(ServerId(0)), 0);
    assert_eq!(house.sum(|c| c.clients_active.get()), 0, "it is parked");
    client.write_all(b"hello");
    let server = house.server();
    house.settle();
    assert_eq!(text(&server), "hello");
    say(&mut house, &server, &client, b"you");
    // One that says nothing is parked, no longer than others.
    let silent = house.client();
    house.pass(Duration::from_mins(59));
    assert!(!silent.is_closed());
    house.pass(Duration::from_mins(2));
    assert!(silent.is_closed() && house.closed(CloseReason::Idle) >= 1);
    let ended = house.client();
    ended.end();
    house.settle();
    assert!(ended.is_closed());
    client.reset();
    house.assert_quiet();
}

#[test]
fn a_name_leads_to_its_servers_however_it_is_cut() {
    for name in ["a.example", "A.EXAMPLE", "x.b.example"] {
        for cut in [1, 5, 9, 40, 1000] {
            let mut house = House::new(&by_name(None));
            let client = house.client();
            let hello = hello(name);
            for piece in hello.chunks(cut) {
                assert_eq!(house.world.connections_to(ServerId(0)), 0);
                client.write_all(piece);
                house.settle();
            }
            let server = house.server();
            house.settle();
            assert_eq!(server.read(), hello, "unchanged");
            say(&mut house, &server, &client, b"a server's hello");
            client.reset();
            house.assert_quiet();
        }
    }
}

#[test]
fn who_is_for_nobody_is_reset_and_counted() {
    for (sent, refusal, reason) in [
        (hello("other.example"), Refusal::Misdirected, CloseReason::Refused),
        (hello("b.example"), Refusal::Misdirected, CloseReason::Refused),
        (b"GET / HTTP/1.1\r\n".to_vec(), Refusal::Malformed, CloseReason::Refused),
        (vec![22, 3, 1, 0x40, 0, 1, 0, 0x7f, 0xff], Refusal::HeadTooLarge, CloseReason::Refused),
        (hello("a.example")[..20].to_vec(), Refusal::Slow, CloseReason::Timeout),
    ] {
        let mut house = House::new(&by_name(None));
        let client = house.client();
        client.write_all(&sent);
        house.pass(Duration::from_secs(31));
        assert!(client.is_reset(), "{refusal:?}");
        assert_eq!((refused(&house, refusal), house.closed(reason)), (1, 1), "{refusal:?}");
        assert_eq!(house.world.connections_to(ServerId(0)), 0);
        house.assert_quiet();
    }
    // Where others have servers, too, they go there.
    for sent in [hello("other.example"), b"SSH-2.0-x\r\n".to_vec()] {
        let mut house = House::new(&by_name(Some(GroupId(0))));
        let client = house.client();
        client.write_all(&sent);
        let server = house.server();
        house.settle();
        assert_eq!(server.read(), sent);
        client.reset();
        house.assert_quiet();
    }
}

#[test]
fn without_a_server_the_client_is_reset() {
    let mut house = House::new(&at_once());
    house.world.set_server(ServerId(0), ServerMode::Fails(ConnectFault::Refused));
    let client = house.client();
    house.pass(Duration::from_secs(3));
    assert!(client.is_reset());
    assert_eq!(refused(&house, Refusal::Unreachable), 1);
    assert_eq!(house.closed(CloseReason::Upstream), 1);
    // It comes back: the next one is served.
    house.world.set_server(ServerId(0), ServerMode::Accepts);
    house.pass(Duration::from_secs(3));
    let client = house.client();
    house.pass(Duration::from_secs(3));
    let server = house.server();
    say(&mut house, &server, &client, b"here again");
    client.reset();
    house.assert_quiet();
}

#[test]
fn a_client_that_leaves_while_its_server_is_connected_to_leaves_nothing() {
    let mut house = House::new(&at_once());
    house.world.set_server(ServerId(0), ServerMode::Hangs);
    let client = house.client();
    assert_eq!(house.sum(|c| c.clients_active.get()), 1);
    client.reset();
    house.settle();
    house.pass(Duration::from_secs(10));
    assert_eq!(house.closed(CloseReason::Aborted), 1);
    house.assert_quiet();
}

#[test]
fn beyond_pinned_nobody_is_connected() {
    let mut house = House::new(&Setting { pinned: 2, ..at_once() });
    let kept: Vec<_> = (0..2)
        .map(|_| {
            let client = house.client();
            (client, house.server())
        })
        .collect();
    let client = house.client();
    assert!(client.is_reset());
    assert_eq!(refused(&house, Refusal::PinnedFull), 1);
    assert_eq!(house.world.most_connections_to(ServerId(0)), 2, "the server sees nothing of it");
    say(&mut house, &kept[0].0, &kept[0].1, b"undisturbed");
    kept[0].1.reset();
    house.settle();
    let client = house.client();
    let server = house.server();
    say(&mut house, &client, &server, b"now");
    client.reset();
    kept[1].0.reset();
    house.assert_quiet();
}

#[test]
fn the_connections_that_are_being_opened_are_bounded_and_the_others_queue() {
    let setting = Setting { connections: 2, queue_length: 3, ..at_once() };
    let timeouts = Timeouts { connect: Duration::from_mins(2), ..Timeouts::default() };
    let mut house = House::new(&Setting { timeouts, ..setting });
    house.world.set_server(ServerId(0), ServerMode::Hangs);
    let clients: Vec<_> = (0..6).map(|_| house.client()).collect();
    let reset = clients.iter().filter(|client| client.is_reset()).count();
    assert_eq!((reset as u64, refused(&house, Refusal::QueueFull)), (3, 3));
    house.pass(Duration::from_secs(31));
    assert!(clients.iter().all(Peer::is_reset));
    assert_eq!(refused(&house, Refusal::QueueTimeout), 3);
    house.assert_quiet();
}

#[test]
fn servers_share_connections_by_what_they_keep() {
    let world = WorldConfig { servers: 2, ..WorldConfig::default() };
    let mut house = House::new(&Setting { world, ..at_once() });
    let mut pairs = Vec::new();
    for _ in 0..8 {
        let client = house.client();
        let server = (0..2).find_map(|id| Some((id, house.world.accept(ServerId(id))?)));
        let (id, server) = server.expect("one of them");
        pairs.push((client, id, server));
    }
    let count = |pairs: &[(Peer, u32, Peer)]| pairs.iter().filter(|(_, id, _)| *id == 0).count();
    assert_eq!(count(&pairs), 4);
    // All of one server's leave: the next ones are that one's.
    let (gone, kept): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(_, id, _)| *id == 0);
    for (client, _, _) in gone {
        client.reset();
    }
    house.settle();
    for _ in 0..4 {
        let client = house.client();
        assert!(house.world.accept(ServerId(0)).is_some(), "the one with less to do");
        client.reset();
        house.settle();
    }
    for (client, _, _) in kept {
        client.reset();
    }
    house.assert_quiet();
}

#[test]
fn at_the_limit_nobody_is_told_anything_in_words() {
    for at_limit in [AtLimit::Answer, AtLimit::Pause] {
        let mut house = House::new(&Setting { max_clients: 1, at_limit, ..at_once() });
        let first = house.client();
        let server = house.server();
        let second = house.client();
        assert_eq!(text(&second), "");
        assert_eq!(second.is_reset(), at_limit == AtLimit::Answer);
        say(&mut house, &server, &first, b"undisturbed");
        first.reset();
        house.settle();
        if at_limit == AtLimit::Pause {
            let server = house.server();
            say(&mut house, &second, &server, b"my turn");
        }
        second.reset();
        house.assert_quiet();
    }
}

#[test]
fn a_drain_closes_who_has_said_nothing_and_who_is_silent() {
    for setting in [at_once(), first_byte()] {
        let mut house = House::new(&setting);
        let client = house.client();
        house.order(|| Letter::Drain);
        house.pass(Duration::from_secs(6));
        assert!(client.is_closed() && house.is_over());
        assert_eq!(house.closed(CloseReason::Drain), 1);
    }
}

#[test]
fn each_connection_has_its_line_in_the_log() {
    let mut house = House::new(&Setting { access: Some(64 << 10), ..at_once() });
    let client = house.client();
    let server = house.server();
    say(&mut house, &server, &client, b"12345");
    house.pass(Duration::from_secs(7));
    client.end();
    server.end();
    house.settle();
    let client = house.client();
    house.server().reset();
    house.settle();
    assert!(client.is_reset());
    house.world.set_server(ServerId(0), ServerMode::Fails(ConnectFault::Refused));
    let _refused = house.client();
    house.pass(Duration::from_secs(3));
    let lines = house.log(|record| {
        assert_eq!(record.status, 0);
        (record.sent, record.request_time.as_secs(), record.refusal, record.closed)
    });
    let upstream = Some(CloseReason::Upstream);
    assert_eq!(lines[..2], [(5, 7, None, None), (0, 0, None, upstream)]);
    assert_eq!((lines.len(), lines[2].2, lines[2].3), (3, Some(Refusal::Unreachable), upstream));
    house.assert_quiet();
}

//! What the judge found, each as a small case of its own.

use std::time::Duration;

use base::id::ServerId;
use base::limits::PARTING;
use exchange::Phase;
use sim::dice::{Dice, Origin};
use sim::{Segments, Weather, WorldConfig};

use crate::house::{GET, House, OK, Setting, status, text};

/// A request whose head and body came together, and which then lacked a buffer, was counted as
/// arriving until it was complete.
#[test]
fn a_body_that_lacks_a_buffer_is_counted_as_collected() {
    let mut house = House::new(&Setting { buffers: 8, ..Setting::default() });
    let poster = house.client();
    house.exchange(&poster, "POST / HTTP/1.1\r\nHo");
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(6000));
    let crowd = [house.client(), house.client()];
    for one in &crowd {
        house.exchange(one, &long);
    }
    let rest = "st: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET /next";
    house.exchange(&poster, rest);
    let counted = |phase| house.sum(|c| c.exchanges[phase as usize].get());
    assert_eq!((counted(Phase::Arriving), counted(Phase::Collecting)), (2, 1));
    crowd.into_iter().chain([poster]).for_each(|peer| peer.reset());
    house.assert_quiet();
}

/// A connection whose server's end was awaited was closed at the first false alarm.
#[test]
fn a_servers_end_is_awaited_through_false_alarms() {
    let mut house = House::new(&Setting { persistent: false, ..Setting::default() });
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    house.world.set_weather(Some(Weather {
        dice: Dice::new(&Origin::Seed(1), 0, None),
        late: 0,
        shuffled: false,
        in_vain: 256,
        unwatched: 0,
        accepts: 32,
    }));
    // Reading makes room, of which the driver hears, and takes it for more.
    assert!(text(&server).contains("Connection: close"));
    house.pass(PARTING / 2);
    assert!(server.has_ended(), "our direction ends with the response");
    assert_eq!(house.world.connections_to(ServerId(0)), 1, "the server has not ended its own");
    house.world.set_weather(None);
    house.pass(PARTING + Duration::from_millis(10));
    assert_eq!(house.world.connections_to(ServerId(0)), 0);
}

/// A request that was given up before a byte of it reached the server it had just been given took the
/// server's idle connection with it, and nobody awaited the server's end.
#[test]
fn a_lease_of_which_nothing_was_used_leaves_its_connection_idle() {
    let mut house = House::new(&Setting { stream: true, connections: 1, ..Setting::default() });
    let client = house.client();
    house.exchange(&client, GET);
    let server = house.server();
    text(&server);
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&client)), 200);
    // It takes half of what it is told: behind that nothing can be said.
    client.set_window(10);
    let head = "PUT /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    house.exchange(&client, head);
    assert!(client.is_closed(), "nothing more can be said to it");
    assert_eq!(text(&server), "", "the server heard nothing of it");
    assert!(!server.has_ended(), "and is kept");
    let next = house.client();
    house.exchange(&next, GET);
    assert!(text(&server).starts_with("GET /a "));
    server.write_all(OK);
    house.settle();
    assert_eq!(status(&text(&next)), 200);
    house.assert_quiet();
}

/// A connection on which its server had said more than it was asked for was handed to another worker,
/// which sent a request on it before it could know.
#[test]
fn what_is_not_quiet_is_not_handed_over() {
    // As much is received at one time as the response has.
    let segments = Segments::Most(OK.len());
    let world = WorldConfig { segments, ..WorldConfig::default() };
    // What happened at a socket may be told later: who gets the connection does not know yet.
    for seed in 0..32 {
        let mut house =
            House::new(&Setting { world, workers: 2, connections: 1, ..Setting::default() });
        let [one, other] = [house.client_of(0), house.client_of(1)];
        house.exchange(&one, GET);
        let server = house.server();
        house.exchange(&other, GET);
        assert!(text(&server).starts_with("GET /a "));
        house.world.set_weather(Some(Weather {
            dice: Dice::new(&Origin::Seed(seed), 0, None),
            late: 128,
            shuffled: false,
            in_vain: 0,
            unwatched: 0,
            accepts: 32,
        }));
        server.write_all(&[OK, b"more than that"].concat());
        house.settle();
        house.world.set_weather(None);
        house.settle();
        assert_eq!(status(&text(&one)), 200);
        assert_eq!(text(&server), "", "{seed}: nothing more is asked there");
        drop(server);
        let server = house.server();
        assert!(text(&server).starts_with("GET /a "));
        server.write_all(OK);
        house.settle();
        assert_eq!(status(&text(&other)), 200);
        house.assert_quiet();
    }
}

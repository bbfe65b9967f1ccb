//! Proxies in front, and whom they say their requests are from.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::id::ListenerId;
use exchange::Refusal;
use proxies::security::{AccessList, LimitRules, Limits, Rate, Verdict};
use sim::Peer;
use worker::{Balancers, CloseReason, Letter, Screening};

use crate::house::{House, OK, Setting, status, text};

const FRONT: &str = "10.0.0.1";

fn list(net: &str, verdict: Verdict, otherwise: Verdict) -> AccessList {
    AccessList::new(&[(net.parse().expect("a network"), verdict)], otherwise)
}

/// 10.0.0.0/8 is trusted; each address has two requests a second and one connection.
fn setting() -> Setting {
    let addresses = list("10.0.0.0/8", Verdict::Allow, Verdict::Deny);
    let trusted = Arc::new(Balancers { addresses, unix: false, required: false });
    let rules = LimitRules {
        connections: Some(1),
        connection_rate: None,
        request_rate: Some(Rate { count: 2, period: Duration::from_secs(1) }),
        prefixes: [32, 64],
        addresses: 64,
    };
    Setting {
        screening: Screening { trusted: Some(trusted), ..Screening::default() },
        limits: Some(Arc::new(Limits::new(rules, 7))),
        access: Some(16 << 10),
        persistent: false,
        ..Setting::default()
    }
}

/// What the client hears, and what the server was told of whom it is from.
fn ask(house: &mut House, client: &Peer, forwarded: &str) -> (u16, String) {
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {forwarded}\r\n\r\n");
    client.write_all(request.as_bytes());
    house.settle();
    let heard = text(client);
    if !heard.is_empty() {
        return (status(&heard), heard);
    }
    let server = house.server();
    let told = text(&server);
    server.write_all(OK);
    server.end();
    house.settle();
    let named = told.lines().find_map(|line| line.strip_prefix("X-Forwarded-For: "));
    (status(&text(client)), named.unwrap_or_default().to_owned())
}

fn told(code: u16, way: &str) -> (u16, String) {
    (code, way.to_owned())
}

#[test]
fn requests_count_for_those_whom_a_trusted_proxy_names() {
    let mut house = House::new(&setting());
    // Its connections are many people's, and no address's.
    let [one, two] = [house.client_from(FRONT), house.client_from(FRONT)];
    assert!(!one.is_closed() && !two.is_closed());
    for (client, from) in [(&one, "192.0.2.1"), (&two, "192.0.2.1"), (&one, "192.0.2.2")] {
        let way = format!("{from}, {FRONT}");
        assert_eq!(ask(&mut house, client, &format!("6.6.6.6, {from}")), told(200, &way));
    }
    let (code, heard) = ask(&mut house, &two, "7.7.7.7, 192.0.2.1");
    assert!(code == 429 && !heard.contains("Connection: close"), "{heard}");
    assert_eq!(ask(&mut house, &two, "192.0.2.3").0, 200, "others ask what they like");
    let mut named = Vec::new();
    house.logs[0].drain(|record| {
        named.push(record.peer.map(|peer| peer.to_string()).unwrap_or_default());
        true
    });
    let all = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"];
    assert_eq!(named, all);
    house.assert_quiet();
}

/// A tunnel is told of when it ends, long after the head that named its client.
#[test]
fn a_tunnel_is_whose_a_trusted_proxy_says() {
    let mut house = House::new(&setting());
    let client = house.client_from(FRONT);
    let upgrade = "Connection: upgrade\r\nUpgrade: x\r\n\r\n";
    let ask = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.7\r\n{upgrade}");
    house.exchange(&client, &ask);
    let server = house.server();
    server.write_all(format!("HTTP/1.1 101 S\r\n{upgrade}").as_bytes());
    house.settle();
    assert_eq!(status(&text(&client)), 101);
    client.end();
    server.end();
    house.settle();
    let mut named = Vec::new();
    house.logs[0].drain(|record| {
        named.push((record.status, record.peer));
        true
    });
    assert_eq!(named, [(101, Some([192, 0, 2, 7].into()))]);
}

#[test]
fn what_others_say_counts_for_nothing() {
    let mut house = House::new(&setting());
    let client = house.client_from("192.0.2.9");
    assert!(house.client_from("192.0.2.9").is_reset(), "its connections are its own");
    for from in ["192.0.2.1", "10.0.0.1"] {
        assert_eq!(ask(&mut house, &client, from), told(200, "192.0.2.9"));
    }
    assert_eq!(ask(&mut house, &client, "192.0.2.3").0, 429);
    client.end();
    house.settle();
    assert!(!house.client_from("192.0.2.9").is_closed(), "its place is free again");
}

#[test]
fn who_may_not_connect_may_not_be_named_either() {
    let mut house = House::new(&setting());
    let client = house.client_from(FRONT);
    let denied = Arc::new(list("203.0.113.0/24", Verdict::Deny, Verdict::Allow));
    house.order(|| Letter::List { listener: ListenerId(0), list: Arc::clone(&denied) });
    let banned = Arc::new(list("198.51.100.0/24", Verdict::Deny, Verdict::Allow));
    house.order(|| Letter::Bans(Arc::clone(&banned)));
    house.settle();
    for from in ["203.0.113.7", "198.51.100.7"] {
        let (code, heard) = ask(&mut house, &client, from);
        assert!(code == 403 && !heard.contains("Connection: close"), "{heard}");
    }
    assert_eq!(ask(&mut house, &client, "192.0.2.1").0, 200, "the proxy's connection was kept");
    assert_eq!(house.sum(|c| c.refusals[Refusal::Unwelcome as usize].get()), 2);
    assert_eq!(house.closed(CloseReason::Denied) + house.closed(CloseReason::Banned), 0);
    let mut refused = Vec::new();
    house.logs[0].drain(|record| {
        refused.extend(record.peer.zip(record.refusal));
        true
    });
    let [first, second]: [IpAddr; 2] = [[203, 0, 113, 7].into(), [198, 51, 100, 7].into()];
    assert_eq!(refused, [(first, Refusal::Unwelcome), (second, Refusal::Unwelcome)]);
    house.assert_quiet();
}

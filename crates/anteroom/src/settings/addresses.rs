//! Addresses that cannot stand beside each other.

use std::fmt::Display;
use std::net::IpAddr;

use base::limits;
use driver::Address;

use super::complaint::{Complaints, Given, Word};
use super::draft::Draft;
use super::names::Found;
use crate::resolve::Target;

/// Checks listeners, servers and the admin address against each other.
pub(crate) fn check(draft: &Draft, found: &[Vec<Found>], complaints: &mut Complaints) {
    let listeners: Vec<&Given<Address>> = draft.listeners.iter().map(|it| &it.address).collect();
    let servers = draft.groups.iter().flat_map(|group| &group.servers);
    let servers: Vec<&Given<Target>> = servers.map(|server| &server.at).collect();
    let mut desk = Desk { draft, complaints };
    desk.at_most(Word::LISTEN, &listeners, limits::LISTENERS_MAX);
    desk.at_most(Word::SERVER, &servers, limits::SERVERS_MAX);
    desk.listeners(&listeners);
    desk.servers(&listeners, found);
    desk.groups();
}

struct Desk<'d> {
    draft: &'d Draft,
    complaints: &'d mut Complaints,
}

impl Desk<'_> {
    fn refuse<T: Display>(&mut self, word: Word, given: &Given<T>, remedy: &str) {
        let tongue = self.draft.tongue;
        let text = format!("{} {}: {remedy}", tongue.name(word), given.value);
        self.complaints.error(given.span.clone(), text);
    }

    fn at_most<T>(&mut self, word: Word, given: &[&Given<T>], most: u32) {
        if let Some(first) = given.get(most as usize) {
            let (name, count) = (self.draft.tongue.name(word), given.len());
            let text = format!("{name} is given {count} times: {most} are the most");
            self.complaints.error(first.span.clone(), text);
        }
    }

    fn listeners(&mut self, listeners: &[&Given<Address>]) {
        let admin = self.draft.admin.as_ref();
        for (place, listener) in listeners.iter().enumerate() {
            if listeners[..place].iter().any(|before| collide(&before.value, &listener.value)) {
                let remedy = "another listener takes that address already; leave one of them out, \
                              or give them different ports";
                self.refuse(Word::LISTEN, listener, remedy);
            }
            if admin.is_some_and(|admin| collide(&admin.value, &listener.value)) {
                let remedy = "the admin endpoints take that address; give one of them another port";
                self.refuse(Word::LISTEN, listener, remedy);
            }
        }
    }

    fn servers(&mut self, listeners: &[&Given<Address>], found: &[Vec<Found>]) {
        for (group, found) in self.draft.groups.iter().zip(found) {
            for (place, (server, found)) in group.servers.iter().zip(found).enumerate() {
                let at = &server.at;
                if found.addresses.iter().any(|it| matches!(it, Address::Ip(ip) if ip.port() == 0))
                {
                    self.refuse(Word::SERVER, at, "give the port it listens on");
                }
                if group.servers[..place].iter().any(|before| before.at.value == at.value) {
                    let connections = self.draft.tongue.name(Word::CONNECTIONS);
                    let remedy = format!(
                        "is given twice; name each server once and raise {connections} instead"
                    );
                    self.refuse(Word::SERVER, at, &remedy);
                }
                let reached = |listener: &&&Given<Address>| {
                    found.addresses.iter().any(|server| reaches(server, &listener.value))
                };
                if let Some(listener) = listeners.iter().find(reached) {
                    let listen = self.draft.tongue.name(Word::LISTEN);
                    let listener = &listener.value;
                    let remedy = format!(
                        "leads to {listen} {listener}: the proxy would serve itself; name another \
                         server, or give one of them another port"
                    );
                    self.refuse(Word::SERVER, at, &remedy);
                }
            }
        }
    }

    /// One server in several groups gets the connections of each of them.
    fn groups(&mut self) {
        for (place, group) in self.draft.groups.iter().enumerate() {
            let before = || self.draft.groups[..place].iter();
            for server in group.servers.iter().map(|server| &server.at) {
                let other = before()
                    .find(|other| other.servers.iter().any(|have| have.at.value == server.value));
                if let Some(other) = other {
                    let text = format!(
                        "{} is a server of {} too: it gets up to `connections` of each group; put \
                         it into one group for one bound",
                        server.value, other.name.value
                    );
                    self.complaints.warning(server.span.clone(), text);
                }
            }
        }
    }
}

/// Whether who connects to `server` meets `listener`, as far as that can be told without knowing
/// this machine's addresses: the same address, or one of the machine itself at a port where every
/// address is listened on. Connecting to no address in particular leads to the machine itself.
fn reaches(server: &Address, listener: &Address) -> bool {
    match (server, listener) {
        (Address::Ip(server), Address::Ip(at)) if server.port() == at.port() && at.port() != 0 => {
            let (to, at) = (server.ip(), at.ip());
            let itself = to.is_loopback() || to.is_unspecified();
            to == at
                || (itself && covers(at, to))
                || (to.is_unspecified() && at.is_loopback() && covers(to, at))
        }
        (Address::Unix(server), Address::Unix(at)) => server == at,
        _ => false,
    }
}

/// Whether the kernel would refuse the second of them. Port 0 is a new port each time.
fn collide(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Ip(a), Address::Ip(b)) if a.port() == b.port() && a.port() != 0 => {
            a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip())
        }
        (Address::Unix(a), Address::Unix(b)) => a == b,
        _ => false,
    }
}

/// Whether every address of `all`'s kind is meant, the other's among them.
fn covers(all: IpAddr, one: IpAddr) -> bool {
    all.is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_collide_as_the_kernel_sees_it() {
        let collide = |one: &str, other: &str| {
            let read = |text: &str| text.parse::<Address>().unwrap();
            assert_eq!(collide(&read(one), &read(other)), collide(&read(other), &read(one)));
            collide(&read(one), &read(other))
        };
        assert!(collide("127.0.0.1:80", "127.0.0.1:80"));
        assert!(collide(":80", "127.0.0.1:80"));
        assert!(collide("0.0.0.0:80", "127.0.0.1:80"));
        assert!(collide("unix:/a", "unix:/a"));
        assert!(!collide("0.0.0.0:80", "[::1]:80"));
        assert!(!collide("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!collide(":80", ":81"));
        assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!collide("unix:/a", "127.0.0.1:80"));
    }

    #[test]
    fn a_proxy_that_would_serve_itself_is_seen_whatever_the_texts() {
        let reaches = |server: &str, listener: &str| {
            let read = |text: &str| text.parse::<Address>().unwrap();
            reaches(&read(server), &read(listener))
        };
        for (server, listener) in [
            ("127.0.0.1:80", ":80"),
            ("127.0.0.1:80", "0.0.0.0:80"),
            ("127.0.0.9:80", ":80"),
            ("[::1]:80", ":80"),
            (":80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            (":80", "[::1]:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("unix:/a", "unix:/a"),
        ] {
            assert!(reaches(server, listener), "{server} {listener}");
        }
        for (server, listener) in [
            ("127.0.0.1:81", ":80"),
            ("127.0.0.1:0", ":0"),
            ("127.0.0.2:80", "127.0.0.1:80"),
            ("[::1]:80", "0.0.0.0:80"),
            ("192.0.2.1:80", ":80"),
            ("unix:/a", "unix:/b"),
        ] {
            assert!(!reaches(server, listener), "{server} {listener}");
        }
    }
}

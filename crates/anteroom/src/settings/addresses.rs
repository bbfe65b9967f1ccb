//! Addresses that cannot stand beside each other.

use std::net::IpAddr;

use base::limits;
use driver::Address;

use super::complaint::{Complaints, Given, Word};
use super::draft::Draft;

/// Checks listeners, servers and the admin address against each other.
pub(crate) fn check(draft: &Draft, complaints: &mut Complaints) {
    let listeners: Vec<&Given<Address>> = draft.listeners.iter().map(|it| &it.address).collect();
    let servers: Vec<&Given<Address>> =
        draft.groups.iter().flat_map(|group| &group.servers).collect();
    let mut desk = Desk { draft, complaints };
    desk.at_most(Word::LISTEN, &listeners, limits::LISTENERS_MAX);
    desk.at_most(Word::SERVER, &servers, limits::SERVERS_MAX);
    desk.listeners(&listeners);
    desk.servers(&listeners);
    desk.groups();
}

struct Desk<'d> {
    draft: &'d Draft,
    complaints: &'d mut Complaints,
}

impl Desk<'_> {
    fn refuse(&mut self, word: Word, given: &Given<Address>, remedy: &str) {
        let tongue = self.draft.tongue;
        let text = format!("{} {}: {remedy}", tongue.name(word), given.value);
        self.complaints.error(given.span.clone(), text);
    }

    fn at_most(&mut self, word: Word, given: &[&Given<Address>], most: u32) {
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

    fn servers(&mut self, listeners: &[&Given<Address>]) {
        for group in &self.draft.groups {
            for (place, server) in group.servers.iter().enumerate() {
                if matches!(&server.value, Address::Ip(ip) if ip.port() == 0) {
                    self.refuse(Word::SERVER, server, "give the port it listens on");
                }
                if group.servers[..place].iter().any(|before| before.value == server.value) {
                    let connections = self.draft.tongue.name(Word::CONNECTIONS);
                    let remedy = format!(
                        "is given twice; name each server once and raise {connections} instead"
                    );
                    self.refuse(Word::SERVER, server, &remedy);
                }
                if listeners.iter().any(|listener| listener.value == server.value) {
                    let listen = self.draft.tongue.name(Word::LISTEN);
                    let remedy = format!("is also given to {listen}: the proxy would serve itself");
                    self.refuse(Word::SERVER, server, &remedy);
                }
            }
        }
    }

    /// One server in several groups gets the connections of each of them.
    fn groups(&mut self) {
        for (place, group) in self.draft.groups.iter().enumerate() {
            let before = || self.draft.groups[..place].iter();
            for server in &group.servers {
                let other = before()
                    .find(|other| other.servers.iter().any(|have| have.value == server.value));
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
}

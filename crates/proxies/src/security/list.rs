//! Who may connect, by address.
//!
//! Networks nest or are apart, never anything else, so that a list is nothing but the addresses at
//! which the verdict changes: in order, with the verdict before the first. How many of them are not
//! greater than an address says, by its parity, what becomes of that address. 100,000 entries are
//! some 800 KB and 18 comparisons.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// What becomes of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is let in.
    Allow,
    /// It is turned away.
    Deny,
}

/// The verdicts on all addresses: that of the smallest network which holds an address counts, and
/// of two alike the one that denies. It never changes: a new list takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessList {
    four: Switches<u32>,
    six: Switches<u128>,
    entries: u32,
}

/// Where the verdict changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Switches<K> {
    /// Of addresses before the first switch.
    otherwise: Verdict,
    at: Box<[K]>,
}

impl AccessList {
    /// The list of these entries; `otherwise` is said of addresses that none of them holds.
    pub fn new(entries: &[(IpNet, Verdict)], otherwise: Verdict) -> Self {
        let mut spans: [Vec<Span>; 2] = [Vec::new(), Vec::new()];
        for &(net, verdict) in entries {
            let (family, first, last) = match canonical(net) {
                IpNet::V4(four) => {
                    (0, u32::from(four.network()).into(), u32::from(four.broadcast()).into())
                }
                IpNet::V6(six) => (1, u128::from(six.network()), u128::from(six.broadcast())),
            };
            spans[family].push(Span { first, last, verdict });
        }
        let [four, six] = spans;
        Self {
            four: Switches::new(four, otherwise, |at| u32::try_from(at).ok()),
            six: Switches::new(six, otherwise, Some),
            entries: u32::try_from(entries.len()).unwrap_or(u32::MAX),
        }
    }

    /// What becomes of this address. An IPv4 address within an IPv6 one is that IPv4 address.
    pub fn verdict(&self, address: IpAddr) -> Verdict {
        match address.to_canonical() {
            IpAddr::V4(four) => self.four.verdict(u32::from(four)),
            IpAddr::V6(six) => self.six.verdict(u128::from(six)),
        }
    }

    /// How many entries it was made of.
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// Bytes of its tables.
    pub const fn bytes(&self) -> usize {
        size_of_val::<[u32]>(&*self.four.at) + size_of_val::<[u128]>(&*self.six.at)
    }
}

/// The network without bits beyond its prefix; of IPv4 if it lies within what IPv6 sets aside for
/// that (RFC 4291 §2.5.5.2).
pub fn canonical(net: IpNet) -> IpNet {
    let net = net.trunc();
    let IpNet::V6(six) = net else { return net };
    let four = six.network().to_ipv4_mapped().zip(six.prefix_len().checked_sub(96));
    let four = four.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    four.map_or(net, IpNet::V4)
}

/// An entry: the addresses from `first` to `last`.
#[derive(Clone, Copy)]
struct Span {
    first: u128,
    last: u128,
    verdict: Verdict,
}

impl<K: Copy + Ord> Switches<K> {
    /// Goes through the entries in the order of their first addresses, a larger one before those in
    /// it; `open` are those that hold the present place, the smallest last.
    fn new(mut spans: Vec<Span>, otherwise: Verdict, key: impl Fn(u128) -> Option<K>) -> Self {
        spans
            .sort_unstable_by_key(|span| (span.first, core::cmp::Reverse(span.last), span.verdict));
        let mut sweep = Sweep { at: Vec::new(), now: otherwise };
        let mut open: Vec<Span> = Vec::new();
        for span in spans {
            close(&mut open, Some(span.first), otherwise, &mut sweep);
            sweep.turn(span.first, span.verdict);
            open.push(span);
        }
        close(&mut open, None, otherwise, &mut sweep);
        // What would change behind the last address of all changes nothing.
        Self { otherwise, at: sweep.at.into_iter().filter_map(key).collect() }
    }

    fn verdict(&self, address: K) -> Verdict {
        let passed = self.at.partition_point(|at| *at <= address);
        match (self.otherwise, passed % 2) {
            (Verdict::Allow, 0) | (Verdict::Deny, 1) => Verdict::Allow,
            _ => Verdict::Deny,
        }
    }
}

/// Leaves the entries that end before `until`.
fn close(open: &mut Vec<Span>, until: Option<u128>, otherwise: Verdict, sweep: &mut Sweep) {
    while let Some(inner) = open.pop_if(|span| until.is_none_or(|until| span.last < until)) {
        if let Some(behind) = inner.last.checked_add(1) {
            sweep.turn(behind, open.last().map_or(otherwise, |span| span.verdict));
        }
    }
}

/// The switches so far, and the verdict behind the last of them.
struct Sweep {
    at: Vec<u128>,
    now: Verdict,
}

impl Sweep {
    fn turn(&mut self, at: u128, verdict: Verdict) {
        if verdict == self.now {
            return;
        }
        self.now = verdict;
        // Turned twice at one place is not turned.
        if self.at.pop_if(|last| *last == at).is_none() {
            self.at.push(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Allow, Deny};
    use proptest::prelude::*;
    use std::format;
    use std::vec::Vec;

    fn list(entries: &[(&str, Verdict)], otherwise: Verdict) -> AccessList {
        let net = |text: &str| text.parse().unwrap();
        let entries: Vec<_> = entries.iter().map(|&(text, verdict)| (net(text), verdict)).collect();
        AccessList::new(&entries, otherwise)
    }

    fn said(list: &AccessList, address: &str) -> Verdict {
        list.verdict(address.parse().unwrap())
    }

    #[test]
    fn the_smallest_network_decides() {
        let office = [
            ("0.0.0.0/0", Deny),
            ("10.0.0.0/8", Allow),
            ("10.1.0.0/16", Deny),
            ("10.1.2.3/32", Allow),
            ("10.255.255.255/32", Deny),
        ];
        for entries in [office.to_vec(), office.into_iter().rev().collect()] {
            let list = list(&entries, Allow);
            for (address, verdict) in [
                ("9.255.255.255", Deny),
                ("10.0.0.0", Allow),
                ("10.0.255.255", Allow),
                ("10.1.0.0", Deny),
                ("10.1.2.2", Deny),
                ("10.1.2.3", Allow),
                ("10.1.2.4", Deny),
                ("10.2.0.0", Allow),
                ("10.255.255.254", Allow),
                ("10.255.255.255", Deny),
                ("11.0.0.0", Deny),
                ("255.255.255.255", Deny),
                ("::ffff:10.1.2.3", Allow),
                ("::1", Allow),
            ] {
                assert_eq!(said(&list, address), verdict, "{address}");
            }
            assert_eq!(list.entries(), 5);
        }
    }

    #[test]
    fn who_is_named_on_both_sides_is_denied() {
        for entries in
            [[("::1/128", Deny), ("::1/128", Allow)], [("::1/128", Allow), ("::1/128", Deny)]]
        {
            assert_eq!(said(&list(&entries, Allow), "::1"), Deny);
            assert_eq!(said(&list(&entries, Deny), "::1"), Deny);
        }
    }

    #[test]
    fn the_ends_of_all_addresses_are_addresses_like_others() {
        for otherwise in [Allow, Deny] {
            let all = list(&[("0.0.0.0/0", Deny), ("::/0", Deny)], otherwise);
            for address in ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff::ffff"] {
                assert_eq!(said(&all, address), Deny, "{address}");
            }
            let empty = list(&[], otherwise);
            assert_eq!((said(&empty, "1.2.3.4"), said(&empty, "::5")), (otherwise, otherwise));
            assert_eq!(empty.bytes(), 0);
        }
        let edges = [("0.0.0.0/32", Deny), ("255.255.255.255/32", Deny)];
        let list = list(&edges, Allow);
        for (address, verdict) in [
            ("0.0.0.0", Deny),
            ("0.0.0.1", Allow),
            ("255.255.255.254", Allow),
            ("255.255.255.255", Deny),
        ] {
            assert_eq!(said(&list, address), verdict, "{address}");
        }
    }

    #[test]
    fn neighbours_are_one() {
        let list =
            list(&[("10.0.0.0/9", Deny), ("10.128.0.0/9", Deny), ("10.3.0.0/16", Deny)], Allow);
        assert_eq!(list.bytes(), 8, "one switch on, one off");
    }

    #[test]
    fn ipv4_within_ipv6_is_ipv4() {
        let list = list(&[("::ffff:10.0.0.0/104", Deny), ("::ffff:0:0/40", Deny)], Allow);
        assert_eq!(said(&list, "10.9.9.9"), Deny);
        assert_eq!(said(&list, "11.0.0.0"), Allow, "a network that holds more is of IPv6");
    }

    fn arb_net() -> impl Strategy<Value = IpNet> {
        // Few addresses, so that networks meet.
        let four = (0u32..64, 24u8..=32)
            .prop_map(|(low, prefix)| format!("10.0.0.{low}/{prefix}").parse().unwrap());
        let six = (0u32..64, 120u8..=128)
            .prop_map(|(low, prefix)| format!("fd00::{low:x}/{prefix}").parse().unwrap());
        prop_oneof![four, six]
    }

    proptest! {
        #[test]
        fn a_list_says_what_its_entries_say_one_by_one(
            entries in prop::collection::vec((arb_net(), any::<bool>()), 0..24),
            otherwise: bool,
        ) {
            let verdict = |denies| if denies { Deny } else { Allow };
            let entries: Vec<(IpNet, Verdict)> =
                entries.into_iter().map(|(net, denies)| (net, verdict(denies))).collect();
            let list = AccessList::new(&entries, verdict(otherwise));
            for low in 0..=255u32 {
                for text in [format!("10.0.0.{low}"), format!("fd00::{low:x}"), format!("fd00::1:{low:x}")] {
                    let address: IpAddr = text.parse().unwrap();
                    let holding = entries.iter().filter(|(net, _)| net.contains(&address));
                    let said = holding.map(|(net, verdict)| (net.prefix_len(), *verdict)).max();
                    let expected = said.map_or(verdict(otherwise), |(_, verdict)| verdict);
                    prop_assert_eq!(list.verdict(address), expected, "{}", text);
                }
            }
        }
    }
}

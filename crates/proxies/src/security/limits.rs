//! How much one address may have: connections at one time, new ones and requests by time.
//!
//! One table for the whole process, of a fixed size, in which all workers count with atomics (law
//! 7). An address is one place in it, of IPv6 a network is. Where no place is free the one that was
//! quiet longest goes, but none that holds a connection; where all of a set do, the address is not
//! counted, which is counted.

use alloc::boxed::Box;
use core::net::IpAddr;
use core::time::Duration;

use base::mix::mix;
use base::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use base::time::{Instant, Tick};

/// Places among which an address may be.
const WAYS: usize = if cfg!(loom) { 2 } else { 8 };
/// Bits of a word that do not tell addresses apart. The highest tells that the place is settled: then
/// the others count connections. Before, they are a number that tells one claim from the next.
const COUNT_BITS: u32 = 24;
const SETTLED: u64 = 1 << (COUNT_BITS - 1);
const COUNT_MASK: u64 = SETTLED - 1;
/// The word of a place that is becoming an address's: nobody's, and not free.
const TAKEN: u64 = 1;
/// How often a place is tried for that others take at the same moment.
const TRIES: u32 = 8;

/// So many within a period. All of them may come at once; the next one when the part of the period
/// has passed that is one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In which time.
    pub period: Duration,
}

/// What an address may have; what is not given has no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitRules {
    /// Connections at one time.
    pub connections: Option<u32>,
    /// New connections.
    pub connection_rate: Option<Rate>,
    /// Requests.
    pub request_rate: Option<Rate>,
    /// Bits of an address that count: of IPv4, and of IPv6.
    pub prefixes: [u8; 2],
    /// Addresses that are told apart at one time.
    pub addresses: u32,
}

/// What an address has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Connections.
    Connections,
    /// New connections.
    Rate,
}

/// What addresses have.
#[derive(Debug)]
pub struct Limits {
    rules: LimitRules,
    seed: u64,
    sets: Box<[[Place; WAYS]]>,
    claims: AtomicU64,
    replaced: AtomicU64,
    uncounted: AtomicU64,
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Place {
    /// Which address, and how many connections it has; 0 if the place is free.
    word: AtomicU64,
    /// When its new connections, and its requests, would be within their rate again.
    connections_due: AtomicU64,
    requests_due: AtomicU64,
    /// When it was heard of last.
    seen: AtomicU32,
}

/// Where an address is looked for, and by what name.
#[derive(Clone, Copy)]
struct Name {
    set: usize,
    tag: u64,
}

impl Limits {
    /// Nobody has anything yet. Nobody outside may know the seed.
    pub fn new(rules: LimitRules, seed: u64) -> Self {
        let sets = (rules.addresses as usize).div_ceil(WAYS).max(1);
        let sets = (0..sets).map(|_| core::array::from_fn(|_| Place::default())).collect();
        let [claims, replaced, uncounted] = [0; 3].map(AtomicU64::new);
        Self { rules, seed, sets, claims, replaced, uncounted }
    }

    /// Bytes of a table for so many addresses.
    pub const fn bytes(addresses: u32) -> usize {
        (addresses as usize).div_ceil(WAYS) * size_of::<[Place; WAYS]>()
    }

    /// Counts a connection of this address, if it may have one more.
    ///
    /// # Errors
    /// What it has too much of; then nothing is counted.
    pub fn enter(&self, address: IpAddr, now: Instant) -> Result<(), Over> {
        let name = self.name(address);
        let most =
            self.rules.connections.map_or(COUNT_MASK, |most| u64::from(most).min(COUNT_MASK));
        for _ in 0..TRIES {
            let Some(place) = self.place(name, now) else { return Ok(()) };
            match place.count_in(name, most) {
                Ok(()) => {}
                Err(Missed::Full) => return Err(Over::Connections),
                Err(Missed::Gone) => continue,
            }
            return match self.rules.connection_rate {
                Some(rate) if !rate.admits(&place.connections_due, now) => {
                    place.count_out(name);
                    Err(Over::Rate)
                }
                _ => Ok(()),
            };
        }
        self.uncounted.fetch_add(1, Relaxed);
        Ok(())
    }

    /// A connection is over that [`enter`](Self::enter) let in. If it was one that could not be counted,
    /// it takes one off its address's others, so that these may be more than they should: never fewer.
    pub fn leave(&self, address: IpAddr) {
        let name = self.name(address);
        // Where none of its address's was counted, there is nothing to take one off.
        let _ = self.set(name).iter().find(|place| place.count_out(name));
    }

    /// Whether this address may have one more request; it counts if so.
    pub fn request(&self, address: IpAddr, now: Instant) -> bool {
        let Some(rate) = self.rules.request_rate else { return true };
        let place = self.place(self.name(address), now);
        place.is_none_or(|place| rate.admits(&place.requests_due, now))
    }

    /// Connections that count for any address now.
    pub fn connections(&self) -> u32 {
        let words = self.sets.iter().flatten().map(|place| place.word.load(SeqCst));
        let settled = words.filter(|word| word & SETTLED != 0);
        settled.map(|word| u32::try_from(word & COUNT_MASK).unwrap_or(u32::MAX)).sum()
    }

    /// Addresses that were forgotten for others so far, and how often one was not counted.
    pub fn figures(&self) -> [u64; 2] {
        [self.replaced.load(Relaxed), self.uncounted.load(Relaxed)]
    }

    fn name(&self, address: IpAddr) -> Name {
        let [four, six] = self.rules.prefixes.map(u32::from);
        let (family, bits) = match address.to_canonical() {
            IpAddr::V4(address) => {
                (4, u128::from(address.to_bits().checked_shr(32 - four).unwrap_or(0)))
            }
            IpAddr::V6(address) => (6, address.to_bits().checked_shr(128 - six).unwrap_or(0)),
        };
        let [high, low] = [bits >> 64, bits & u128::from(u64::MAX)];
        let spread = |number: u128| mix(u64::try_from(number).unwrap_or(0) ^ self.seed);
        let hash = mix(spread(high).rotate_left(family) ^ spread(low) ^ u64::from(family));
        // The low bits choose the set, the high ones are the tag: never 0.
        let set = usize::try_from(hash % self.sets.len() as u64).unwrap_or(0);
        Name { set, tag: hash >> COUNT_BITS | 1 }
    }

    fn set(&self, name: Name) -> &[Place; WAYS] {
        &self.sets[name.set]
    }

    /// The place of an address, which gets one if it has none and one can be had.
    fn place(&self, name: Name, now: Instant) -> Option<&Place> {
        let (set, tick) = (self.set(name), now.tick());
        for _ in 0..TRIES {
            let settled = match find(set, name, tick) {
                Found::Settled(place) => Some(place),
                Found::Claimed(place, claim) => settles(set, place, claim).then_some(place),
                Found::Quiet(place, word) => {
                    let claim = self.claim(name);
                    if !place.becomes(claim, word, tick) {
                        continue;
                    }
                    self.replaced.fetch_add(u64::from(word != 0), Relaxed);
                    settles(set, place, claim).then_some(place)
                }
                Found::Busy => None,
                Found::Nothing => break,
            };
            if let Some(place) = settled {
                place.seen.store(tick.0, Relaxed);
                return Some(place);
            }
        }
        self.uncounted.fetch_add(1, Relaxed);
        None
    }

    /// The word of a place that an address is about to have, unlike every one that others may still have
    /// in mind.
    fn claim(&self, name: Name) -> u64 {
        let number = self.claims.fetch_add(1, Relaxed) % COUNT_MASK + 1;
        name.tag << COUNT_BITS | number
    }
}

/// What a set has for an address.
enum Found<'s> {
    /// Its place.
    Settled(&'s Place),
    /// A place that it may get, and the claim to that.
    Claimed(&'s Place, u64),
    /// One that nobody needs, as it was seen: free, or quiet for longest.
    Quiet(&'s Place, u64),
    /// Every place is another's, or about to be: that is a matter of a moment.
    Busy,
    /// Every place is another's.
    Nothing,
}

/// Looks for the place that is settled, then for the first that is not, then for one to be had.
fn find(set: &[Place; WAYS], name: Name, tick: Tick) -> Found<'_> {
    let (mut claimed, mut busy) = (None, false);
    let mut quietest: Option<(u32, &Place, u64)> = None;
    for place in set {
        let word = place.word.load(SeqCst);
        if word >> COUNT_BITS == name.tag {
            if word & SETTLED != 0 {
                return Found::Settled(place);
            }
            claimed = claimed.or(Some(Found::Claimed(place, word)));
        }
        busy |= word != 0 && word & SETTLED == 0;
        let quiet = word == 0 || word & (SETTLED | COUNT_MASK) == SETTLED;
        let age = if word == 0 { u32::MAX } else { Tick(place.seen.load(Relaxed)).age(tick) };
        if quiet && quietest.is_none_or(|(oldest, ..)| age >= oldest) {
            quietest = Some((age, place, word));
        }
    }
    let none = if busy { Found::Busy } else { Found::Nothing };
    let quiet = quietest.map_or(none, |(_, place, word)| Found::Quiet(place, word));
    claimed.unwrap_or(quiet)
}

/// Settles which place is the address's; whether it is this one. Workers to whom it comes at one moment
/// may each claim one for it: each shows its claim before it looks for others, so that of two at least
/// one sees both. What is settled stays, else the first claim of the set. Only then is anything counted.
fn settles(set: &[Place; WAYS], place: &Place, claim: u64) -> bool {
    let mut before = true;
    for other in set {
        if core::ptr::eq(other, place) {
            before = false;
            continue;
        }
        let word = other.word.load(SeqCst);
        if word >> COUNT_BITS != claim >> COUNT_BITS {
            continue;
        }
        if before || word & SETTLED != 0 {
            place.ends(claim, 0);
            return false;
        }
        if !other.ends(word, 0) {
            return false;
        }
    }
    place.ends(claim, claim & !COUNT_MASK | SETTLED)
}

/// Why a connection is not counted.
enum Missed {
    /// The address has as many as it may.
    Full,
    /// The place has gone to another at this very moment.
    Gone,
}

impl Place {
    /// One more of the address, of which there may be `most`.
    fn count_in(&self, name: Name, most: u64) -> Result<(), Missed> {
        let more = |word: u64| (is_of(word, name) && word & COUNT_MASK < most).then(|| word + 1);
        match self.word.fetch_update(SeqCst, SeqCst, more) {
            Ok(_) => Ok(()),
            Err(word) if is_of(word, name) => Err(Missed::Full),
            Err(_) => Err(Missed::Gone),
        }
    }

    /// One less of the address, if there is one here; whether there was.
    fn count_out(&self, name: Name) -> bool {
        let fewer = |word: u64| (is_of(word, name) && word & COUNT_MASK > 0).then(|| word - 1);
        self.word.fetch_update(SeqCst, SeqCst, fewer).is_ok()
    }

    /// The place, which is as it was seen, is claimed; whether it still could be. What is due of the
    /// address before is forgotten before anybody can find it.
    fn becomes(&self, claim: u64, seen: u64, tick: Tick) -> bool {
        if self.word.compare_exchange(seen, TAKEN, SeqCst, SeqCst).is_err() {
            return false;
        }
        self.connections_due.store(0, Relaxed);
        self.requests_due.store(0, Relaxed);
        self.seen.store(tick.0, Relaxed);
        self.word.store(claim, SeqCst);
        true
    }

    /// A claim comes to that, unless something has become of it before; whether it does.
    fn ends(&self, claim: u64, word: u64) -> bool {
        self.word.compare_exchange(claim, word, SeqCst, SeqCst).is_ok()
    }
}

/// Whether that is the word of the address's place.
const fn is_of(word: u64, name: Name) -> bool {
    word >> COUNT_BITS == name.tag && word & SETTLED != 0
}

impl Rate {
    /// Whether one more is within the rate; it counts if so. (The generic cell rate algorithm, ITU-T
    /// I.371: `due` is when the address would have nothing outstanding.)
    fn admits(self, due: &AtomicU64, now: Instant) -> bool {
        let period = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX);
        let each = period / u64::from(self.count.max(1));
        let next = |due: u64| {
            let next = due.max(now.0).saturating_add(each);
            (next - now.0 <= period).then_some(next)
        };
        due.fetch_update(SeqCst, SeqCst, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::vec::Vec;

    const RULES: LimitRules = LimitRules {
        connections: None,
        connection_rate: None,
        request_rate: None,
        prefixes: [32, 64],
        addresses: 64,
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    #[test]
    fn an_address_has_so_many_connections_at_one_time_and_others_their_own() {
        let limits = Limits::new(LimitRules { connections: Some(2), ..RULES }, 7);
        for address in ["10.0.0.1", "10.0.0.2", "2001:db8::1"] {
            let address = ip(address);
            assert_eq!(limits.enter(address, at(0)), Ok(()));
            assert_eq!(limits.enter(address, at(0)), Ok(()));
            assert_eq!(limits.enter(address, at(0)), Err(Over::Connections));
            limits.leave(address);
            assert_eq!(limits.enter(address, at(0)), Ok(()));
            assert_eq!(limits.enter(address, at(9)), Err(Over::Connections));
        }
        // Of IPv6 a /64 is one, and IPv4 is the same wherever it stands.
        assert_eq!(limits.enter(ip("2001:db8::ffff:1"), at(0)), Err(Over::Connections));
        assert_eq!(limits.enter(ip("2001:db8:0:1::1"), at(0)), Ok(()));
        assert_eq!(limits.enter(ip("::ffff:10.0.0.1"), at(0)), Err(Over::Connections));
        assert_eq!(limits.figures(), [0, 0]);
    }

    #[test]
    fn prefixes_may_be_of_any_length() {
        for (prefixes, same) in [([24, 48], true), ([32, 128], false), ([0, 0], true)] {
            for (one, other) in [("10.0.0.1", "10.0.0.9"), ("2001:db8::1", "2001:db8:0:9::1")] {
                let rules = LimitRules { connections: Some(1), prefixes, ..RULES };
                let limits = Limits::new(rules, 7);
                assert_eq!(limits.enter(ip(one), at(0)), Ok(()));
                let met = limits.enter(ip(other), at(0));
                assert_eq!(met.is_err(), same, "{one} and {other} of {prefixes:?}");
            }
        }
    }

    #[test]
    fn a_rate_lets_a_burst_in_and_then_one_at_a_time() {
        let rate = Rate { count: 4, period: Duration::from_secs(1) };
        let limits = Limits::new(LimitRules { request_rate: Some(rate), ..RULES }, 7);
        let asks = |millis| limits.request(ip("10.0.0.1"), at(millis));
        let burst: Vec<bool> = (0..6).map(|_| asks(5000)).collect();
        assert_eq!(burst, [true, true, true, true, false, false]);
        assert!(!asks(5249) && asks(5250) && !asks(5251));
        assert!(asks(5500) && asks(5750));
        assert!(limits.request(ip("10.0.0.2"), at(5750)));
        let again: Vec<bool> = (0..5).map(|_| asks(9000)).collect();
        assert_eq!(again, [true, true, true, true, false]);
        // Over hours nothing is lost or won.
        let within = (0..1000u64).filter(|it| asks(20_000 + it * 50)).count();
        assert!((200..=204).contains(&within), "{within} in 50 s at 4/s");
    }

    #[test]
    fn a_connection_that_comes_too_soon_is_not_counted_as_one_that_is_here() {
        let rate = Rate { count: 1, period: Duration::from_secs(1) };
        let rules = LimitRules { connections: Some(2), connection_rate: Some(rate), ..RULES };
        let limits = Limits::new(rules, 7);
        let enter = |millis| limits.enter(ip("10.0.0.1"), at(millis));
        assert_eq!((enter(0), enter(1), enter(999)), (Ok(()), Err(Over::Rate), Err(Over::Rate)));
        assert_eq!((enter(1000), enter(9000)), (Ok(()), Err(Over::Connections)));
        limits.leave(ip("10.0.0.1"));
        assert_eq!(enter(9000), Ok(()), "the refused one cost nothing of the rate");
    }

    #[test]
    fn a_full_table_forgets_whom_it_heard_of_longest_ago_and_nobody_who_is_here() {
        let rules = LimitRules { connections: Some(1), addresses: 8, ..RULES };
        let limits = Limits::new(rules, 7);
        let many: Vec<IpAddr> =
            (1..=40u32).map(|n| core::net::Ipv4Addr::from_bits(n).into()).collect();
        // Eight are here: nobody else is counted, and nobody is refused for that.
        for address in &many[..8] {
            assert_eq!(limits.enter(*address, at(0)), Ok(()));
        }
        for address in &many[8..] {
            assert_eq!(
                (limits.enter(*address, at(1)), limits.enter(*address, at(1))),
                (Ok(()), Ok(()))
            );
            limits.leave(*address);
        }
        assert_eq!(limits.figures(), [0, 64]);
        for address in &many[..8] {
            assert_eq!(limits.enter(*address, at(2)), Err(Over::Connections));
            limits.leave(*address);
        }
        // They have left; those seen last are forgotten last.
        assert_eq!(limits.enter(many[0], at(5000)), Ok(()));
        limits.leave(many[0]);
        for address in &many[20..27] {
            assert_eq!(limits.enter(*address, at(6000)), Ok(()));
        }
        assert_eq!(limits.figures(), [7, 64]);
        assert_eq!(limits.enter(many[0], at(6000)), Ok(()));
        assert_eq!(limits.enter(many[0], at(6000)), Err(Over::Connections));
    }

    #[test]
    fn threads_count_together() {
        let rules = LimitRules { connections: Some(100), addresses: 64, ..RULES };
        let limits = Arc::new(Limits::new(rules, 7));
        let entered: usize = std::thread::scope(|scope| {
            let count = |limits: Arc<Limits>| {
                (0..1000u32)
                    .filter(|turn| {
                        let address = ip(if turn % 2 == 0 { "10.0.0.1" } else { "10.0.0.2" });
                        let entered = limits.enter(address, at(0)).is_ok();
                        if entered && turn % 3 == 0 {
                            limits.leave(address);
                        }
                        entered && turn % 3 != 0
                    })
                    .count()
            };
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn({
                        let limits = Arc::clone(&limits);
                        move || count(limits)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(entered, 200, "a hundred of each stayed");
    }
}

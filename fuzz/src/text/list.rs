//! Files of addresses that may connect or may not: read a second time, and each verdict found by
//! going through all entries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proxies::security::{AccessList, IpNet, Verdict};

/// Of more entries than this, none is looked up.
const MANY: usize = 40;

/// The bytes are a file. Its entries allow and deny in turn.
pub fn check(bytes: &[u8]) {
    let told: Option<Vec<Vec<Net>>> = entries(bytes).map(read).collect();
    match anteroom::read::list("list", bytes) {
        Ok(nets) => {
            let told = told.expect("an entry is wrong").concat();
            assert_eq!(nets.iter().map(Net::of).collect::<Vec<_>>(), told);
            if nets.len() <= MANY {
                look_up(&nets, &told);
            }
        }
        Err(error) => {
            assert!(told.is_none(), "{error}");
            assert!(!error.chars().any(char::is_control), "it steers a terminal: {error:?}");
            let number = error.split(':').nth(1).and_then(|number| number.parse::<usize>().ok());
            let number = number.expect("the line's number");
            let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            let good = |lines: &[&[u8]]| entries(&lines.join(&b'\n')).all(|it| read(it).is_some());
            assert!(good(&lines[..number - 1]) && !good(&lines[..number]), "{error}");
        }
    }
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Net {
    four: bool,
    /// The address, and of how many bits.
    bits: u128,
    width: u32,
    /// How many of them count.
    prefix: u32,
}

impl Net {
    fn new(address: IpAddr, prefix: Option<u32>) -> Option<Self> {
        let (four, bits, width) = match address {
            IpAddr::V4(four) => (true, u128::from(four.to_bits()), 32),
            IpAddr::V6(six) => (false, six.to_bits(), 128),
        };
        let prefix = prefix.unwrap_or(width);
        // IPv4 may be written within IPv6.
        let within = !four && prefix >= 96 && bits >> 32 == 0xffff;
        let (four, width, prefix) =
            if within { (true, 32, prefix - 96) } else { (four, width, prefix) };
        let bits = if within { bits & 0xffff_ffff } else { bits };
        let rest = width.checked_sub(prefix)?;
        let bits = bits.checked_shr(rest).and_then(|it| it.checked_shl(rest)).unwrap_or(0);
        Some(Self { four, bits, width, prefix })
    }

    fn of(net: &IpNet) -> Self {
        Self::new(net.addr(), Some(net.prefix_len().into())).expect("a network")
    }

    /// The bits behind the prefix.
    fn rest(self) -> u128 {
        let all = u128::MAX >> (128 - self.width);
        all.checked_shr(self.prefix).unwrap_or(0)
    }

    fn holds(self, address: IpAddr) -> bool {
        let one = Self::new(address, None).expect("an address");
        one.four == self.four && one.bits & !self.rest() == self.bits
    }

    /// Its first and last address, and those beside them.
    fn edges(self) -> [IpAddr; 4] {
        let last = self.bits | self.rest();
        [self.bits, last, self.bits.wrapping_sub(1), last.wrapping_add(1)].map(|bits| {
            if self.four {
                Ipv4Addr::from_bits((bits & 0xffff_ffff) as u32).into()
            } else {
                Ipv6Addr::from_bits(bits).into()
            }
        })
    }
}

/// What is no comment, no space and no mark of the byte order.
fn entries(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let lines = bytes.split(|byte| *byte == b'\n');
    let entry = |line: &'_ [u8]| line.iter().position(|byte| b"#;".contains(byte));
    let cut = lines.map(move |line| line[..entry(line).unwrap_or(line.len())].trim_ascii());
    cut.filter(|entry| !entry.is_empty())
}

/// An address, a network, or all of them.
fn read(entry: &[u8]) -> Option<Vec<Net>> {
    if entry == b"all" {
        let nowhere = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
        return nowhere.into_iter().map(|it| Net::new(it, Some(0))).collect();
    }
    let text = std::str::from_utf8(entry).ok()?;
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(number(prefix)?)),
        None => (text, None),
    };
    Some(vec![Net::new(address.parse().ok()?, prefix)?])
}

fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits && text.len() <= 3)
}

/// What becomes of addresses at the edges of each entry.
fn look_up(nets: &[IpNet], told: &[Net]) {
    let verdict = |place: usize| [Verdict::Allow, Verdict::Deny][place % 2];
    let otherwise = verdict(nets.len());
    let entries: Vec<_> = nets.iter().enumerate().map(|(at, net)| (*net, verdict(at))).collect();
    let list = AccessList::new(&entries, otherwise);
    for address in told.iter().flat_map(|net| net.edges()) {
        let holding = told.iter().enumerate().filter(|(_, net)| net.holds(address));
        // The smallest decides, and of two alike the one that denies.
        let smallest = holding.map(|(at, net)| (net.prefix, verdict(at))).max();
        let expected = smallest.map_or(otherwise, |(_, verdict)| verdict);
        assert_eq!(list.verdict(address), expected, "{address} of {told:?}");
    }
}

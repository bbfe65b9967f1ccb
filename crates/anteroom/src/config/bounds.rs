//! `[limits]`: what one address may have, and how slow a client may be.

use std::time::Duration;

use base::limits;
use proxies::security::{LimitRules, Rate};
use worker::LeastRate;

use super::fields::Fields;
use super::schema::Preset::{Default, Unset};
use super::schema::{Section, key, time};
use crate::settings::Complaints;

/// `[limits]`.
pub(crate) static LIMITS: Section = Section {
    title: "[limits]",
    keys: &[
        key(
            "connections",
            Unset { example: "100", means: "as many as there is room for" },
            "Most connections of one address at one time; one beyond is reset.",
        ),
        key(
            "connection_rate",
            Unset { example: "\"50/s\"", means: "as often as it likes" },
            "How often one address may connect: N/s, N/m, N/h; N at once, too.",
        ),
        key(
            "request_rate",
            Unset { example: "\"100/s\"", means: "as many as it likes" },
            "How many requests one address may send; one beyond is answered 429.",
        ),
        key(
            "addresses",
            Default(|| limits::LIMIT_ADDRESSES.to_string()),
            "Addresses that are told apart at one time; each takes 32 bytes.",
        ),
        key(
            "ipv4_prefix",
            Default(|| limits::PREFIXES[0].to_string()),
            "Bits of an IPv4 address that count, 1 to 32.",
        ),
        key(
            "ipv6_prefix",
            Default(|| limits::PREFIXES[1].to_string()),
            "Bits of an IPv6 address that count, 1 to 128.",
        ),
        key(
            "least_rate",
            Unset { example: "\"500B\"", means: "the deadlines alone decide" },
            "Bytes a second with which a request must arrive at least; slower ones get 408.",
        ),
        key(
            "least_rate_over",
            Default(|| time(limits::LEAST_RATE_OVER)),
            "Over how long that is looked at, again and again.",
        ),
    ],
};

/// Most of anything that one address may have.
const MOST: u32 = 16_000_000;

/// Reads the table. What bounds nothing is none.
pub(super) fn read(
    table: &Fields<'_>,
    out: &mut Complaints,
) -> (Option<LimitRules>, Option<LeastRate>) {
    let value = |given: Option<crate::settings::Given<u32>>| given.map(|given| given.value);
    let connections = value(table.count("connections", 1..=MOST, out));
    let rate = |name, out: &mut Complaints| Some(table.parsed(name, parse_rate, out)?.value);
    let (connection_rate, request_rate) = (rate("connection_rate", out), rate("request_rate", out));
    let addresses = value(table.count("addresses", 1024..=MOST, out));
    let [four, six] = limits::PREFIXES;
    let mut prefix = |name, most: u8, otherwise| {
        let given = value(table.count(name, 1..=most.into(), out));
        given.and_then(|bits| u8::try_from(bits).ok()).unwrap_or(otherwise)
    };
    let prefixes = [prefix("ipv4_prefix", 32, four), prefix("ipv6_prefix", 128, six)];
    let least = table.size("least_rate", out);
    let over = table.duration("least_rate_over", out).unwrap_or(limits::LEAST_RATE_OVER);
    let bytes = least.and_then(|given| {
        let bytes = u32::try_from(given.value).ok().filter(|bytes| (1..=1 << 30).contains(bytes));
        if bytes.is_none() {
            out.error(given.span, "`least_rate` must be 1 B to 1 GiB, each second");
        }
        bytes
    });
    let bounds = connections.is_some() || connection_rate.is_some() || request_rate.is_some();
    let rules = LimitRules {
        connections,
        connection_rate,
        request_rate,
        prefixes,
        addresses: addresses.unwrap_or(limits::LIMIT_ADDRESSES),
    };
    (bounds.then_some(rules), bytes.map(|bytes| LeastRate { bytes, over }))
}

/// `100/s`, `600/m`, `5000/h`.
fn parse_rate(text: &str) -> Result<Rate, String> {
    let remedy = || "write how many in which time, as in 100/s, 600/m or 5000/h".to_owned();
    let (count, unit) = text.split_once('/').ok_or_else(remedy)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(remedy()),
    };
    let digits = count.bytes().all(|byte| byte.is_ascii_digit());
    let count = count.parse().ok().filter(|count| digits && (1..=1_000_000_000).contains(count));
    count.map(|count| Rate { count, period: Duration::from_secs(seconds) }).ok_or_else(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_time() {
        for (text, count, seconds) in [("100/s", 100, 1), ("1/m", 1, 60), ("5000/h", 5000, 3600)] {
            let period = Duration::from_secs(seconds);
            assert_eq!(parse_rate(text), Ok(Rate { count, period }));
        }
        for text in ["", "100", "/s", "0/s", "-1/s", "+1/s", "1/d", "1 /s", "1/s ", "2000000000/s"]
        {
            assert!(parse_rate(text).unwrap_err().contains("100/s"), "{text}");
        }
    }
}

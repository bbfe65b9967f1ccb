//! Sizes, durations, shares, addresses and names, as a command line and a file have them.

use std::time::Duration;

use anteroom::read;
use control::Name;
use driver::Address;

/// The bytes are one text, read as each of them.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(size) = read::size(text) {
        assert_eq!(Some(size), size_of(text), "{text:?}");
    }
    if let Ok(length) = read::duration(text) {
        assert!(length >= Duration::from_millis(1) && length <= base::limits::TIMEOUT_MAX);
        if let Some(plain) = duration_of(text) {
            assert_eq!(length, plain, "{text:?}");
        }
    }
    if let Ok(share) = read::percent(text) {
        assert_eq!(text.trim_start_matches('0'), format!("{share}%").trim_start_matches('0'));
    }
    if let Ok(name) = text.parse::<Name>() {
        name_of(text, &name);
    }
    if let Ok((again, address)) = read::server(text) {
        server(text, &again, address.as_ref());
    }
}

/// A host that a name server can be asked for, and a port: written again it is the same.
fn name_of(text: &str, name: &Name) {
    let Some((host, port)) = text.rsplit_once(':') else { panic!("{text:?} has no port") };
    assert_eq!((&*name.host, Ok(name.port)), (host, port.parse()), "{text:?}");
    assert_eq!(name.to_string().parse::<Name>().as_ref(), Ok(name));
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    assert!(labels.iter().all(|label| (1..64).contains(&label.len())), "{text:?}");
    assert!(host.len() < 254 && host.parse::<std::net::IpAddr>().is_err(), "{text:?}");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    assert!(host.bytes().all(plain) && !host.ends_with(".."), "{text:?}");
    assert!(port.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
}

/// What is written again is read as the same, and what is no address is none of ours.
fn server(text: &str, again: &str, address: Option<&Address>) {
    let Ok((third, second)) = read::server(again) else { panic!("{again:?} of {text:?}") };
    assert_eq!((&*third, second.as_ref()), (again, address), "{text:?}");
    assert!(!again.contains('\0'), "no system takes {again:?}");
    if let Some(Address::Ip(ip)) = address {
        let (_, port) = text.rsplit_once(':').unwrap_or_default();
        assert!(!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
        assert_eq!(port.parse(), Ok(ip.port()));
    }
}

/// A whole number and a unit.
fn size_of(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let place = ["b", "kib", "mib", "gib", "tib"].iter().position(|known| *known == unit);
    let place = place.or(unit.is_empty().then_some(0))?;
    let bytes =
        number.parse::<u128>().ok()?.checked_mul(1024_u128.pow(u32::try_from(place).ok()?))?;
    i64::try_from(bytes).ok().and_then(|bytes| u64::try_from(bytes).ok())
}

/// A whole number and one of the units that everybody uses.
fn duration_of(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

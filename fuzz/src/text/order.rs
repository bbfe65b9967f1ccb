//! Who may give orders at the admin endpoints: no page of another site.

use std::net::IpAddr;

/// The bytes are field lines.
pub fn check(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    let fields: Vec<(&[u8], &[u8])> = lines
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
        .collect();
    if !anteroom::read::may_order(&fields) {
        return;
    }
    let all = |name: &str| {
        let named = fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|field| String::from_utf8_lossy(field.1).into_owned()).collect::<Vec<_>>()
    };
    let hosts = all("host");
    let [host] = &hosts[..] else { panic!("orders for {hosts:?}") };
    assert!(is_ours(host), "orders for {host:?}");
    if let Some(origin) = all("origin").first() {
        assert_eq!(*origin, format!("http://{host}"), "orders from another origin");
    }
    if let Some(site) = all("sec-fetch-site").first() {
        assert!(site == "same-origin" || site == "none", "orders from {site:?}");
    }
}

/// A name that no other site can have made its own.
fn is_ours(host: &str) -> bool {
    let end = host.rfind(':').filter(|at| !host[*at..].contains(']')).unwrap_or(host.len());
    let name = host[..end].trim_start_matches('[');
    let name = name.split(']').next().unwrap_or_default();
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

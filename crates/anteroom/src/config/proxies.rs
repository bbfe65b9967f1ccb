//! Which proxy works at a listener: the one that is named, or the one its port tells.

use driver::Address;

use super::fields::or_list;
use crate::settings::{Complaints, Given};

/// A proxy that exists in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Pass,
}

/// What can be done inside a connection in this version.
const BUILT: [(&str, Kind); 2] = [("http", Kind::Http), ("pass", Kind::Pass)];
/// What there will be.
const LATER: [&str; 5] = ["security", "cache", "files", "mail", "ftp"];

/// The proxies that ports tell (IANA's registry, and what servers commonly take instead). A port
/// that stands nowhere here is passed through.
const PORTS: [(&[u16], &str); 4] = [
    (&[80, 8000, 8008, 8080], "http"),
    (&[443, 8443], "security"),
    (&[25, 110, 143, 465, 587, 993, 995], "mail"),
    (&[21, 990], "ftp"),
];

/// The proxy of this listener; complains unless it is one that exists.
pub(crate) fn choose(
    address: &Given<Address>,
    named: Option<&Given<&str>>,
    complaints: &mut Complaints,
) -> Option<Kind> {
    let Some(named) = named else {
        let told = told(&address.value);
        return told.map_err(|text| complaints.error(address.span.clone(), text)).ok();
    };
    let name = named.value;
    if let Some((_, kind)) = BUILT.iter().find(|(built, _)| *built == name) {
        return Some(*kind);
    }
    let names = BUILT.map(|(name, _)| name);
    let text = if LATER.contains(&name) {
        format!(
            "the proxy `{name}` is not available in this version: write proxy = \"http\", or \
             proxy = \"pass\" to pass connections through unread"
        )
    } else {
        format!("there is no proxy `{name}`: {}", or_list("write", &names, name))
    };
    complaints.error(named.span.clone(), text);
    None
}

/// The proxy that the address alone tells, or why it leads to none that exists.
fn told(address: &Address) -> Result<Kind, String> {
    let remedy = "add proxy = \"http\" if HTTP is spoken there, or proxy = \"pass\" to pass \
                  connections through unread";
    let port = match address {
        Address::Ip(ip) if ip.port() != 0 => ip.port(),
        Address::Ip(_) => return Err(format!("port 0 tells no proxy: {remedy}")),
        Address::Unix(_) => {
            return Err(format!("a Unix socket has no port to tell the proxy: {remedy}"));
        }
    };
    let Some((_, name)) = PORTS.iter().find(|(ports, _)| ports.contains(&port)) else {
        return Ok(Kind::Pass);
    };
    let built = BUILT.iter().find(|(built, _)| built == name).map(|(_, kind)| *kind);
    built.ok_or_else(|| {
        format!(
            "port {port} tells the proxy `{name}`, which is not available in this version: {remedy}"
        )
    })
}

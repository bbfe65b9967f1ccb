//! Which proxy works at a listener: the one that is named, or the one its port tells.

use driver::Address;

use super::fields::or_list;
use crate::settings::{Complaints, Given};

/// What can be done inside a connection in this version.
const BUILT: [&str; 1] = ["http"];
/// What there will be.
const LATER: [&str; 6] = ["pass", "security", "cache", "files", "mail", "ftp"];

/// The proxies that ports tell (IANA's registry, and what servers commonly take instead).
const PORTS: [(&[u16], &str); 4] = [
    (&[80, 8000, 8008, 8080], "http"),
    (&[443, 8443], "security"),
    (&[25, 110, 143, 465, 587, 993, 995], "mail"),
    (&[21, 990], "ftp"),
];

/// Complains unless the proxy of this listener is one that exists.
pub(crate) fn check(
    address: &Given<Address>,
    named: Option<&Given<&str>>,
    complaints: &mut Complaints,
) {
    match named {
        Some(named) if BUILT.contains(&named.value) => {}
        Some(named) => {
            let name = named.value;
            let text = if LATER.contains(&name) {
                format!(
                    "the proxy `{name}` is not available in this version: write proxy = \"http\""
                )
            } else {
                format!("there is no proxy `{name}`: {}", or_list("write", &BUILT, name))
            };
            complaints.error(named.span.clone(), text);
        }
        None => {
            if let Some(text) = untold(&address.value) {
                complaints.error(address.span.clone(), text);
            }
        }
    }
}

/// Why the address alone does not lead to a proxy that exists.
fn untold(address: &Address) -> Option<String> {
    let remedy = "add proxy = \"http\" if HTTP is spoken there";
    let port = match address {
        Address::Ip(ip) if ip.port() != 0 => ip.port(),
        Address::Ip(_) => return Some(format!("port 0 tells no proxy: {remedy}")),
        Address::Unix(_) => {
            return Some(format!("a Unix socket has no port to tell the proxy: {remedy}"));
        }
    };
    let told = PORTS.iter().find(|(ports, _)| ports.contains(&port)).map(|(_, name)| *name);
    match told {
        Some(name) if BUILT.contains(&name) => None,
        Some(name) => Some(format!(
            "port {port} tells the proxy `{name}`, which is not available in this version: {remedy}"
        )),
        None => Some(format!(
            "port {port} tells no proxy, and passing connections through unread is not available \
             in this version: {remedy}"
        )),
    }
}

//! What a `[[listen]]` asks of those who come.

use std::path::Path;
use std::sync::Arc;

use driver::Address;
use proxies::security::{AccessList, IpNet, Verdict};
use wire::http1::may_be_added;
use worker::Balancers;

use super::fields::{Entry, Fields};
use super::schema::{LIST_ENTRY, PROXY_PROTOCOL};
use crate::lists::{Asked, Screened, Sources, parse};
use crate::settings::{Complaints, Given};

/// Reads what says who may come and what they may say, and the files it names.
pub(super) fn read(
    fields: &Fields<'_>,
    address: Option<&Given<Address>>,
    out: &mut Complaints,
) -> Screened {
    let balancers = balancers(fields, address, out);
    let asked = Asked { allow: sources("allow", fields, out), deny: sources("deny", fields, out) };
    let removed = fields.list("remove_headers", removable, out);
    let removed: Vec<_> = removed.into_iter().map(|given| given.value).collect();
    let trusted = trusted(fields, address, out);
    let rest =
        Screened { balancers, trusted, removed: removed.join(",").into(), ..Screened::default() };
    if asked.is_nothing() {
        return rest;
    }
    if matches!(address, Some(Given { value: Address::Unix(_), .. })) && rest.balancers.is_none() {
        for name in ["allow", "deny"] {
            let remedy = "says nothing of clients on a Unix socket, which have no address: leave it \
                          out, and let the mode of its directory decide";
            fields.misplaced(name, remedy, out);
        }
    }
    let files = asked.files();
    // What is wrong with a file was told already, where it is named.
    let list = asked.read().map(Arc::new);
    if let Err(error) = &list
        && !out.has_errors()
    {
        out.error(Some(fields.span()), error);
    }
    Screened { asked, files: Some(files), list: list.ok(), ..rest }
}

/// A field that may be removed.
fn removable(name: &str) -> Result<String, String> {
    if may_be_added(name) {
        return Ok(name.to_owned());
    }
    Err("write the name of a field that is passed on, as in X-User: what means something to HTTP \
         itself is dealt with already"
        .to_owned())
}

/// Reads `trusted_proxies`.
fn trusted(
    fields: &Fields<'_>,
    address: Option<&Given<Address>>,
    out: &mut Complaints,
) -> Option<Arc<Balancers>> {
    if !fields.has("trusted_proxies") {
        return None;
    }
    let from = fields.list("trusted_proxies", balancer, out);
    Some(Arc::new(trust("trusted_proxies", &from, address, false, out)))
}

/// Reads `proxy_protocol`.
fn balancers(
    fields: &Fields<'_>,
    address: Option<&Given<Address>>,
    out: &mut Complaints,
) -> Option<Arc<Balancers>> {
    let table = fields.table("proxy_protocol", &PROXY_PROTOCOL, out)?;
    if !table.has("from") {
        table.missing("from", out);
    }
    let from = table.list("from", balancer, out);
    let required = table.switch("required", out).unwrap_or(true);
    Some(Arc::new(trust("from", &from, address, required, out)))
}

/// Those that a list names. Somebody must be able to come to this address whom it names.
fn trust(
    name: &str,
    from: &[Given<Vec<IpNet>>],
    address: Option<&Given<Address>>,
    required: bool,
    out: &mut Complaints,
) -> Balancers {
    let trusted = from.iter().flat_map(|given| &given.value).map(|net| (*net, Verdict::Allow));
    let entries: Vec<_> = trusted.collect();
    let unix = from.iter().any(|given| given.value.is_empty());
    if let (Some(address), Some(first)) = (address, from.first()) {
        let remedy = match address.value {
            Address::Unix(_) if !unix => {
                Some("whoever comes through a Unix socket has no address: write \"unix:\"")
            }
            Address::Ip(_) if entries.is_empty() => Some(
                "nobody comes to this address through a Unix socket: name the balancers, as in 10.0.0.0/8",
            ),
            _ => None,
        };
        if let Some(remedy) = remedy {
            out.error(first.span.clone(), format_args!("`{name}`: {remedy}"));
        }
    }
    let addresses = AccessList::new(&entries, Verdict::Deny);
    Balancers { addresses, unix, required }
}

/// The networks of an entry; none for a Unix socket.
fn balancer(text: &str) -> Result<Vec<IpNet>, String> {
    let mut nets = Vec::new();
    if text != "unix:" {
        parse(text, &mut nets)?;
    }
    Ok(nets)
}

fn sources(name: &str, fields: &Fields<'_>, out: &mut Complaints) -> Option<Sources> {
    if !fields.has(name) {
        return None;
    }
    let mut sources = Sources::default();
    for entry in fields.entries(name, &LIST_ENTRY, out) {
        match entry {
            Entry::Text(text) => {
                if let Err(remedy) = parse(text.value, &mut sources.nets) {
                    out.error(text.span, format_args!("`{name}` = \"{}\": {remedy}", text.value));
                }
            }
            Entry::Table(table) => match table.text("file", out) {
                Some(path) => {
                    let file =
                        Sources { nets: Vec::new(), files: vec![Path::new(path.value).into()] };
                    let alone = Asked { allow: Some(file), deny: None };
                    if let Err(error) = alone.read() {
                        out.error(path.span, format_args!("`{name}`: {error}"));
                    }
                    sources.files.push(Path::new(path.value).into());
                }
                None if !table.has("file") => table.missing("file", out),
                None => {}
            },
        }
    }
    Some(sources)
}

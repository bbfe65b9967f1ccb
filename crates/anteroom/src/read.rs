//! What reads text from outside, and what writes down what came from there, for those who want
//! that without the program: a checker of configurations, and fuzzing.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use base::id::WorkerId;
use driver::Address;
use proxies::security::IpNet;
use worker::AccessRecord;

use crate::budget::Budget;
use crate::log::{self, Format};
use crate::roster::Roster;
use crate::settings::Machine;
use crate::{admin, config, lists, quantity, resolve};

/// What `anteroom check` says of a configuration of this name, on a machine with 20,000
/// descriptors and two cores.
///
/// # Errors
/// Everything that is wrong, each with file, line, column and remedy.
pub fn configuration(name: &str, text: &str) -> Result<String, String> {
    let machine = Machine { descriptors: 20_000, cores: 2 };
    let configured = config::check_text(name, text, machine)?;
    let settings = &configured.settings;
    for worker in [0, settings.workers - 1] {
        settings.plan(WorkerId(worker)).sockets();
    }
    let (roster, budget) = (Roster(settings), Budget::of(settings));
    Ok(format!("{}{roster}{budget}", configured.warnings))
}

/// A size in bytes: `65536`, `2KiB`, `64MiB`.
///
/// # Errors
/// What would be right.
pub fn size(text: &str) -> Result<u64, String> {
    quantity::parse_size(text)
}

/// A duration: `300ms`, `30s`, `5m`, `1h`.
///
/// # Errors
/// What would be right.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    quantity::parse_duration(text)
}

/// A share: `20%`.
///
/// # Errors
/// What would be right.
pub fn percent(text: &str) -> Result<u32, String> {
    quantity::parse_percent(text)
}

/// The networks in a file of addresses, of this name, and what stands in it.
///
/// # Errors
/// With file, line and remedy.
pub fn list(name: &str, content: &[u8]) -> Result<Vec<IpNet>, String> {
    let mut nets = Vec::new();
    lists::parse_all(&name, content, &mut nets).map_err(|unread| unread.to_string())?;
    Ok(nets)
}

/// A server, as it is written again: an address, or a name with a port.
///
/// # Errors
/// What would be right.
pub fn server(text: &str) -> Result<(String, Option<Address>), String> {
    let target = resolve::target(text)?;
    let address = match &target {
        resolve::Target::Address(address) => Some(address.clone()),
        resolve::Target::Name(_) => None,
    };
    Ok((target.to_string(), address))
}

/// The line of the access log for one exchange, in JSON or in the common format.
pub fn access_line(record: &AccessRecord<'_>, json: bool) -> Vec<u8> {
    let format = if json { Format::Json } else { Format::Common };
    let names = log::Names {
        listeners: vec!["127.0.0.1:80".to_owned()],
        servers: vec![["app".to_owned(), "127.0.0.1:8000".to_owned()]],
    };
    let mut line = Vec::new();
    log::Scribe::new(format, names).push(record, &mut line);
    line
}

/// Whether the admin endpoints take an order with these fields, on a TCP address.
pub fn may_order(fields: &[(&[u8], &[u8])]) -> bool {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let read = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        let (Ok(name), Ok(value)) = read else { return false };
        headers.append(name, value);
    }
    admin::judge(&Method::POST, &headers).is_ok()
}

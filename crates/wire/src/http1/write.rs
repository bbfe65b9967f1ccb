//! Heads in canonical form, into a fixed slice: what is for this hop only stays out, what the
//! next hop must know is written anew.

use core::net::IpAddr;

use super::bytes::is_token;
use super::fields::{FieldKind, kind_of};
use super::forwarded::Believed;
use super::framing::Version;
use super::request::RequestHead;
use super::response::ResponseHead;
use super::writer::{Full, Writer};

/// The field that carries a request's ID, both ways.
pub(super) const REQUEST_ID: &[u8] = b"X-Request-ID";

/// What a request's head tells the upstream of the way it came.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// The client's address; `None` for a client on a Unix socket.
    pub peer: Option<IpAddr>,
    /// How the client reached us: `http` or `https`.
    pub proto: &'a str,
    /// What the client, if it is a proxy that is trusted, tells of whom the request is from.
    pub believed: Believed<'a>,
    /// The host for requests that name none.
    pub default_host: &'a str,
    /// Our name in `Via`: a token.
    pub via: &'a str,
    /// Whether the upstream's connection is to be used again.
    pub persistent: bool,
    /// What `X-Request-ID` says instead of what came, if anything is to be said.
    pub request_id: Option<&'a [u8]>,
    /// The protocol that the upstream is asked to go on with (RFC 9110 §7.8).
    pub upgrade: Option<&'a [u8]>,
    /// Fields that only we may write, with commas between them: what came of them is removed.
    pub removed: &'a str,
    /// One of them, and what it says.
    pub added: Option<(&'a str, &'a str)>,
    /// Field lines to go with them, each with its end, from whoever let the client in.
    pub granted: &'a [u8],
    /// Another of them, and who the client is found to be.
    pub subject: Option<(&'a str, &'a [u8])>,
    /// Whether `Authorization` is passed on: it was for us.
    pub passes_credentials: bool,
}

/// Writes a request's head, but neither `Content-Length` nor the empty line: those are
/// [`finish_request`]'s, because a chunked body's length is known last.
///
/// Request line, `Host`, the end-to-end fields in their order and spelling, then ours:
/// `X-Forwarded-For`, `-Proto`, `-Host`, `Forwarded` (RFC 7239), `Via` (RFC 9110 §7.6.3),
/// `X-Request-ID`, and `Connection` with `Upgrade` where a protocol is asked for. An empty `Host` becomes the default one (RFC 9112 §3.3).
/// It is longer than the received head by one byte a field at most and by what ours need: by less
/// than 1 KiB when `default_host` has up to [`super::HOST_MAX`] bytes, `via` up to 32 and
/// `request_id` up to 64; the fields that are added come on top.
///
/// # Errors
/// [`Full`] when the room does not suffice.
pub fn write_request(
    w: &mut Writer<'_>,
    head: &RequestHead<'_>,
    forwarding: &Forwarding<'_>,
) -> Result<(), Full> {
    let [root, rest] = head.target.parts();
    for piece in [head.method.as_str(), " ", root, rest, " HTTP/1.1\r\n"] {
        w.push(piece.as_bytes())?;
    }
    let host = head.host.filter(|host| !host.is_empty()).unwrap_or(forwarding.default_host);
    w.field(b"Host", host.as_bytes())?;
    for field in head.fields.iter() {
        if !forwarding.removed.is_empty() && is_one_of(field.name, forwarding.removed) {
            continue;
        }
        if !forwarding.passes_credentials && is_named(field.name, "authorization") {
            continue;
        }
        match (field.kind, head.max_forwards) {
            (FieldKind::MaxForwards, None) if head.fields.has_option(field.name) => {}
            (FieldKind::MaxForwards, Some(left)) => {
                // At 0 it is not passed on, but may be kept in this form until it is answered.
                w.push(b"Max-Forwards: ")?;
                w.number(left.saturating_sub(1))?;
                w.push(b"\r\n")?;
            }
            (FieldKind::RequestId, _) if forwarding.request_id.is_some() => {}
            (
                FieldKind::EndToEnd
                | FieldKind::Via
                | FieldKind::Date
                | FieldKind::MaxForwards
                | FieldKind::RequestId
                | FieldKind::AccelBuffering,
                _,
            ) => w.field(field.name, field.value)?,
            _ => {}
        }
    }
    write_forwarding(w, head, forwarding)?;
    let protocol = match head.version {
        Version::V10 => "1.0 ",
        Version::V11 => "1.1 ",
    };
    for piece in ["Via: ", protocol, forwarding.via, "\r\n"] {
        w.push(piece.as_bytes())?;
    }
    if let Some((name, value)) = forwarding.added {
        w.field(name.as_bytes(), value.as_bytes())?;
    }
    if let Some((name, value)) = forwarding.subject {
        w.field(name.as_bytes(), value)?;
    }
    w.push(forwarding.granted)?;
    if let Some(id) = forwarding.request_id {
        w.field(REQUEST_ID, id)?;
    }
    match forwarding.upgrade {
        Some(protocol) => write_upgrade(w, protocol),
        None if forwarding.persistent => Ok(()),
        None => write_connection(w, ConnectionField::Close),
    }
}

/// Whether a field may stand in heads as one that only we write: a token that means nothing to HTTP.
pub fn may_be_added(name: &str) -> bool {
    is_token(name.as_bytes()) && kind_of(name.as_bytes()) == FieldKind::EndToEnd
}

/// Whether a server may take a field for one of these, which have commas between them: many read `-`
/// and `_` alike.
pub fn is_one_of(field: &[u8], names: &str) -> bool {
    names.split(',').any(|name| is_named(field, name))
}

/// Whether a server may take a field for `name`.
fn is_named(field: &[u8], name: &str) -> bool {
    let folded = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    field.len() == name.len()
        && field.iter().zip(name.bytes()).all(|(a, b)| folded(*a) == folded(b))
}

/// Both fields of an upgrade, which goes no further than the next hop.
fn write_upgrade(w: &mut Writer<'_>, protocol: &[u8]) -> Result<(), Full> {
    w.push(b"Connection: upgrade\r\n")?;
    w.field(b"Upgrade", protocol)
}

/// Ends a request's head: `length` is that of its body, `None` when it has none.
///
/// # Errors
/// [`Full`] when the room does not suffice.
pub fn finish_request(w: &mut Writer<'_>, length: Option<u64>) -> Result<(), Full> {
    if let Some(length) = length {
        w.push(b"Content-Length: ")?;
        w.number(length)?;
        w.push(b"\r\n")?;
    }
    w.push(b"\r\n")
}

/// Ends the head of a request whose body follows in chunks.
///
/// # Errors
/// [`Full`] when the room does not suffice.
pub fn finish_chunked_request(w: &mut Writer<'_>) -> Result<(), Full> {
    w.push(b"Transfer-Encoding: chunked\r\n\r\n")
}

fn write_forwarding(
    w: &mut Writer<'_>,
    head: &RequestHead<'_>,
    forwarding: &Forwarding<'_>,
) -> Result<(), Full> {
    // A client on a dual-stack listener is the IPv4 client it really is.
    let peer = forwarding.peer.map(|peer| peer.to_canonical());
    let believed = &forwarding.believed;
    let host = believed.host.or(head.host).filter(|host| !host.is_empty());
    let proto = believed.proto.unwrap_or(forwarding.proto);
    if peer.or(believed.client).is_some() {
        w.push(b"X-Forwarded-For: ")?;
        for (at, address) in believed.way(&head.fields).chain(peer).enumerate() {
            if at > 0 {
                w.push(b", ")?;
            }
            w.address(address)?;
        }
        w.push(b"\r\n")?;
    }
    w.field(b"X-Forwarded-Proto", proto.as_bytes())?;
    if let Some(host) = host {
        w.field(b"X-Forwarded-Host", host.as_bytes())?;
    }
    let client = believed.client.or(peer);
    w.push(b"Forwarded: for=")?;
    match client {
        None => w.push(b"unknown")?,
        Some(client @ IpAddr::V4(_)) => w.address(client)?,
        Some(client @ IpAddr::V6(_)) => {
            w.push(b"\"[")?;
            w.address(client)?;
            w.push(b"]\"")?;
        }
    }
    if let Some(host) = host {
        // A host may hold what a token may not, but never what a quoted string may not.
        for piece in [";host=\"", host, "\""] {
            w.push(piece.as_bytes())?;
        }
    }
    for piece in [";proto=", proto, "\r\n"] {
        w.push(piece.as_bytes())?;
    }
    Ok(())
}

/// What a response's head says of the client's connection (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionField {
    /// Nothing: an HTTP/1.1 client takes it for persistent.
    None,
    /// It is closed after this response.
    Close,
    /// It is kept: for an HTTP/1.0 client that asked.
    KeepAlive,
}

/// How a response's body reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// There is none, or it has the length that the upstream told.
    AsIs,
    /// In chunks.
    Chunked,
    /// It ends where the connection ends.
    UntilClose,
}

/// How a response is delivered to its client.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The time as an IMF-fixdate, for a response without `Date` (RFC 9110 §6.6.1).
    pub date: &'a [u8],
    /// What to say of the connection.
    pub connection: ConnectionField,
    /// How the body is sent.
    pub body: Sent,
    /// Whether the upstream's trailers follow the body, so that what `Trailer` says is true.
    pub trailers: bool,
    /// What `X-Request-ID` says instead of what came, if anything is to be said.
    pub request_id: Option<&'a [u8]>,
    /// The protocol that a 101 switches to.
    pub upgrade: Option<&'a [u8]>,
}

/// Writes a response's head with its empty line: status line in our own version (RFC 9110 §2.5),
/// the end-to-end fields in their order and spelling, then what the delivery needs.
///
/// `Content-Length` is kept when the body is sent as it is; not in 1xx and 204, where it must
/// not be (RFC 9110 §8.6).
///
/// # Errors
/// [`Full`] when the room does not suffice.
pub fn write_response(
    w: &mut Writer<'_>,
    head: &ResponseHead<'_>,
    delivery: &Delivery<'_>,
) -> Result<(), Full> {
    w.push(b"HTTP/1.1 ")?;
    w.number(u64::from(head.status))?;
    w.push(b" ")?;
    w.push(head.reason)?;
    w.push(b"\r\n")?;
    let keeps_length = delivery.body == Sent::AsIs && !head.is_interim() && head.status != 204;
    write_response_fields(w, head, keeps_length, delivery)?;
    if !head.fields.has(FieldKind::Date) {
        w.field(b"Date", delivery.date)?;
    }
    if let Some(id) = delivery.request_id {
        w.field(REQUEST_ID, id)?;
    }
    if delivery.body == Sent::Chunked {
        w.push(b"Transfer-Encoding: chunked\r\n")?;
    }
    if names_upgrade(head) {
        w.push(b"Connection: upgrade\r\n")?;
    }
    match delivery.upgrade {
        Some(protocol) => write_upgrade(w, protocol)?,
        None => write_connection(w, delivery.connection)?,
    }
    w.push(b"\r\n")
}

fn write_response_fields(
    w: &mut Writer<'_>,
    head: &ResponseHead<'_>,
    keeps_length: bool,
    delivery: &Delivery<'_>,
) -> Result<(), Full> {
    for field in head.fields.iter() {
        let kept = match field.kind {
            FieldKind::ContentLength => keeps_length,
            FieldKind::Trailer => delivery.trailers,
            FieldKind::RequestId => delivery.request_id.is_none(),
            FieldKind::Upgrade => names_upgrade(head),
            FieldKind::TransferEncoding
            | FieldKind::Connection
            | FieldKind::HopByHop
            | FieldKind::AccelBuffering
            | FieldKind::Nominated => false,
            // In a response these are fields like any other.
            FieldKind::Host | FieldKind::Expect | FieldKind::MaxForwards => {
                !head.fields.has_option(field.name)
            }
            FieldKind::EndToEnd | FieldKind::Via | FieldKind::Date | FieldKind::Forwarding => true,
        };
        if kept {
            let is_length = field.kind == FieldKind::ContentLength;
            w.field(field.name, if is_length { shortest(field.value) } else { field.value })?;
        }
    }
    Ok(())
}

/// A number without the zeros before it: some clients take those for octal.
fn shortest(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[zeros.min(digits.len().saturating_sub(1))..]
}

/// Whether the response must say to which protocols a client should switch: 426 means nothing
/// without them (RFC 9110 §15.5.22).
const fn names_upgrade(head: &ResponseHead<'_>) -> bool {
    head.status == 426 && head.fields.has(FieldKind::Upgrade)
}

pub(super) fn write_connection(w: &mut Writer<'_>, field: ConnectionField) -> Result<(), Full> {
    match field {
        ConnectionField::None => Ok(()),
        ConnectionField::Close => w.push(b"Connection: close\r\n"),
        ConnectionField::KeepAlive => w.push(b"Connection: keep-alive\r\n"),
    }
}

#[cfg(test)]
mod tests;

//! Responses of our own.

use super::write::{ConnectionField, REQUEST_ID, write_connection};
use super::writer::{Full, Writer};

/// The interim response that asks for a body (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A body of the operator's own for one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// What `Content-Type` says.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// A short error response of our own, or one that sends the client elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct RefusalText<'a> {
    /// 300 to 599.
    pub status: u16,
    /// What is wrong, in one line: [`super::Fault::reason`] or words of the caller's.
    pub detail: &'a str,
    /// After how many seconds to come again (RFC 9110 §10.2.3).
    pub retry_after: Option<u32>,
    /// What to say of the client's connection.
    pub connection: ConnectionField,
    /// The time as an IMF-fixdate (RFC 9110 §5.6.7).
    pub date: &'a [u8],
    /// Whether the request was HEAD: then the body is left out, not its length.
    pub to_head_request: bool,
    /// What `X-Request-ID` says, if anything.
    pub request_id: Option<&'a [u8]>,
    /// Field lines of the caller's, each with its end.
    pub fields: &'a [u8],
    /// The body instead of our two lines.
    pub page: Option<Page<'a>>,
}

/// Writes a whole response: status line, fields, and a body: the page's, or two lines.
///
/// # Errors
/// [`Full`] when the room does not suffice; beside a page and the caller's fields, 512 bytes do for details up to 128.
pub fn write_refusal(w: &mut Writer<'_>, refusal: &RefusalText<'_>) -> Result<(), Full> {
    let reason = reason_phrase(refusal.status);
    let own = Page { content_type: "text/plain; charset=utf-8", body: b"" };
    let body_length = match refusal.page {
        Some(page) => page.body.len(),
        None => 4 + reason.len() + 1 + refusal.detail.len() + 1,
    };
    w.push(b"HTTP/1.1 ")?;
    write_status(w, refusal.status, reason)?;
    w.push(b"\r\n")?;
    w.field(b"Date", refusal.date)?;
    w.field(b"Content-Type", refusal.page.unwrap_or(own).content_type.as_bytes())?;
    w.push(b"Content-Length: ")?;
    w.number(body_length as u64)?;
    if let Some(seconds) = refusal.retry_after {
        w.push(b"\r\nRetry-After: ")?;
        w.number(u64::from(seconds))?;
    }
    w.push(b"\r\n")?;
    if let Some(id) = refusal.request_id {
        w.field(REQUEST_ID, id)?;
    }
    w.push(refusal.fields)?;
    write_connection(w, refusal.connection)?;
    w.push(b"\r\n")?;
    if refusal.to_head_request {
        return Ok(());
    }
    if let Some(page) = refusal.page {
        return w.push(page.body);
    }
    write_status(w, refusal.status, reason)?;
    w.push(b"\n")?;
    w.push(refusal.detail.as_bytes())?;
    w.push(b"\n")
}

/// Writes a whole 200 without a body: the answer to OPTIONS that may go no further
/// (RFC 9110 §7.6.2, §9.3.7).
///
/// # Errors
/// [`Full`] when the room does not suffice; 256 bytes do for a `request_id` of up to 64.
pub fn write_empty(
    w: &mut Writer<'_>,
    date: &[u8],
    connection: ConnectionField,
    request_id: Option<&[u8]>,
) -> Result<(), Full> {
    w.push(b"HTTP/1.1 200 OK\r\n")?;
    w.field(b"Date", date)?;
    w.push(b"Content-Length: 0\r\n")?;
    if let Some(id) = request_id {
        w.field(REQUEST_ID, id)?;
    }
    write_connection(w, connection)?;
    w.push(b"\r\n")
}

fn write_status(w: &mut Writer<'_>, status: u16, reason: &str) -> Result<(), Full> {
    w.number(u64::from(status))?;
    w.push(b" ")?;
    w.push(reason.as_bytes())
}

/// The customary phrase of a status (RFC 9110 §15, RFC 6585); empty for one without.
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::space;
    use super::*;
    use crate::http1::{Fault, Limits, ResponseFraming, parse_response};
    use std::string::String;

    const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn written(refusal: &RefusalText<'_>) -> String {
        let mut room = [0; 512];
        let mut writer = Writer::new(&mut room);
        write_refusal(&mut writer, refusal).unwrap();
        String::from_utf8(writer.written().to_vec()).unwrap()
    }

    #[test]
    fn refusal_in_full() {
        let mut refusal = RefusalText {
            status: 503,
            detail: "queue full",
            retry_after: Some(7),
            connection: ConnectionField::Close,
            date: DATE,
            to_head_request: false,
            request_id: None,
            fields: b"",
            page: None,
        };
        let head = "HTTP/1.1 503 Service Unavailable\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Length: 35\r\nRetry-After: 7\r\n\
            Connection: close\r\n\r\n";
        let body = "503 Service Unavailable\nqueue full\n";
        assert_eq!(written(&refusal), String::from(head) + body);
        refusal.to_head_request = true;
        assert_eq!(written(&refusal), head);
    }

    #[test]
    fn refusals_are_responses() {
        for fault in [Fault::BareLf, Fault::CodingUnknown, Fault::TargetTooLong] {
            let refusal = RefusalText {
                status: fault.status(),
                detail: fault.reason(),
                retry_after: None,
                connection: ConnectionField::None,
                date: DATE,
                to_head_request: false,
                request_id: None,
                fields: b"",
                page: None,
            };
            let text = written(&refusal);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let head = String::from(head) + "\r\n\r\n";
            let limits = Limits { target: 0, fields: 8 };
            let parsed = parse_response(head.as_bytes(), false, &limits, space()).unwrap();
            assert_eq!(parsed.status, fault.status());
            assert_eq!(parsed.framing, ResponseFraming::Length(body.len() as u64));
            assert!(parsed.persistent && body.contains(fault.reason()));
        }
    }

    #[test]
    fn pages_and_ids() {
        let mut refusal = RefusalText {
            status: 502,
            detail: "not shown",
            retry_after: None,
            connection: ConnectionField::KeepAlive,
            date: DATE,
            to_head_request: false,
            request_id: Some(b"abc"),
            fields: b"",
            page: Some(Page { content_type: "text/html", body: b"<p>\xff</p>" }),
        };
        let head = "HTTP/1.1 502 Bad Gateway\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Content-Type: text/html\r\nContent-Length: 8\r\nX-Request-ID: abc\r\n\
            Connection: keep-alive\r\n\r\n";
        let mut room = [0; 512];
        let mut writer = Writer::new(&mut room);
        write_refusal(&mut writer, &refusal).unwrap();
        assert_eq!(writer.written(), [head.as_bytes(), b"<p>\xff</p>"].concat());
        refusal.to_head_request = true;
        assert_eq!(written(&refusal), head);
    }

    #[test]
    fn empty_answer_in_full() {
        let mut room = [0; 256];
        let mut writer = Writer::new(&mut room);
        write_empty(&mut writer, DATE, ConnectionField::Close, Some(b"abc")).unwrap();
        let expected = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Content-Length: 0\r\nX-Request-ID: abc\r\nConnection: close\r\n\r\n";
        assert_eq!(writer.written(), expected.as_bytes());
    }
}

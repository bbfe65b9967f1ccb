//! Who may give orders at the admin endpoints: not a page of another site in the operator's
//! browser.
//!
//! Such a page can send requests here. Its `Origin` gives it away, and, when it made its own
//! name point here (DNS rebinding), the `Host` it was loaded from does.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request pass or refuses it with 403. `own` is the admin address, none for a Unix
/// socket, which no browser reaches.
pub(super) async fn check(
    State(own): State<Option<SocketAddr>>,
    request: Request,
    next: Next,
) -> Response {
    match own.map_or(Ok(()), |_| judge(request.method(), request.headers())) {
        Ok(()) => next.run(request).await,
        Err(why) => (StatusCode::FORBIDDEN, format!("{why}\n")).into_response(),
    }
}

/// Figures may be read under any name this machine is known by; orders are judged.
///
/// # Errors
/// Why not.
pub(crate) fn judge(method: &Method, headers: &HeaderMap) -> Result<(), &'static str> {
    if method == Method::GET || method == Method::HEAD {
        return Ok(());
    }
    if !is_trusted_host(headers) {
        return Err("the Host must be localhost or an IP address: speak to this address directly");
    }
    if is_foreign(headers) {
        return Err("requests from pages of another origin are refused");
    }
    Ok(())
}

fn is_trusted_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).into_iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    host.to_str().is_ok_and(cannot_be_rebound)
}

/// `localhost` or an address, with a port or without. A page of another site can have its own name
/// resolve to us, and name us by that; it cannot have an address lead anywhere else.
fn cannot_be_rebound(host: &str) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        let Some((address, port)) = bracketed.split_once(']') else { return false };
        return address.parse::<Ipv6Addr>().is_ok() && is_port(port);
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    (name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok()) && is_port(port)
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    text.is_empty() || text.strip_prefix(':').is_some_and(digits)
}

/// Whether a browser says that another origin's page sent this.
fn is_foreign(headers: &HeaderMap) -> bool {
    let crosses =
        headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none");
    let origin = headers.get(header::ORIGIN).is_some_and(|origin| {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        origin.is_none() || origin != host
    });
    crosses || origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(method: &Method, fields: &[(&'static str, &str)]) -> bool {
        let headers = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        judge(method, &headers).is_ok()
    }

    const HERE: &str = "127.0.0.1:9900";

    #[test]
    fn tools_that_speak_to_the_address_pass() {
        for host in ["127.0.0.1:9900", "localhost:9900", "LOCALHOST", "[::1]:9900", "10.0.0.1"] {
            assert!(verdict(&Method::POST, &[("host", host)]), "{host}");
        }
        let own_page = [("host", HERE), ("origin", "http://127.0.0.1:9900")];
        assert!(verdict(&Method::POST, &own_page));
        assert!(verdict(&Method::POST, &[("host", HERE), ("sec-fetch-site", "none")]));
        assert!(verdict(&Method::GET, &[("host", "box.example:9900")]), "a scrape by name");
    }

    #[test]
    fn rebound_names_give_no_orders() {
        for host in [
            "evil.example",
            "evil.example:9900",
            "127.0.0.1.evil.example",
            "",
            "[::1",
            ":9900",
            "[::1].evil.example",
            "localhost:evil.example",
            "127.0.0.1:9900.evil.example",
            "a:::[]1",
        ] {
            assert!(!verdict(&Method::POST, &[("host", host)]), "{host}");
        }
        assert!(!verdict(&Method::POST, &[]));
        assert!(!verdict(&Method::POST, &[("host", HERE), ("host", "localhost")]));
    }

    #[test]
    fn pages_of_others_give_no_orders() {
        for origin in
            ["http://evil.example", "null", "https://127.0.0.1:9900", "http://127.0.0.1:80"]
        {
            assert!(!verdict(&Method::POST, &[("host", HERE), ("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(!verdict(&Method::POST, &[("host", HERE), ("sec-fetch-site", site)]));
        }
    }
}

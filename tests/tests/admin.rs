//! The admin endpoints: metric names and labels that other programs rely on.

use blackbox::client::Client;
use blackbox::proxy::Anteroom;
use blackbox::upstream::Upstream;

/// A metric's name and some of its labels.
type Series = (&'static str, &'static [(&'static str, &'static str)]);

/// A proxy that has served 10 requests, refused 1, and has one client parked.
fn used(upstream: &Upstream) -> (Anteroom, Client) {
    let proxy = Anteroom::before(upstream.address());
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(proxy.client().send("nonsense\r\n\r\n").response().status, 400);
    proxy.until("the refused client to be gone", |metrics| {
        (metrics.sum("anteroom_clients", &[]) - 1.0).abs() < f64::EPSILON
    });
    (proxy, client)
}

#[test]
fn metrics_bear_the_names_of_the_contract() {
    let upstream = Upstream::pages();
    let (proxy, client) = used(&upstream);
    let metrics = proxy.quiet();
    let labelled: [Series; 22] = [
        ("anteroom_clients", &[("state", "parked")]),
        ("anteroom_clients", &[("state", "active")]),
        ("anteroom_clients_accepted_total", &[]),
        ("anteroom_clients_closed_total", &[("reason", "refused")]),
        ("anteroom_buffers", &[("state", "free")]),
        ("anteroom_buffers", &[("state", "used")]),
        ("anteroom_buffer_bytes", &[]),
        ("anteroom_exchanges", &[("state", "ready")]),
        ("anteroom_exchanges", &[("state", "draining")]),
        ("anteroom_requests_total", &[("proxy", "http"), ("code", "2xx")]),
        ("anteroom_requests_total", &[("proxy", "http"), ("code", "4xx")]),
        ("anteroom_upstream_connections", &[("state", "idle")]),
        ("anteroom_upstream_connections", &[("state", "leased")]),
        ("anteroom_upstream_connections", &[("state", "pinned")]),
        ("anteroom_upstream_connections", &[("state", "connecting")]),
        ("anteroom_upstream_connects_total", &[]),
        ("anteroom_spool_bytes", &[]),
        ("anteroom_worker_restarts_total", &[]),
        ("anteroom_request_seconds_count", &[]),
        ("anteroom_request_seconds_bucket", &[("le", "+Inf")]),
        ("anteroom_upstream_seconds_sum", &[]),
        ("anteroom_queue_seconds_count", &[]),
    ];
    let missing: Vec<_> =
        labelled.iter().filter(|(name, labels)| !metrics.has(name, labels)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in\n{}", proxy.ask("/metrics").text());
    assert!(!metrics.label_values("anteroom_buffer_waits_total", "rank").is_empty());
    assert!(!metrics.label_values("anteroom_upstream_connects_total", "upstream").is_empty());
    drop(client);
    proxy.finish();
}

#[test]
fn metrics_count_what_happened() {
    let upstream = Upstream::pages();
    let (proxy, client) = used(&upstream);
    let metrics = proxy.quiet();
    let expected: [(Series, f64); 8] = [
        (("anteroom_requests_total", &[("code", "2xx")]), 10.0),
        (("anteroom_requests_total", &[("code", "4xx")]), 1.0),
        (("anteroom_refusals_total", &[("reason", "malformed")]), 1.0),
        (("anteroom_clients_accepted_total", &[]), 2.0),
        (("anteroom_clients", &[("state", "parked")]), 1.0),
        (("anteroom_upstream_connects_total", &[]), 1.0),
        (("anteroom_upstream_connections", &[("state", "idle")]), 1.0),
        (("anteroom_upstream_seconds_count", &[]), 10.0),
    ];
    for ((name, labels), figure) in expected {
        let found = metrics.sum(name, labels);
        assert!(
            (found - figure).abs() < f64::EPSILON,
            "{name}{labels:?}: {found} instead of {figure}"
        );
    }
    assert!(metrics.sum("anteroom_request_seconds_sum", &[]) > 0.0);
    drop(client);
    proxy.finish();
}

#[test]
fn the_format_is_what_prometheus_reads() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let scrape = proxy.ask("/metrics");
    let kind = scrape.get("content-type").expect("a content type").to_owned();
    assert!(
        kind.starts_with("text/plain") || kind.starts_with("application/openmetrics-text"),
        "{kind}"
    );
    let text = scrape.text();
    for name in ["anteroom_clients", "anteroom_buffers", "anteroom_exchanges"] {
        assert!(text.contains(&format!("# TYPE {name} gauge")), "{name} has no type");
    }
    proxy.finish();
}

#[test]
fn status_is_json() {
    let upstream = Upstream::pages();
    let (proxy, client) = used(&upstream);
    let status = proxy.ask("/status");
    assert_eq!(status.status, 200);
    assert!(status.get("content-type").is_some_and(|kind| kind.starts_with("application/json")));
    let value: serde_json::Value = serde_json::from_slice(&status.body).expect("JSON");
    assert!(value.is_object(), "{value}");
    assert!(value.to_string().contains(upstream.address()), "the upstream is named: {value}");
    drop(client);
    proxy.finish();
}

#[test]
fn health_and_the_rest() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    assert_eq!(proxy.ask("/healthz").status, 200);
    assert_eq!(proxy.ask("/readyz").status, 200);
    assert_eq!(proxy.ask("/no-such-thing").status, 404);
    assert_eq!(proxy.ask("/drain").status, 405, "to drain is no question");
    proxy.finish();
}

#[test]
fn a_page_elsewhere_cannot_make_a_browser_drain_it() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    let own = proxy.admin().to_owned();
    for (host, origin) in [
        (own.as_str(), "Origin: http://evil.example\r\n"),
        ("evil.example", ""),
        ("evil.example", "Origin: http://evil.example\r\n"),
    ] {
        let mut client = Client::new(&own);
        client.send(format!(
            "POST /drain HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Length: 0\r\n\r\n"
        ));
        let status = client.response().status;
        assert!((400..500).contains(&status), "{host} {origin}: {status}");
    }
    assert_eq!(proxy.ask("/readyz").status, 200, "it drains");
    assert_eq!(proxy.client().get("/").status, 200);
    proxy.finish();
}

#[test]
fn it_withstands_bad_input_too() {
    let upstream = Upstream::pages();
    let proxy = Anteroom::before(upstream.address());
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"[..],
        b"GET /metrics HTTP/1.1\r\n",
        &[b'x'; 10_000],
    ] {
        let mut client = Client::new(proxy.admin());
        let _ = client.try_send(bytes);
        client.reset();
    }
    assert_eq!(proxy.ask("/healthz").status, 200);
    proxy.finish();
}

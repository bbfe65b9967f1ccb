//! What holds clients up is said once, with the key to change.

use blackbox::client::{Client, get};
use blackbox::proxy::{Anteroom, Setup};
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::{eventually, pause};

fn says(proxy: &Anteroom, key: &str) {
    let warning = |line: &str| line.starts_with("anteroom: warning: ") && line.contains(key);
    eventually(key, || proxy.output().lines().any(warning).then_some(()));
}

#[test]
fn the_key_that_is_too_low_is_named_once() {
    let upstream = Upstream::http(|_, _, stream| {
        pause(500);
        respond(stream, 200, b"late")?;
        Ok(Next::Keep)
    });
    let setup = Setup::new(upstream.address()).with("--connections", 1).with("--queue", 1);
    let proxy = setup.with("--workers", 1).with("--max-clients", 8).start();
    let mut clients: Vec<Client> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(get("/"));
    }
    let answers = clients.iter_mut().map(|client| client.response().status);
    assert!(answers.filter(|status| *status == 503).count() >= 5);
    says(&proxy, "`queue.length`");
    says(&proxy, "`max_clients`");
    assert!(!proxy.output().contains("`memory`"), "{}", proxy.output());
    drop(clients);
    let said = proxy.output().matches("`max_clients`").count();
    assert_eq!(said, 1, "{}", proxy.output());
    proxy.finish();
}

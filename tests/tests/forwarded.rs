//! Real proxies in front: whom a request is from is what the trusted ones say, and nobody else.

use std::process::Command;

use blackbox::folder::Folder;
use blackbox::proxy::Anteroom;
use blackbox::servers::{Server, free_address, nginx_with, search_path};
use blackbox::tools::run;
use blackbox::upstream::Upstream;

/// nginx that adds to what it is told, and connects from 127.0.0.2.
fn nginx(to: &str) -> Server {
    let address = free_address();
    let http = format!(
        "access_log off;\n\
         server {{\n\
           listen {address};\n\
           location / {{\n\
             proxy_pass http://{to}; proxy_bind 127.0.0.2; proxy_http_version 1.1;\n\
             proxy_set_header Connection ''; proxy_set_header Host $host;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
             proxy_set_header X-Forwarded-Proto https;\n\
             proxy_set_header X-Forwarded-Host shop.example;\n\
           }}\n\
         }}\n"
    );
    nginx_with(Folder::new(), &address, 1, &http)
}

/// HAProxy before that, which adds a line of its own, and connects from 127.0.0.3.
fn haproxy(to: &str) -> Server {
    let folder = Folder::new();
    let address = free_address();
    let configuration = format!(
        "global\n  maxconn 200\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  \
         timeout server 30s\n  option forwardfor\nfrontend front\n  bind {address}\n  \
         default_backend back\nbackend back\n  source 127.0.0.3\n  server one {to}\n"
    );
    let path = folder.write("haproxy.cfg", configuration);
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f", &path]).env("PATH", search_path());
    Server::start(&mut command, &address, folder)
}

fn proxy(upstream: &str, listen: &str, top: &str) -> (Anteroom, Folder) {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let folder = Folder::new();
    let log = folder.path().join("access.log");
    let content = format!(
        "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\nlog = {{ access = \"{}\" }}\n{top}\n[[listen]]\n\
         address = \"127.0.0.1:0\"\nproxy = \"http\"\n{listen}\n[[upstream]]\n\
         servers = [\"{upstream}\"]\n",
        log.display()
    );
    let proxy = Anteroom::run(&folder.write("a.toml", content));
    (proxy, folder)
}

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.2\", \"127.0.0.3\"]\n\
    remove_headers = [\"X-User\", \"X-Real-IP\"]";

/// The code that curl gets.
fn curl(url: &str, from: &str, more: &[&str]) -> String {
    let line = ["--silent", "--show-error", "--max-time", "20", "--interface", from, "--output"];
    let rest = ["/dev/null", "--write-out", "%{http_code}", url];
    let ran = run("curl", &[&line[..], &rest, more].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.output
}

const FORGED: [&str; 8] = [
    "--header",
    "X-Forwarded-For: 6.6.6.6",
    "--header",
    "X-Forwarded-Proto: https",
    "--header",
    "x_user: root",
    "--header",
    "X-Real-IP: 6.6.6.6",
];

#[test]
fn the_last_stranger_in_a_row_of_proxies_is_the_client() {
    let upstream = Upstream::pages();
    let (proxy, folder) = proxy(upstream.address(), TRUSTED, "");
    let inner = nginx(proxy.address());
    let outer = haproxy(inner.address());
    let url = format!("http://{}/10", outer.address());
    assert_eq!(curl(&url, "127.0.0.7", &FORGED), "200");
    let head = upstream.last().head;
    assert_eq!(head.all("X-Forwarded-For"), ["127.0.0.7, 127.0.0.3, 127.0.0.2"]);
    assert_eq!(head.get("X-Forwarded-Proto"), Some("https"));
    assert_eq!(head.get("X-Forwarded-Host"), Some("shop.example"));
    assert_eq!(head.all("Forwarded"), ["for=127.0.0.7;host=\"shop.example\";proto=https"]);
    for name in ["X-User", "x_user", "X-Real-IP"] {
        assert_eq!(head.get(name), None, "{name}");
    }
    // Whoever comes by no proxy is believed nothing.
    let direct = format!("http://{}/10", proxy.address());
    assert_eq!(curl(&direct, "127.0.0.7", &FORGED), "200");
    let head = upstream.last().head;
    assert_eq!(head.all("X-Forwarded-For"), ["127.0.0.7"]);
    assert_eq!(head.get("X-Forwarded-Proto"), Some("http"));
    assert_eq!(head.get("X-Forwarded-Host"), Some(proxy.address()));
    assert_eq!((head.get("x_user"), head.get("X-Real-IP")), (None, None));
    proxy.finish();
    let log = std::fs::read_to_string(folder.path().join("access.log")).expect("a log");
    assert_eq!(log.matches("\"client\":\"127.0.0.7\"").count(), 2, "{log}");
}

#[test]
fn limits_and_bans_are_for_the_client_and_not_for_the_proxy() {
    let upstream = Upstream::pages();
    let top = "[limits]\nconnections = 1\nrequest_rate = \"3/h\"";
    let (proxy, _folder) = proxy(upstream.address(), TRUSTED, top);
    let inner = nginx(proxy.address());
    let url = format!("http://{}/10", inner.address());
    let codes = |from: &str| (0..4).map(|_| curl(&url, from, &[])).collect::<Vec<_>>();
    assert_eq!(codes("127.0.0.7"), ["200", "200", "200", "429"]);
    assert_eq!(codes("127.0.0.8"), ["200", "200", "200", "429"]);
    let admin = format!("http://{}/bans?address=127.0.0.9", proxy.admin());
    assert_eq!(curl(&admin, "127.0.0.1", &["--request", "POST"]), "201");
    assert_eq!(curl(&url, "127.0.0.9", &[]), "403");
    assert_eq!(curl(&url, "127.0.0.10", &[]), "200");
    let refused = |reason: &str, code: &str| {
        proxy.figure("anteroom_refusals_total", &[("reason", reason), ("code", code)])
    };
    assert_eq!((refused("unwelcome", "403"), refused("rate", "429")), (1.0, 2.0));
    proxy.finish();
}

//! Certificates by ACME, from a real authority for tests: ordered, served, kept, renewed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use blackbox::authority::{Authority, Place, Ways, look};
use blackbox::folder::Folder;
use blackbox::process::Process;
use blackbox::proxy::{Anteroom, command};
use blackbox::servers::free_address;
use blackbox::stream::Stream;
use blackbox::tools;
use blackbox::upstream::{Next, Upstream, respond};
use blackbox::wait::{eventually, pause, within};

/// Issuing takes several signatures and validations on a busy machine.
const SOON: Duration = Duration::from_secs(40);

/// A proxy that is to have certificates, and everything around it.
struct Stage {
    place: Place,
    folder: Folder,
    upstream: Upstream,
    /// `acme` beside directory, ca and dir.
    more: String,
    /// The listener's names.
    names: String,
    /// Whether plain HTTP is spoken, too.
    plain: bool,
    /// At the top of the file.
    top: String,
    /// The directory for certificates in the folder.
    below: &'static str,
}

impl Stage {
    fn new(names: &str, plain: bool, more: &str) -> Self {
        let upstream = Upstream::http(|request, _, stream| {
            let known = !request.target().starts_with("/.well-known/");
            respond(stream, if known { 200 } else { 404 }, b"the server's")?;
            Ok(Next::Keep)
        });
        Self {
            place: Place::new(),
            folder: Folder::new(),
            upstream,
            more: more.to_owned(),
            names: names.to_owned(),
            plain,
            top: String::new(),
            below: "acme",
        }
    }

    fn file(&self, directory: &str, ca: &str) -> String {
        let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
        let Place { http, tls } = &self.place;
        let plain = format!("[[listen]]\naddress = \"{http}\"\nproxy = \"http\"\n");
        let plain = if self.plain { plain } else { String::new() };
        self.folder.write(
            "app.toml",
            format!(
                "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\nworkers = 2\n{}\n\
                 [acme]\ndirectory = \"{directory}\"\nca = \"{ca}\"\nterms_agreed = true\n\
                 dir = \"{}\"\n{}\n\
                 {plain}[[listen]]\naddress = \"{tls}\"\ntls = {{ acme = [{}] }}\n\
                 [[upstream]]\nservers = [\"{}\"]\n",
                self.top,
                self.dir().display(),
                self.more,
                self.names,
                self.upstream.address()
            ),
        )
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join(self.below)
    }

    fn run(&self, authority: &Authority) -> Anteroom {
        Anteroom::run(&self.file(&authority.directory(), &authority.ca()))
    }

    /// What the authority's folder holds: names of files.
    fn files(&self) -> Vec<PathBuf> {
        let folders =
            fs::read_dir(self.dir()).expect("the directory").flatten().map(|entry| entry.path());
        let files =
            folders.flat_map(|folder| fs::read_dir(folder).expect("a folder in it").flatten());
        let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
        files.sort();
        files
    }

    fn served(&self, name: &str, root: &str) -> Option<String> {
        look(&self.place.tls, name, root).map(|seen| seen.serial)
    }

    /// Waits until the certificate for a name is served; its serial number.
    fn until_served(&self, name: &str, root: &str) -> String {
        within(SOON, "a certificate to be served", || self.served(name, root))
    }

    /// A request over TLS, as curl does it.
    fn get(&self, name: &str, root: &str) -> String {
        let (ip, port) = self.place.tls.rsplit_once(':').expect("IP:PORT");
        let resolve = format!("{name}:{port}:{ip}");
        let url = format!("https://{name}:{port}/");
        let body = tools::curl(&["--cacert", root, "--resolve", &resolve, "--fail", &url]);
        String::from_utf8(body).expect("text")
    }
}

/// A figure that is a number of things.
fn whole(figure: f64) -> String {
    figure.to_string()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

fn names_of(files: &[PathBuf]) -> Vec<&str> {
    files.iter().filter_map(|file| file.file_name()?.to_str()).collect()
}

#[test]
fn the_first_certificate_by_http() {
    let stage = Stage::new(
        "\"a.test\", [\"b.test\", \"www.b.test\"]",
        true,
        "challenge = \"http-01\"\nemail = \"a@a.test\"",
    );
    let names = ["a.test", "b.test", "www.b.test"];
    let authority = Authority::new(&stage.place, &names, &Ways::default());
    let mut proxy = stage.run(&authority);
    let root = authority.root();
    for name in names {
        stage.until_served(name, &root);
        assert_eq!(stage.get(name, &root), "the server's");
    }
    assert_eq!(stage.served("a.test", &root), stage.served("a.test", &root));
    assert_ne!(stage.served("a.test", &root), stage.served("b.test", &root));
    assert_eq!(stage.served("b.test", &root), stage.served("www.b.test", &root));
    let metrics = proxy.metrics();
    for names in ["a.test", "b.test www.b.test"] {
        let labels = [("names", names)];
        assert_eq!(whole(metrics.sum("anteroom_acme_certificates_issued_total", &labels)), "1");
        assert_eq!(whole(metrics.sum("anteroom_acme_failures_total", &labels)), "0");
        let expiry = metrics.sum("anteroom_acme_certificate_expiry_timestamp_seconds", &labels);
        assert!(expiry > 1.8e9, "{expiry}");
    }
    // The server never met what the authority came for.
    let asked = |request: &blackbox::message::Request| request.target().to_owned();
    assert!(stage.upstream.requests().iter().all(|request| asked(request) == "/"));
    let files = stage.files();
    assert!(
        matches!(
            names_of(&files)[..],
            ["a.test.pem", "account.json", more] if more.starts_with("b.test+1-")
        ),
        "{files:?}"
    );
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    assert_eq!(mode(files[0].parent().unwrap()), 0o700);
    let said = proxy.process().output();
    assert!(said.contains("certificate issued for b.test www.b.test, good for "), "{said}");
    proxy.finish();
}

#[test]
fn what_nobody_is_expected_to_ask_for_is_the_servers() {
    let stage = Stage::new("\"a.test\"", true, "challenge = \"http-01\"");
    let authority = Authority::new(&stage.place, &["a.test"], &Ways::default());
    let proxy = stage.run(&authority);
    let mut client = blackbox::client::Client::new(&stage.place.http);
    for _ in 0..2 {
        for path in ["unknown", "", "a/b", "..", "%2e"] {
            let response = client.get(&format!("/.well-known/acme-challenge/{path}"));
            assert_eq!((response.status, &*response.text()), (404, "the server's"));
        }
        stage.until_served("a.test", &authority.root());
    }
    proxy.finish();
}

#[test]
fn the_first_certificate_by_tls_alone() {
    let stage = Stage::new("\"a.test\", \"b.test\"", false, "");
    let authority = Authority::new(&stage.place, &["a.test", "b.test"], &Ways::default());
    let proxy = stage.run(&authority);
    let root = authority.root();
    for name in ["a.test", "b.test"] {
        stage.until_served(name, &root);
        assert_eq!(stage.get(name, &root), "the server's");
    }
    // What proved that the name is ours is shown to nobody any more.
    let shown = tools::run(
        "openssl",
        &["s_client", "-connect", &stage.place.tls, "-servername", "a.test", "-alpn", "acme-tls/1"],
    );
    assert!(!shown.output.contains("BEGIN CERTIFICATE"), "{}", shown.output);
    proxy.finish();
}

#[test]
fn until_there_is_a_certificate_clients_are_refused_and_the_rest_goes_on() {
    let stage = Stage::new("\"a.test\"", true, "retry_min = \"1s\"\nretry_max = \"2s\"");
    let mut authority = Authority::new(&stage.place, &["a.test"], &Ways::default());
    authority.stop();
    let mut proxy = stage.run(&authority);
    assert_eq!(stage.served("a.test", "/etc/ssl/certs/ca-certificates.crt"), None);
    let failures = |least: f64| {
        proxy.until("orders to fail", |metrics| {
            metrics.sum("anteroom_acme_failures_total", &[]) >= least
        });
    };
    failures(2.0);
    assert!(proxy.figure("anteroom_tls_failures_total", &[("reason", "name")]) >= 1.0);
    assert_eq!(blackbox::client::Client::new(&stage.place.http).get("/").status, 200);
    let said = proxy.process().output();
    assert!(
        said.contains("warning: no certificate for a.test: ")
            && said.contains("Connection refused")
            && said.contains("; tried again in 1s; clients are refused until there is one"),
        "{said}"
    );
    authority.start(&[]);
    stage.until_served("a.test", &authority.root());
    proxy.finish();
}

#[test]
fn what_is_kept_serves_again_and_the_account_is_the_same() {
    let stage = Stage::new("\"a.test\"", false, "");
    let mut authority = Authority::new(&stage.place, &["a.test"], &Ways::default());
    let root = authority.root();
    let proxy = stage.run(&authority);
    let first = stage.until_served("a.test", &root);
    proxy.finish();
    let kept = stage.files();
    let account = fs::read(&kept[1]).unwrap();
    // Nobody is asked for what is there.
    authority.stop();
    let proxy = stage.run(&authority);
    assert_eq!(stage.served("a.test", &root), Some(first));
    assert_eq!(whole(proxy.figure("anteroom_acme_certificates_issued_total", &[])), "0");
    assert_eq!(whole(proxy.figure("anteroom_acme_failures_total", &[])), "0");
    assert!(proxy.figure("anteroom_acme_certificate_expiry_timestamp_seconds", &[]) > 1.8e9);
    proxy.finish();
    assert_eq!(fs::read(&kept[1]).unwrap(), account);
}

#[test]
fn a_file_that_is_no_certificate_is_replaced_with_the_same_account() {
    let stage = Stage::new("\"a.test\"", false, "");
    let authority = Authority::new(&stage.place, &["a.test"], &Ways::default());
    let root = authority.root();
    let proxy = stage.run(&authority);
    let first = stage.until_served("a.test", &root);
    proxy.finish();
    let kept = stage.files();
    let account = fs::read(&kept[1]).unwrap();
    fs::write(&kept[0], "nonsense").unwrap();
    let mut proxy = stage.run(&authority);
    assert_ne!(stage.until_served("a.test", &root), first);
    let said = proxy.process().output();
    assert!(said.contains("a.test.pem\": there is no certificate in it"), "{said}");
    assert_eq!(fs::read(&kept[1]).unwrap(), account);
    proxy.finish();
}

#[test]
fn a_certificate_is_renewed_before_its_time_is_over() {
    let stage = Stage::new("\"a.test\"", true, "retry_min = \"1s\"");
    let ways = Ways { validity: Some(45), ..Ways::default() };
    let authority = Authority::new(&stage.place, &["a.test"], &ways);
    let proxy = stage.run(&authority);
    let root = authority.root();
    let first = stage.until_served("a.test", &root);
    // No look fails, so that there is never a moment without a good one.
    let second = within(Duration::from_mins(1), "another certificate", || {
        let serial = stage.served("a.test", &root).expect("a certificate that is good");
        (serial != first).then_some(serial)
    });
    assert_ne!(first, second);
    proxy.until("both to be counted", |metrics| {
        metrics.sum("anteroom_acme_certificates_issued_total", &[]) >= 2.0
    });
    assert_eq!(stage.files().len(), 2, "the old one is gone");
    proxy.finish();
}

#[test]
fn the_old_certificate_serves_while_no_other_is_to_be_had() {
    let stage = Stage::new("\"a.test\"", false, "retry_min = \"1s\"\nretry_max = \"1s\"");
    let ways = Ways { validity: Some(45), ..Ways::default() };
    let mut authority = Authority::new(&stage.place, &["a.test"], &ways);
    let mut proxy = stage.run(&authority);
    let root = authority.root();
    let first = stage.until_served("a.test", &root);
    authority.stop();
    within(Duration::from_mins(1), "a renewal to fail", || {
        (proxy.figure("anteroom_acme_failures_total", &[]) >= 1.0).then_some(())
    });
    assert_eq!(stage.served("a.test", &root), Some(first));
    let said = proxy.process().output();
    assert!(said.contains("; the old one is good for "), "{said}");
    // It comes back, and knows nobody: another account is made.
    authority.start(&[]);
    stage.until_served("a.test", &authority.root());
    assert!(names_of(&stage.files()).contains(&"account.json.unknown"));
    proxy.finish();
}

#[test]
fn where_one_proof_fails_the_other_is_given() {
    let mut stage = Stage::new("\"a.test\"", true, "retry_min = \"1s\"");
    let place = stage.place.clone();
    // The authority is led to a port where nobody is.
    let authority = Authority::new(
        &Place { http: free_port_beside(&place.http), ..place },
        &["a.test"],
        &Ways::default(),
    );
    stage.more.push_str("\nemail = \"a@a.test\"");
    let mut proxy = stage.run(&authority);
    stage.until_served("a.test", &authority.root());
    let said = proxy.process().output();
    assert!(said.contains("no certificate for a.test: a.test: the authority says: "), "{said}");
    assert_eq!(whole(proxy.figure("anteroom_acme_failures_total", &[])), "1");
    proxy.finish();
}

fn free_port_beside(address: &str) -> String {
    let (ip, _) = address.rsplit_once(':').expect("IP:PORT");
    let bound = std::net::TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr());
    bound.expect("a free port").to_string()
}

#[test]
fn an_authority_that_wants_to_be_left_alone_is() {
    let names = ["a.test", "b.test", "c.test", "d.test", "e.test", "f.test"];
    let wanted = "\"a.test\", \"b.test\", \"c.test\", \"d.test\", \"e.test\", \"f.test\"";
    let stage = Stage::new(wanted, false, "retry_min = \"1s\"\nretry_max = \"1s\"");
    let authority = Authority::new(&stage.place, &names, &Ways::default());
    let refusal = "location /order-plz { add_header Retry-After 5 always; return 429 \
                   '{\"type\":\"urn:ietf:params:acme:error:rateLimited\",\"detail\":\"too many of you\"}'; }";
    let front = Front::before(&authority, |_| refusal.to_owned());
    let directory = format!("https://{}/dir", front.address);
    let mut proxy = Anteroom::run(&stage.file(&directory, &front.ca));
    let said = eventually("an order to be refused", || {
        let said = proxy.process().output();
        said.contains("no certificate for ").then_some(said)
    });
    assert!(said.contains("too many of you") && said.contains("; tried again in 5s; "), "{said}");
    pause(3_000);
    // Four were under way when it said so; the others have not asked since.
    let failures = proxy.figure("anteroom_acme_failures_total", &[]);
    assert!((1.0..=4.0).contains(&failures), "{failures}: it is left alone");
    front.opens();
    for name in names {
        stage.until_served(name, &authority.root());
    }
    proxy.finish();
}

/// nginx before an authority: it answers in its stead where it is told to, until it opens.
struct Front {
    address: String,
    ca: String,
    folder: Folder,
    process: Process,
}

impl Front {
    fn before(authority: &Authority, instead: impl Fn(&str) -> String) -> Self {
        let folder = Folder::new();
        // At the authority's own address: its certificate is shown.
        let address = free_port_beside(authority.address());
        let root = folder.path().display();
        let config = |instead: &str| {
            format!(
                "daemon off; pid {root}/pid; error_log stderr;\n\
                 events {{ worker_connections 64; }}\n\
                 http {{\n\
                   access_log off; client_body_temp_path {root}/t1; proxy_temp_path {root}/t2;\n\
                   fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4;\n\
                   scgi_temp_path {root}/t5; default_type application/json;\n\
                   server {{\n\
                     listen {address} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
                     proxy_set_header Host $http_host;\n\
                     {instead}\n\
                     location / {{ proxy_pass https://{}; }}\n\
                   }}\n\
                 }}\n",
                authority.ca(),
                authority.key(),
                authority.address()
            )
        };
        folder.write("open.conf", config(""));
        let path = folder.write("nginx.conf", config(&instead(&address)));
        let mut command = Command::new("nginx");
        let search = std::env::var("PATH").unwrap_or_default();
        command.args(["-p", &root.to_string(), "-c", &path, "-e", "stderr"]);
        command.env("PATH", format!("{search}:/usr/sbin:/sbin"));
        let process = Process::start(&mut command);
        eventually("nginx to listen", || Stream::connect(&address).ok());
        Self { address, ca: authority.ca(), folder, process }
    }

    fn opens(&self) {
        let (open, path) = (self.folder.file("open.conf"), self.folder.file("nginx.conf"));
        fs::rename(open, path).expect("a file in its place");
        self.process.signal(rustix::process::Signal::HUP);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.process.signal(rustix::process::Signal::INT);
        let _ = self.process.wait(Duration::from_secs(10));
    }
}

/// Pebble of this age gives no advice (RFC 9773): its front does.
#[test]
fn the_authority_may_have_a_certificate_renewed_early_but_once() {
    let stage = Stage::new("\"a.test\"", false, "retry_min = \"1s\"\nretry_max = \"1s\"");
    let authority = Authority::new(&stage.place, &["a.test"], &Ways::default());
    let front = Front::before(&authority, |address| {
        format!(
            "location = /dir {{ return 200 '{{\"newNonce\":\"https://{address}/nonce-plz\",\
             \"newAccount\":\"https://{address}/sign-me-up\",\
             \"newOrder\":\"https://{address}/order-plz\",\
             \"renewalInfo\":\"https://{address}/ari\"}}'; }}\n\
             location /ari/ {{ add_header Retry-After 3600; return 200 '{{\"suggestedWindow\":{{\
             \"start\":\"2020-01-01T00:00:00Z\",\"end\":\"2020-01-02T00:00:00Z\"}}}}'; }}"
        )
    });
    let directory = format!("https://{}/dir", front.address);
    let file = stage.file(&directory, &front.ca);
    let root = authority.root();
    let proxy = Anteroom::run(&file);
    let first = stage.until_served("a.test", &root);
    pause(2_000);
    assert_eq!(stage.served("a.test", &root).as_ref(), Some(&first), "not asked about at once");
    proxy.finish();
    let proxy = Anteroom::run(&file);
    let second = within(SOON, "another certificate", || {
        stage.served("a.test", &root).filter(|serial| *serial != first)
    });
    pause(3_000);
    assert_eq!(stage.served("a.test", &root), Some(second));
    assert_eq!(whole(proxy.figure("anteroom_acme_certificates_issued_total", &[])), "1");
    proxy.finish();
}

#[test]
fn a_certificate_that_is_due_at_once_is_not_ordered_again_and_again() {
    let stage = Stage::new("\"a.test\"", false, "retry_min = \"6s\"");
    let ways = Ways { validity: Some(1), ..Ways::default() };
    let authority = Authority::new(&stage.place, &["a.test"], &ways);
    let proxy = stage.run(&authority);
    let issued = |least: f64| {
        proxy.until("certificates to be issued", |metrics| {
            metrics.sum("anteroom_acme_certificates_issued_total", &[]) >= least
        });
    };
    issued(1.0);
    pause(4_000);
    assert_eq!(whole(proxy.figure("anteroom_acme_certificates_issued_total", &[])), "1");
    issued(2.0);
    proxy.finish();
}

#[test]
fn a_certificate_that_cannot_be_kept_serves_and_is_kept_later() {
    let stage = Stage::new("\"a.test\"", false, "retry_min = \"1s\"");
    let authority = Authority::new(&stage.place, &["a.test"], &Ways::default());
    // A folder is where the file is written first.
    let folder = format!("{}-dir", authority.address().replace(':', "-"));
    let beside = stage.dir().join(folder).join("a.test.pem.new");
    fs::create_dir_all(&beside).expect("a folder");
    let mut proxy = stage.run(&authority);
    let root = authority.root();
    let serial = stage.until_served("a.test", &root);
    let said = proxy.process().output();
    assert!(
        said.contains("warning: the certificate for a.test serves, but")
            && said.contains("a.test.pem"),
        "{said}"
    );
    fs::remove_dir(&beside).expect("an empty folder");
    eventually("it to be kept", || {
        proxy.process().output().contains("certificate for a.test is in its file now").then_some(())
    });
    assert_eq!(whole(proxy.figure("anteroom_acme_certificates_issued_total", &[])), "1");
    proxy.finish();
    let proxy = stage.run(&authority);
    assert_eq!(stage.served("a.test", &root), Some(serial));
    proxy.finish();
}

#[test]
fn an_address_that_is_refused_stops_no_certificate() {
    let stage = Stage::new("\"a.test\"", false, "email = \"a..b@a.test\"\nretry_min = \"1s\"");
    let authority = Authority::new(&stage.place, &["a.test"], &Ways::default());
    let root = authority.root();
    // When the account is made, and when it is there.
    for _ in 0..2 {
        let mut proxy = stage.run(&authority);
        stage.until_served("a.test", &root);
        let said = proxy.process().output();
        assert!(said.contains("warning: the authority does not write to `email`"), "{said}");
        assert_eq!(whole(proxy.figure("anteroom_acme_failures_total", &[])), "0");
        proxy.finish();
        fs::remove_file(&stage.files()[0]).expect("the certificate");
    }
}

#[test]
fn a_certificate_is_taken_up_beside_a_file_that_is_half_written() {
    let folder = Folder::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["own.test".to_owned()]).unwrap();
    let own = own.self_signed(&key).unwrap().pem();
    let (file, key) = (folder.write("own.pem", &own), folder.write("own.key", key.serialize_pem()));
    let pair = format!("{{ certificate = \"{file}\", key = \"{key}\" }}");
    let names = format!("\"a.test\"], certificates = [{pair}");
    let stage = Stage::new(&names, false, "retry_min = \"1s\"\nretry_max = \"1s\"");
    let mut authority = Authority::new(&stage.place, &["a.test"], &Ways::default());
    authority.stop();
    let mut proxy = stage.run(&authority);
    fs::write(&file, &own[..own.len() / 2]).unwrap();
    eventually("a warning", || {
        let said = proxy.process().output();
        said.contains("the certificates from before remain in force").then_some(())
    });
    authority.start(&[]);
    stage.until_served("a.test", &authority.root());
    assert!(stage.served("own.test", &folder.write("whole.pem", &own)).is_some(), "as it was");
    proxy.finish();
}

#[test]
fn an_account_is_bound_to_one_that_is_there() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let stage = Stage::new("\"a.test\"", false, "external_id = \"kid-1\"\nexternal_key = \"KEY\"");
    let file = stage.folder.write("external.key", format!("{key}\n"));
    let stage = Stage { more: stage.more.replace("KEY", &file), ..stage };
    let ways = Ways { external: Some(("kid-1".to_owned(), key.to_owned())), ..Ways::default() };
    let authority = Authority::new(&stage.place, &["a.test"], &ways);
    let proxy = stage.run(&authority);
    stage.until_served("a.test", &authority.root());
    proxy.finish();
}

#[test]
fn nonces_that_are_refused_are_replaced() {
    let stage = Stage::new("\"a.test\"", false, "retry_min = \"1s\"\nretry_max = \"1s\"");
    let environment = vec![("PEBBLE_WFE_NONCEREJECT".to_owned(), "25".to_owned())];
    let ways = Ways { environment, ..Ways::default() };
    let authority = Authority::new(&stage.place, &["a.test"], &ways);
    let proxy = stage.run(&authority);
    stage.until_served("a.test", &authority.root());
    proxy.finish();
}

#[test]
fn files_are_the_users_that_the_process_becomes() {
    if !rustix::process::geteuid().is_root() {
        tools::skip("only root can become another user");
        return;
    }
    let stage = Stage::new("\"a.test\"", false, "");
    let top = "user = \"nobody\"".to_owned();
    // Neither the directory is there nor what it is in.
    let stage = Stage { top, below: "lib/acme", ..stage };
    let authority = Authority::new(&stage.place, &["a.test"], &Ways::default());
    fs::set_permissions(stage.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let proxy = stage.run(&authority);
    stage.until_served("a.test", &authority.root());
    let dir = stage.dir();
    for above in [&*dir, dir.parent().unwrap()] {
        assert_eq!(fs::metadata(above).unwrap().uid(), 0, "it is not for us to give away");
    }
    let files = stage.files();
    let owner = fs::metadata(files[0].parent().unwrap()).unwrap().uid();
    assert_ne!(owner, 0);
    for file in files {
        assert_eq!((fs::metadata(&file).unwrap().uid(), mode(&file)), (owner, 0o600), "{file:?}");
    }
    proxy.finish();
}

#[test]
fn what_cannot_be_kept_is_told_at_the_start() {
    let stage = Stage::new("\"a.test\"", false, "");
    fs::write(stage.dir(), "").unwrap();
    let ca = stage.folder.file("own.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    fs::write(&ca, own.self_signed(&key).unwrap().pem()).unwrap();
    let file = stage.file(&format!("https://{}/dir", free_address()), &ca);
    let mut process = Process::start(&mut command(&["run", &file]));
    assert_eq!(process.wait(Duration::from_secs(10)).code(), Some(1));
    eventually("its last word", || process.is_heard_out().then_some(()));
    let said = process.output();
    assert!(said.contains("certificates cannot be kept") && said.contains("dir"), "{said}");
}

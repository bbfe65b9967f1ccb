//! Somebody who issues certificates for one test, and anteroom and curl with them.

use std::fmt::Display;
use std::process::{Command, Stdio};

use rcgen::CertificateParams;

use crate::certificates::Certificates;
use crate::folder::Folder;
use crate::proxy::Anteroom;
use crate::tools::run;
use crate::upstream::Upstream;

/// Somebody who issues certificates, and what they issued, in files.
#[derive(Default)]
pub struct Issuer {
    certificates: Certificates,
}

impl Issuer {
    /// Issues nothing yet.
    pub fn new() -> Self {
        Self { certificates: Certificates::new() }
    }

    /// The file with the certificate of whoever signs.
    pub fn ca(&self) -> String {
        self.certificates.ca()
    }

    /// Where its files are.
    pub fn folder(&self) -> &Folder {
        self.certificates.folder()
    }

    /// Writes `NAME.pem` and `NAME.key`; `subject` is the common name.
    pub fn issue(
        &self,
        file: &str,
        subject: &str,
        names: &[&str],
        change: impl Fn(&mut CertificateParams),
    ) {
        let (certificate, key) = self.certificates.sign(subject, names, change);
        self.folder().write(&format!("{file}.key"), key);
        // What is replaced is replaced at once.
        let path = self.folder().write(&format!("{file}.new"), certificate);
        std::fs::rename(path, self.folder().file(&format!("{file}.pem"))).expect("one folder");
    }

    /// The same, good now.
    pub fn good(&self, file: &str, subject: &str, names: &[&str]) {
        self.issue(file, subject, names, |_| ());
    }

    /// An entry of `certificates`.
    pub fn pair(&self, file: &str) -> String {
        let path = |end| self.folder().file(&format!("{file}.{end}"));
        format!("{{ certificate = \"{}\", key = \"{}\" }}", path("pem"), path("key"))
    }

    /// A configuration with one listener and one upstream; its path.
    pub fn config(&self, tls: impl Display, upstream: impl Display) -> String {
        let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
        self.folder().write(
            "app.toml",
            format!(
                "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\nworkers = 2\n\
                 timeouts = {{ handshake = \"2s\" }}\n\
                 [[listen]]\naddress = \"127.0.0.1:0\"\nproxy = \"http\"\n{tls}\n\
                 [[upstream]]\n{upstream}\n"
            ),
        )
    }

    /// anteroom over TLS before this server.
    pub fn run(&self, tls: impl Display, upstream: &Upstream) -> Anteroom {
        let servers = format!("servers = [\"{}\"]", upstream.address());
        Anteroom::run(&self.config(format!("tls = {{ {tls} }}"), servers))
    }

    /// What curl gets for `https://NAME/TARGET`.
    pub fn curl(&self, proxy: &Anteroom, name: &str, more: &[&str]) -> (Option<i32>, String) {
        let (_, port) = proxy.address().rsplit_once(':').expect("a port");
        let (host, target) = name.split_once('/').unwrap_or((name, ""));
        let (resolve, ca) = (format!("{host}:{port}:127.0.0.1"), self.ca());
        let url = format!("https://{host}:{port}/{target}");
        let ask = [
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--resolve",
            &resolve,
            "--cacert",
            &ca,
        ];
        let ran = run("curl", &[&ask[..], more, &[url.as_str()]].concat());
        (ran.code, ran.output)
    }
}

/// What OpenSSL's client sees, which says nothing itself.
///
/// # Panics
/// When it is not installed.
pub fn s_client(proxy: &Anteroom, arguments: &[&str]) -> String {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", proxy.address()]).args(arguments);
    let done = client.stdin(Stdio::null()).output().expect("openssl is installed");
    let both = [done.stdout, done.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

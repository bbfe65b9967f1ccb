//! A certificate authority that speaks ACME: Pebble, which Let's Encrypt keeps for tests.

use std::process::{Command, Stdio};

use rcgen::{CertificateParams, KeyPair};

use crate::dns::Dns;
use crate::folder::Folder;
use crate::process::Process;
use crate::servers::free_address;
use crate::stream::Stream;
use crate::tools;
use crate::wait::eventually;

/// Where the authority comes to see whose a name is: every name leads there.
#[derive(Clone, Debug)]
pub struct Place {
    /// By HTTP: `IP:PORT`.
    pub http: String,
    /// By TLS: `IP:PORT`, at the same address.
    pub tls: String,
}

impl Place {
    /// Two ports that were free a moment ago.
    ///
    /// # Panics
    /// When the machine has none.
    pub fn new() -> Self {
        let http = free_address();
        let (ip, _) = split(&http);
        let other = std::net::TcpListener::bind((ip, 0)).and_then(|it| it.local_addr());
        Self { tls: other.expect("a free port").to_string(), http }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// How an authority is to be.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// How long its certificates are good, in seconds; five years unless given.
    pub validity: Option<u32>,
    /// Nobody gets an account but who knows this secret (RFC 8555 §7.3.4): name, key in base64url.
    pub external: Option<(String, String)>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
}

/// A running authority. It forgets everything when it is dropped.
pub struct Authority {
    folder: Folder,
    process: Option<Process>,
    address: String,
    management: String,
    dns: Dns,
}

impl Authority {
    /// An authority that resolves `names` to the address of `place`.
    ///
    /// # Panics
    /// When Pebble is not installed.
    pub fn new(place: &Place, names: &[&str], ways: &Ways) -> Self {
        let (dns, folder) = (Dns::new(), Folder::new());
        let (ip, http) = split(&place.http);
        for name in names {
            dns.tell(name, &[ip.parse().expect("an IPv4 address")], 60);
        }
        let (address, management) = (free_address(), free_address());
        let key = KeyPair::generate().expect("a key");
        let own = vec![split(&address).0.to_owned(), split(&management).0.to_owned()];
        let own = CertificateParams::new(own).and_then(|it| it.self_signed(&key));
        let certificate = folder.write("own.pem", own.expect("a certificate").pem());
        let key = folder.write("own.key", key.serialize_pem());
        let external = ways.external.iter().cloned().collect::<std::collections::BTreeMap<_, _>>();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": address,
            "managementListenAddress": management,
            "certificate": certificate,
            "privateKey": key,
            "httpPort": http.parse::<u16>().expect("a port"),
            "tlsPort": split(&place.tls).1.parse::<u16>().expect("a port"),
            "externalAccountBindingRequired": !external.is_empty(),
            "externalAccountMACKeys": external,
            "certificateValidityPeriod": ways.validity.unwrap_or(0),
        }});
        folder.write("pebble.json", config.to_string());
        let mut authority = Self { folder, process: None, address, management, dns };
        authority.start(&ways.environment);
        authority
    }

    /// Starts it, or starts it anew: then it knows nobody.
    ///
    /// # Panics
    /// When it never listens.
    pub fn start(&mut self, environment: &[(String, String)]) {
        self.stop();
        let mut command = Command::new("pebble");
        command.args([
            "-config",
            &self.folder.file("pebble.json"),
            "-dnsserver",
            self.dns.address(),
        ]);
        command.env("PEBBLE_VA_NOSLEEP", "1").envs(environment.iter().cloned());
        self.process = Some(Process::start(&mut command));
        for address in [&self.address, &self.management] {
            eventually("an authority to listen", || Stream::connect(address).ok());
        }
    }

    /// It does not answer any more.
    pub fn stop(&mut self) {
        drop(self.process.take());
    }

    /// `IP:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address of its directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// A file with the certificate that its own is trusted by.
    pub fn ca(&self) -> String {
        self.folder.file("own.pem")
    }

    /// A file with its own key.
    pub fn key(&self) -> String {
        self.folder.file("own.key")
    }

    /// A file with the root of what it issues since it was started.
    ///
    /// # Panics
    /// When it does not tell.
    pub fn root(&self) -> String {
        let root = format!("https://{}/roots/0", self.management);
        self.folder.write("root.pem", tools::curl(&["--cacert", &self.ca(), "--fail", &root]))
    }

    /// Everything it wrote so far.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }
}

fn split(address: &str) -> (&str, &str) {
    address.rsplit_once(':').expect("IP:PORT")
}

/// What openssl sees of the certificate that is served for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its serial number.
    pub serial: String,
}

/// Opens a TLS connection for `name`; the certificate, if it is trusted by `root` and has the name.
///
/// # Panics
/// When openssl is not installed.
pub fn look(address: &str, name: &str, root: &str) -> Option<Seen> {
    // Standard output alone: what it says of the verification on the other would stand in between.
    let ran = Command::new("openssl")
        .args(["s_client", "-connect", address, "-servername", name, "-CAfile", root])
        .args(["-verify_hostname", name, "-verify_return_error", "-showcerts"])
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    let said = String::from_utf8_lossy(&ran.stdout);
    if !ran.status.success() || !said.contains("Verify return code: 0 (ok)") {
        return None;
    }
    let folder = Folder::new();
    let start = said.find("-----BEGIN CERTIFICATE-----")?;
    let file = folder.write("leaf.pem", &said[start..]);
    let text = tools::bytes("openssl", &["x509", "-in", &file, "-noout", "-serial"]);
    let serial = String::from_utf8_lossy(&text).trim().to_owned();
    Some(Seen { serial })
}

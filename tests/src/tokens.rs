//! Tokens that OpenSSL signs, and a server of keys in Python.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::folder::Folder;
use crate::process::Process;
use crate::tools::bytes;

/// Somebody who signs tokens with a key of RSA.
#[derive(Debug)]
pub struct Signer {
    folder: Folder,
    /// By what name its tokens call the key.
    id: String,
}

impl Signer {
    /// With a new key.
    pub fn new(id: &str) -> Self {
        let folder = Folder::new();
        let (key, public) = (folder.file("key.pem"), folder.file("public.pem"));
        bytes("openssl", &["genpkey", "-algorithm", "RSA", "-out", &key]);
        bytes("openssl", &["pkey", "-in", &key, "-pubout", "-out", &public]);
        Self { folder, id: id.to_owned() }
    }

    /// The file of its public key in PEM.
    pub fn public(&self) -> String {
        self.folder.file("public.pem")
    }

    /// Its public key as a JWK.
    ///
    /// # Panics
    /// When OpenSSL says something else than a modulus.
    pub fn jwk(&self) -> String {
        let told =
            bytes("openssl", &["rsa", "-pubin", "-in", &self.public(), "-noout", "-modulus"]);
        let told = String::from_utf8(told).expect("text");
        let digits = told.trim().strip_prefix("Modulus=").expect("a modulus").as_bytes();
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("digits")
        };
        let modulus: Vec<u8> = digits.chunks(2).map(byte).collect();
        format!(
            "{{\"kty\":\"RSA\",\"use\":\"sig\",\"kid\":\"{}\",\"e\":\"AQAB\",\"n\":\"{}\"}}",
            self.id,
            URL_SAFE_NO_PAD.encode(modulus)
        )
    }

    /// A token with this header and these claims, in JSON.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let (file, key) = (self.folder.write("message", &message), self.folder.file("key.pem"));
        let signed = bytes("openssl", &["dgst", "-sha256", "-sign", &key, &file]);
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signed))
    }

    /// A field with a token of `me` that is good for some minutes, and names the key.
    pub fn bearer(&self) -> String {
        let header = format!("{{\"alg\":\"RS256\",\"kid\":\"{}\"}}", self.id);
        let claims = format!("{{\"sub\":\"me\",\"exp\":{}}}", in_seconds(600));
        format!("Authorization: Bearer {}", self.sign(&header, &claims))
    }
}

/// Seconds since 1970, so many from now.
pub fn in_seconds(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now + Duration::from_secs(seconds)).as_secs()
}

const SCRIPT: &str = r#"
import http.server, os, ssl, sys, time

folder, address, certificate = sys.argv[1:4]

class Keys(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *said):
        pass

    def do_GET(self):
        print("asked", self.path, flush=True)
        try:
            with open(os.path.join(folder, "does")) as file:
                does = file.read().split()
        except FileNotFoundError:
            does = ["answers"]
        if does[0] == "waits":
            time.sleep(float(does[1]))
        if does[0] == "moves":
            self.send_response(302)
            self.send_header("Location", "/other")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if does[0] == "floods":
            self.send_response(200)
            self.end_headers()
            try:
                self.wfile.write(b'{"keys":[')
                while True:
                    self.wfile.write(b" " * 65536)
            except OSError:
                self.close_connection = True
            return
        with open(os.path.join(folder, "keys.json"), "rb") as file:
            keys = file.read()
        self.send_response(200)
        self.send_header("Content-Type", "application/jwk-set+json")
        self.send_header("Content-Length", str(len(keys)))
        self.end_headers()
        self.wfile.write(keys)

host, port = address.split(":")
server = http.server.ThreadingHTTPServer((host, int(port)), Keys)
if certificate:
    secured = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secured.load_cert_chain(certificate)
    server.socket = secured.wrap_socket(server.socket, server_side=True)
print("serving", server.server_address[1], flush=True)
server.serve_forever()
"#;

/// A server of keys.
#[derive(Debug)]
pub struct KeyServer {
    folder: Folder,
    process: Process,
    port: String,
    secured: bool,
}

impl KeyServer {
    /// At this address, with these keys. `certificate`: a file with a certificate and its key, which
    /// makes it speak TLS.
    pub fn start(address: &str, certificate: Option<&str>, keys: &[&Signer]) -> Self {
        let folder = Folder::new();
        write_keys(&folder, keys);
        let mut command = Command::new("python3");
        let path = folder.path().display().to_string();
        command.args(["-c", SCRIPT, &path, address, certificate.unwrap_or_default()]);
        let mut process = Process::start(&mut command);
        let port = process.line("serving ");
        Self { folder, process, port, secured: certificate.is_some() }
    }

    /// Where its keys stand; `host` is a name of this machine or its address.
    pub fn url(&self, host: &str) -> String {
        let scheme = if self.secured { "https" } else { "http" };
        format!("{scheme}://{host}:{}/keys.json", self.port)
    }

    /// Has these keys from now on.
    pub fn has(&self, keys: &[&Signer]) {
        write_keys(&self.folder, keys);
    }

    /// Has this document from now on.
    pub fn says(&self, document: &str) {
        replace(&self.folder, "keys.json", document);
    }

    /// What it does when it is asked: `answers`, `waits SECONDS`, `moves`, or `floods`.
    pub fn does(&self, what: &str) {
        replace(&self.folder, "does", what);
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.process.output().lines().filter(|line| line.starts_with("asked ")).count()
    }
}

fn write_keys(folder: &Folder, keys: &[&Signer]) {
    let keys: Vec<String> = keys.iter().map(|signer| signer.jwk()).collect();
    replace(folder, "keys.json", &format!("{{\"keys\":[{}]}}", keys.join(",")));
}

/// Half of what is written is never read.
fn replace(folder: &Folder, name: &str, content: &str) {
    let path = folder.write("new", content);
    std::fs::rename(path, folder.file(name)).expect("one folder");
}

//! Servers that others wrote: nginx, gunicorn, Node.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::client::Client;
use crate::folder::Folder;
use crate::process::Process;
use crate::stream::Stream;
use crate::wait::eventually;

/// A running server with its files. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    address: String,
    // The process goes before the folder it works in.
    process: Process,
    folder: Folder,
    kept: Option<Folder>,
}

impl Server {
    /// `IP:PORT` or `unix:/path`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its directory.
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it never does.
    pub fn start(command: &mut Command, address: &str, folder: Folder) -> Self {
        let process = Process::start(command);
        eventually("a server to listen", || Stream::connect(address).ok());
        Self { address: address.to_owned(), process, folder, kept: None }
    }

    /// One more directory that goes when the server does.
    #[must_use]
    pub fn keeping(mut self, folder: Folder) -> Self {
        self.kept = Some(folder);
        self
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The quick end that all three know, workers included; a kill would orphan those.
        self.process.signal(rustix::process::Signal::INT);
        for _ in 0..200 {
            if self.process.ended().is_some() {
                return;
            }
            crate::wait::pause(10);
        }
    }
}

/// A program of the Python environment that `cargo xtask test` made.
pub fn venv(program: &str) -> PathBuf {
    let bin = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin");
    bin.join(program)
}

/// A TCP port that was free a moment ago, at an address of this process's and this call's own, so
/// that nobody else takes it meanwhile.
///
/// # Panics
/// When the machine has no free port.
pub fn free_address() -> String {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let [high, low] = [std::process::id() / 200 % 200 + 20, std::process::id() % 200 + 20];
    let call = CALLS.fetch_add(1, Ordering::Relaxed) % 250 + 1;
    let listener = std::net::TcpListener::bind(format!("127.{high}.{low}.{call}:0"));
    listener.and_then(|l| l.local_addr()).expect("a free port").to_string()
}

/// nginx with two workers: `/` gives a page of 13 bytes, `/file` a file of `file` bytes, `/none`
/// 204.
///
/// # Panics
/// When nginx is not installed.
pub fn nginx(file: &[u8]) -> Server {
    let folder = Folder::new();
    let address = free_address();
    folder.write("file", file);
    let root = folder.path().display();
    let http = format!(
        "access_log off; default_type text/plain;\n\
         server {{\n\
           listen {address};\n\
           location = / {{ return 200 'hello, world\\n'; }}\n\
           location = /none {{ return 204; }}\n\
           location = /file {{ root {root}; }}\n\
         }}\n"
    );
    nginx_with(folder, &address, 2, &http)
}

/// nginx with so many workers and these lines in its `http`, which listen at the address.
///
/// # Panics
/// When nginx is not installed.
pub fn nginx_with(folder: Folder, address: &str, workers: u32, http: &str) -> Server {
    let root = folder.path().display();
    // Keep-alive without end: what is tried is ours, not nginx's habits.
    let configuration = format!(
        "daemon off; pid {root}/pid; worker_processes {workers}; error_log {root}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
           keepalive_requests 1000000; client_body_temp_path {root}/t1;\n\
           proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4;\n\
           scgi_temp_path {root}/t5;\n\
           {http}\
         }}\n"
    );
    let path = folder.write("nginx.conf", configuration);
    let mut command = Command::new("nginx");
    command.args(["-p", &folder.path().display().to_string(), "-c", &path, "-e", "stderr"]);
    command.env("PATH", search_path());
    Server::start(&mut command, address, folder)
}

/// What gunicorn serves: an echo of the body, with the method and the fields that matter.
/// `/busy` takes 20 ms, so that its workers can be overrun.
const APPLICATION: &str = "
import time
def app(environ, start_response):
    body = environ['wsgi.input'].read()
    if environ['PATH_INFO'] == '/busy':
        time.sleep(0.02)
    start_response('200 OK', [
        ('Content-Length', str(len(body))),
        ('X-Method', environ['REQUEST_METHOD']),
        ('X-Forwarded-Seen', environ.get('HTTP_X_FORWARDED_FOR', '')),
        ('X-Path', environ['PATH_INFO'] + '?' + environ['QUERY_STRING']),
    ])
    return [body]
";

/// gunicorn with two sync workers at a Unix socket (`unix = true`) or a TCP port.
///
/// # Panics
/// When gunicorn is not in `target/venv`.
pub fn gunicorn(unix: bool) -> Server {
    let folder = Folder::new();
    folder.write("application.py", APPLICATION);
    let address = if unix { format!("unix:{}", folder.file("g.sock")) } else { free_address() };
    gunicorn_with(
        folder,
        &address,
        &["--workers", "2", "--log-level", "warning", "application:app"],
    )
}

/// gunicorn at this address with these arguments, its application in the folder.
///
/// # Panics
/// When gunicorn is not in `target/venv`.
pub fn gunicorn_with(folder: Folder, address: &str, arguments: &[&str]) -> Server {
    let mut command = Command::new(venv("gunicorn"));
    command.args(["--bind", address, "--no-control-socket"]);
    command.args(["--worker-tmp-dir", &folder.path().display().to_string()]).args(arguments);
    command.current_dir(folder.path());
    let server = Server::start(&mut command, address, folder);
    // It listens before its workers are up.
    eventually("gunicorn to answer", || {
        let mut client = Client::try_new(address).ok()?;
        client.try_get("/").ok().filter(|response| response.status == 200)
    });
    server
}

/// A WebSocket server: an echo of each message; `/count` sends a number of messages, each with its
/// number, as fast as they are taken, and closes.
const WEBSOCKETS: &str = "
import asyncio, sys
from websockets.asyncio.server import serve
async def talk(connection):
    path = connection.request.path
    if path.startswith('/count/'):
        for number in range(int(path.split('/')[2])):
            await connection.send(b'%08d' % number + b'x' * 4000)
        return
    async for message in connection:
        await connection.send(message)
async def main():
    host, port = sys.argv[1].split(':')
    async with serve(talk, host, int(port), max_size=None, ping_interval=None) as server:
        await server.serve_forever()
asyncio.run(main())
";

/// The server of the Python package `websockets`.
///
/// # Panics
/// When it is not in `target/venv`.
pub fn websockets() -> Server {
    let folder = Folder::new();
    let address = free_address();
    let script = folder.write("server.py", WEBSOCKETS);
    let mut command = Command::new(venv("python"));
    command.args([&script, &address]);
    Server::start(&mut command, &address, folder)
}

/// Redis, without files.
///
/// # Panics
/// When it is not installed.
pub fn redis() -> Server {
    let folder = Folder::new();
    let address = free_address();
    let (host, port) = address.split_once(':').expect("an address with a port");
    let mut command = Command::new("redis-server");
    command.args(["--bind", host, "--port", port, "--save", "", "--appendonly", "no"]);
    command.args(["--dir", &folder.path().display().to_string()]);
    Server::start(&mut command, &address, folder)
}

/// What Node serves over TLS: its name.
const SECURE: &str = "
const fs = require('fs');
const https = require('https');
const [address, name, key, certificate] = process.argv.slice(2);
const options = {key: fs.readFileSync(key), cert: fs.readFileSync(certificate)};
const server = https.createServer(options, (request, response) => response.end(name));
const [host, port] = address.split(':');
server.listen(Number(port), host);
";

/// Node's HTTPS server, with a certificate of its own for this name.
///
/// # Panics
/// When Node or OpenSSL is not installed.
pub fn secure(name: &str) -> Server {
    let folder = Folder::new();
    let (key, certificate) = (folder.file("key.pem"), folder.file("certificate.pem"));
    let subject = format!("/CN={name}");
    let line = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject];
    let made =
        Command::new("openssl").args(line).args(["-keyout", &key, "-out", &certificate]).output();
    assert!(made.is_ok_and(|made| made.status.success()), "a certificate for {name}");
    let address = free_address();
    let script = folder.write("server.js", SECURE);
    let mut command = Command::new("node");
    command.args([&script, &address, name, &key, &certificate]);
    Server::start(&mut command, &address, folder)
}

/// What Node serves: an echo of the body, in chunks; `/early` answers before the body is read.
const SCRIPT: &str = "
const http = require('http');
const server = http.createServer((request, response) => {
  if (request.url === '/early') {
    response.writeHead(403, {'Content-Length': 2});
    response.end('no');
    request.resume();
    return;
  }
  response.writeHead(200, {'X-Method': request.method, 'X-Length': request.headers['content-length'] || ''});
  request.pipe(response);
});
server.keepAliveTimeout = Number(process.argv[3]);
const [host, port] = process.argv[2].split(':');
server.listen(Number(port), host);
";

/// Node's HTTP server; it closes a connection that is idle for `idle` milliseconds.
///
/// # Panics
/// When Node is not installed.
pub fn node(idle: u32) -> Server {
    node_with(SCRIPT, &[&idle.to_string()])
}

/// Node with a script that listens at its first argument, `IP:PORT`.
///
/// # Panics
/// When Node is not installed.
pub fn node_with(script: &str, arguments: &[&str]) -> Server {
    let folder = Folder::new();
    let address = free_address();
    let script = folder.write("server.js", script);
    let mut command = Command::new("node");
    command.args([&script, &address]).args(arguments);
    Server::start(&mut command, &address, folder)
}

/// The path with the places where Debian keeps the administrator's programs.
pub fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

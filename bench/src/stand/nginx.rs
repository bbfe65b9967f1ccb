//! nginx, tuned as its manual advises for this work, adding the fields that anteroom adds.

use std::path::Path;

use crate::address::Address;
use crate::error::Outcome;
use crate::process::Process;
use crate::stand::folder::Folder;
use crate::stand::secret::{CERTIFICATE, KEY};
use crate::stand::{Kind, Setup};

/// Descriptors and connections beyond the clients': upstreams, listener, logs.
const SPARE: usize = 64;

/// Starts a master and one worker; returns when somebody accepts.
pub(super) fn start(
    folder: &Folder,
    listen: &Address,
    setup: &Setup,
    access: Option<&Path>,
) -> Outcome<Process> {
    let name = format!("nginx-{}.conf", listen.port());
    let text = configuration(&folder.root().display().to_string(), listen, setup, access);
    let file = folder.write(&name, &text)?;
    if setup.credentials.is_some() {
        folder.write("nginx-users", "me:{PLAIN}U*U\n")?;
    }
    let log = folder.path(&format!("nginx-{}.log", listen.port()));
    let arguments = ["-c", &file.display().to_string(), "-e", &log.display().to_string()];
    let arguments = arguments.map(str::to_owned);
    let program = Path::new("/usr/sbin/nginx");
    let program = if program.is_file() { program } else { Path::new("nginx") };
    let mut process = Process::start(program, &arguments, setup.core)?;
    process.answers_at(listen)?;
    Ok(process)
}

fn configuration(folder: &str, listen: &Address, setup: &Setup, access: Option<&Path>) -> String {
    let port = listen.port();
    let Setup { upstream, clients, exchanges, connections, .. } = setup;
    let upstream = upstream.for_nginx();
    // Clients and the upstream connections it may open, within 20,000 descriptors; when fewer
    // than a sixteenth are free, it closes idle clients.
    let busy = clients + (*connections).max(*exchanges);
    let worker_connections = (busy + busy / 8 + SPARE).min(19_900);
    let buffers = if setup.is_large() { LARGE } else { "" };
    // As its manual has it for WebSocket; that all requests here are such spares it the map.
    let connection = match setup.kind {
        Kind::Tunnels => "upgrade;\n      proxy_set_header Upgrade $http_upgrade",
        Kind::Http | Kind::Pass => "\"\"",
    };
    // The versions that anteroom speaks; sessions are resumed by tickets in both.
    let secured = if setup.secured {
        format!(
            " ssl;\n    ssl_certificate {folder}/{CERTIFICATE};\n    ssl_certificate_key {folder}/{KEY};\n    \
             ssl_protocols TLSv1.2 TLSv1.3"
        )
    } else {
        String::new()
    };
    // Not hashed: it would be hashed for each request.
    let passwords = if setup.credentials.is_some() {
        format!("    auth_basic bench;\n    auth_basic_user_file {folder}/nginx-users;\n")
    } else {
        String::new()
    };
    let (format, log) = match access {
        Some(file) => (FORMAT, format!("{} json buffer=64k flush=1s", file.display())),
        None => ("", "off".to_owned()),
    };
    format!(
        "user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx-{port}.pid;
events {{ worker_connections {worker_connections}; }}
http {{
{format}  access_log {log};
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  client_header_timeout 120s;
  client_body_timeout 120s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream app {{
    server {upstream};
    keepalive {connections};
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen} backlog=4096{secured};
{passwords}    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_buffering on;
{buffers}      proxy_request_buffering on;
      proxy_read_timeout 120s;
      proxy_set_header Connection {connection};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header Forwarded \"for=$remote_addr;host=$http_host;proto=$scheme\";
      proxy_set_header Via \"1.1 nginx\";
    }}
  }}
}}
"
    )
}

/// For responses far larger than the default buffers (8 of 4 KiB): kept in memory whole.
const LARGE: &str = "      proxy_buffer_size 16k;
      proxy_buffers 18 64k;
      proxy_busy_buffers_size 128k;
      proxy_max_temp_file_size 0;
";

/// A line of JSON for each request, with the fields that anteroom writes.
const FORMAT: &str = "  log_format json escape=json '{\"time\":\"$time_iso8601\",\
\"client\":\"$remote_addr\",\"listener\":\"$server_addr:$server_port\",\
\"method\":\"$request_method\",\"target\":\"$request_uri\",\"protocol\":\"$server_protocol\",\
\"host\":\"$http_host\",\"status\":$status,\"bytes_received\":$request_length,\
\"bytes_sent\":$bytes_sent,\"request_seconds\":$request_time,\
\"upstream_seconds\":\"$upstream_response_time\",\"upstream\":\"app\",\
\"server\":\"$upstream_addr\",\"user_agent\":\"$http_user_agent\",\
\"referer\":\"$http_referer\"}';
";

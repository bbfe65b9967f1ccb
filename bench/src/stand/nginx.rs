//! nginx, tuned as its manual advises for this work, adding the fields that anteroom adds.

use std::path::Path;

use crate::address::Address;
use crate::error::Outcome;
use crate::process::Process;
use crate::stand::Setup;
use crate::stand::folder::Folder;

/// Descriptors and connections beyond the clients': upstreams, listener, logs.
const SPARE: usize = 64;

/// Starts a master and one worker.
pub(super) fn start(folder: &Folder, listen: &Address, setup: &Setup) -> Outcome<Process> {
    let name = format!("nginx-{}.conf", listen.port());
    let text = configuration(&folder.root().display().to_string(), listen, setup);
    let file = folder.write(&name, &text)?;
    let log = folder.path(&format!("nginx-{}.log", listen.port()));
    let arguments = ["-c", &file.display().to_string(), "-e", &log.display().to_string()];
    let arguments = arguments.map(str::to_owned);
    let program = Path::new("/usr/sbin/nginx");
    let program = if program.is_file() { program } else { Path::new("nginx") };
    Process::start(program, &arguments, setup.core)
}

fn configuration(folder: &str, listen: &Address, setup: &Setup) -> String {
    let port = listen.port();
    let Setup { upstream, clients, connections, .. } = setup;
    let upstream = upstream.for_nginx();
    // Clients and the upstream connections of all of them at once, within 20,000 descriptors.
    let worker_connections = (clients + (*connections).max(clients / 8) + SPARE).min(19_900);
    format!(
        "user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx-{port}.pid;
events {{ worker_connections {worker_connections}; }}
http {{
  access_log off;
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
    listen {listen} backlog=4096;
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_buffering on;
      proxy_request_buffering on;
      proxy_read_timeout 120s;
      proxy_set_header Connection \"\";
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

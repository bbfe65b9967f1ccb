//! nginx and HAProxy, each before a recorder: what they make of a request is what they pass on,
//! and what they can't read stands in their log.

use std::process::Command;

use crate::folder::Folder;
use crate::servers::{Server, free_address, nginx_with, search_path};

use super::{Records, Witness, recorder};

/// nginx as a proxy.
///
/// # Panics
/// When nginx is not installed.
pub fn nginx() -> Witness {
    behind("nginx", nginx_before)
}

/// A proxy before a recorder.
fn behind(name: &'static str, start: fn(&str) -> Server) -> Witness {
    let recorder = recorder();
    let server = start(recorder.address());
    let address = server.address().to_owned();
    let (server, recorder) = (Some(server), Some(recorder));
    Witness { server, recorder, ..Witness::new(name, &address, Records::Behind) }
}

/// nginx as a proxy before a server, with one connection to it that it keeps.
///
/// # Panics
/// When nginx is not installed.
pub fn nginx_before(upstream: &str) -> Server {
    let folder = Folder::new();
    let address = free_address();
    let http = format!(
        "log_format witness 'witness-status=$status'; access_log /dev/stdout witness;\n\
         large_client_header_buffers 8 64k; client_body_buffer_size 1m;\n\
         upstream behind {{ server {upstream}; keepalive 1; }}\n\
         server {{\n\
           listen {address};\n\
           location / {{\n\
             proxy_pass http://behind; proxy_http_version 1.1;\n\
             proxy_set_header Connection ''; proxy_set_header Host $http_host;\n\
           }}\n\
         }}\n"
    );
    nginx_with(folder, &address, 1, &http)
}

/// HAProxy.
///
/// # Panics
/// When HAProxy is not installed.
pub fn haproxy() -> Witness {
    behind("haproxy", haproxy_before)
}

/// HAProxy before a server, with one connection to it that it keeps.
///
/// # Panics
/// When HAProxy is not installed.
pub fn haproxy_before(upstream: &str) -> Server {
    let folder = Folder::new();
    let address = free_address();
    let configuration = format!(
        "global\n\
         \x20 log stdout format raw local0 info\n\
         \x20 tune.bufsize 98304\n\
         \x20 tune.http.maxhdr 250\n\
         defaults\n\
         \x20 mode http\n\
         \x20 log global\n\
         \x20 option dontlognull\n\
         \x20 log-format witness-status=%ST\n\
         \x20 timeout connect 5s\n\
         \x20 timeout client 60s\n\
         \x20 timeout server 60s\n\
         \x20 http-reuse always\n\
         frontend in\n\
         \x20 bind {address}\n\
         \x20 default_backend out\n\
         backend out\n\
         \x20 server behind {upstream} maxconn 1\n"
    );
    let path = folder.write("haproxy.cfg", configuration);
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f", &path]).env("PATH", search_path());
    Server::start(&mut command, &address, folder)
}

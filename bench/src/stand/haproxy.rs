//! HAProxy on one thread, tuned as its manual advises for this work, adding the fields that
//! anteroom adds.

use std::fs::OpenOptions;
use std::path::Path;

use crate::address::Address;
use crate::error::{Outcome, While};
use crate::process::Process;
use crate::stand::folder::Folder;
use crate::stand::secret::BOTH;
use crate::stand::{Kind, Setup};

/// Starts it in the foreground; returns when somebody accepts. Its log is what it writes to
/// standard output.
pub(super) fn start(
    folder: &Folder,
    listen: &Address,
    setup: &Setup,
    log: Option<&Path>,
) -> Outcome<Process> {
    let name = format!("haproxy-{}.cfg", listen.port());
    let file = folder.write(&name, &configuration(folder, listen, setup))?;
    let arguments = ["-db", "-f", &file.display().to_string()].map(str::to_owned);
    let program = Path::new("/usr/sbin/haproxy");
    let program = if program.is_file() { program } else { Path::new("haproxy") };
    let mut process = match log {
        Some(log) => {
            let log = OpenOptions::new().create(true).append(true).open(log).doing("log")?;
            Process::start_writing(program, &arguments, setup.core, log)?
        }
        None => Process::start(program, &arguments, setup.core)?,
    };
    process.answers_at(listen)?;
    Ok(process)
}

fn configuration(folder: &Folder, listen: &Address, setup: &Setup) -> String {
    let Setup { upstream, clients, connections, .. } = setup;
    let upstream = upstream.for_haproxy();
    let most = if setup.capped { format!(" maxconn {connections}") } else { String::new() };
    let buffer = if setup.is_large() { 65_536 } else { 16_384 };
    let log = if setup.logs { LOG } else { "" };
    let secured = if setup.secured {
        format!(" ssl crt {} alpn http/1.1", folder.path(BOTH).display())
    } else {
        String::new()
    };
    if setup.kind == Kind::Pass {
        return format!(
            "global
  nbthread 1
  maxconn {clients}
  tune.bufsize {buffer}
defaults
  mode tcp
  timeout client 1h
  timeout connect 5s
  timeout server 1h
listen app
  bind {listen} backlog 4096
  server app {upstream}
"
        );
    }
    // It reckons with a server's connection for each client, and more than 20,000 descriptors
    // cannot be had: it is told to go on with those.
    let files = if setup.secured { "  ulimit-n 20000\n  no strict-limits\n" } else { "" };
    format!(
        "global
  nbthread 1
  maxconn {clients}
{files}  tune.bufsize {buffer}
  tune.pool-high-fd-ratio 100
  tune.pool-low-fd-ratio 100
  log stdout format raw local0 info
defaults
  mode http
  option http-buffer-request
  http-reuse always
  timeout client 1h
  timeout http-keep-alive 1h
  timeout http-request 120s
  timeout connect 5s
  timeout server 120s
  timeout queue 30s
  timeout tunnel 1h
frontend clients
  bind {listen} backlog 4096{secured}
{log}  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header Forwarded for=%[src];host=%[req.hdr(host)];proto=http
  http-request set-header Via \"1.1 haproxy\"
  default_backend app
backend app
  server app {upstream}{most} pool-purge-delay 1h
"
    )
}

/// A line of JSON for each request, with the fields that anteroom writes.
const LOG: &str = "  http-request capture req.hdr(Host) len 128
  http-request capture req.hdr(User-Agent) len 256
  http-request capture req.hdr(Referer) len 256
  log global
  log-format '{\"time\":\"%tr\",\"client\":\"%ci\",\"listener\":\"%fi:%fp\",\
\"method\":\"%HM\",\"target\":\"%HU\",\"protocol\":\"%HV\",\"host\":\"%[capture.req.hdr(0)]\",\
\"status\":%ST,\"bytes_received\":%U,\"bytes_sent\":%B,\"request_milliseconds\":%Ta,\
\"queue_milliseconds\":%Tw,\"upstream_milliseconds\":%Tr,\"upstream\":\"%b\",\
\"server\":\"%si:%sp\",\"retries\":%rc,\"user_agent\":\"%[capture.req.hdr(1)]\",\
\"referer\":\"%[capture.req.hdr(2)]\"}'
";

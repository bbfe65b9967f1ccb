//! What a browser holds open for long, through the real binary: a WebSocket, an event stream and a
//! poll that takes its time, all from one page in Chromium.

use std::process::Command;
use std::time::Duration;

use blackbox::folder::Folder;
use blackbox::process::Process;
use blackbox::proxy::Setup;
use blackbox::servers::node_with;
use blackbox::wait::within;

/// The page and what it speaks with. Its WebSocket is written out, as Node has none of its own: each
/// frame goes back as it came, of a fragmented message, too.
const SERVER: &str = r"
const http = require('http'), crypto = require('crypto');
const page = `<!doctype html><title>room</title><script>
const told = {};
const tell = (what, how) => {
  told[what] = how;
  if (Object.keys(told).length === 3) fetch('/told?' + new URLSearchParams(told));
};
const sizes = [0, 1, 125, 126, 2048, 65535, 65536, 200000];
const socket = new WebSocket('ws://' + location.host + '/chat');
let next = 0;
socket.onopen = () => sizes.forEach(size => socket.send('x'.repeat(size)));
socket.onmessage = event => {
  if (event.data !== 'x'.repeat(sizes[next])) tell('socket', 'wrong at ' + next);
  next += 1;
  if (next === sizes.length) socket.close(1000, 'enough');
};
socket.onclose = event => tell('socket', event.wasClean && next === sizes.length ? 'fine' : 'cut');
const events = new EventSource('/events');
let heard = '';
events.onmessage = event => {
  heard += event.data;
  if (heard === '012') { events.close(); tell('events', 'fine'); }
};
fetch('/poll').then(answer => answer.text()).then(text => tell('poll', text));
</script>`;
const server = http.createServer((request, response) => {
  if (request.url === '/events') {
    response.writeHead(200, {'content-type': 'text/event-stream'});
    [0, 1, 2].forEach(n => setTimeout(() => response.write('data: ' + n + '\n\n'), 300 * (n + 1)));
  } else if (request.url === '/poll') {
    setTimeout(() => response.end('fine'), 1000);
  } else {
    response.writeHead(200, {'content-type': 'text/html'});
    response.end(request.url === '/' ? page : '');
  }
});
const head = (first, length) => {
  if (length < 126) return Buffer.from([first, length]);
  const head = Buffer.alloc(length < 65536 ? 4 : 10);
  head[0] = first;
  head[1] = length < 65536 ? 126 : 127;
  if (length < 65536) head.writeUInt16BE(length, 2); else head.writeUInt32BE(length, 6);
  return head;
};
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n' +
               'Connection: Upgrade\r\nSec-WebSocket-Accept: ' + accept + '\r\n\r\n');
  let came = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', data => {
    came = Buffer.concat([came, data]);
    for (;;) {
      if (came.length < 2) return;
      let length = came[1] & 127, at = 2;
      if (length === 126) { if (came.length < 4) return; length = came.readUInt16BE(2); at = 4; }
      else if (length === 127) { if (came.length < 10) return; length = came.readUInt32BE(6); at = 10; }
      if (came.length < at + 4 + length) return;
      const mask = came.subarray(at, at + 4), first = came[0];
      const body = Buffer.from(came.subarray(at + 4, at + 4 + length).map((b, n) => b ^ mask[n & 3]));
      came = came.subarray(at + 4 + length);
      socket.write(Buffer.concat([head(first, length), body]));
      if (first === 0x88) socket.end();
    }
  });
});
const [host, port] = process.argv[2].split(':');
server.listen(Number(port), host);
";

/// Chromium without a window, an account or a way to anywhere but here.
fn browser(folder: &Folder, page: &str) -> Process {
    let profile = format!("--user-data-dir={}", folder.file("profile"));
    let mut command = Command::new("chromium");
    command
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--no-first-run", "--disable-sync", "--disable-component-update"])
        .args([
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ])
        .args([&profile, "--remote-debugging-port=0", page]);
    Process::start(&mut command)
}

#[test]
fn a_page_with_a_socket_a_stream_and_a_poll() {
    let (server, folder) = (node_with(SERVER, &[]), Folder::new());
    let mut proxy = Setup::new(server.address()).with("--access-log", "stdout").start();
    let browser = browser(&folder, &format!("http://{}/", proxy.address()));
    let told = within(Duration::from_mins(1), "a word from the page", || {
        let log = proxy.process().output();
        let place = log.find("/told?")?;
        log[place..].split('"').next().map(str::to_owned)
    });
    for what in ["socket=fine", "events=fine", "poll=fine"] {
        assert!(told.contains(what), "{told}");
    }
    drop(browser);
    proxy.quiet();
    proxy.finish();
}

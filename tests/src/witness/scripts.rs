//! Node and gunicorn, each with a script that writes what it reads into a file.

use crate::folder::Folder;
use crate::servers::{free_address, gunicorn_with, node_with};

use super::{Records, Witness};

const NODE: &str = "
const fs = require('fs'), http = require('http');
const [host, port] = process.argv[2].split(':');
const file = fs.openSync(process.argv[3], 'a');
// A disk may take a part of it, or nothing for a moment.
const put = (text) => {
  let left = Buffer.from(text + '\\n');
  for (let tries = 0; left.length > 0; tries += 1) {
    try {
      left = left.subarray(fs.writeSync(file, left));
    } catch (error) {
      if (tries > 200) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
};
const hex = (text) => Buffer.from(text || '', 'latin1').toString('hex') || '-';
const server = http.createServer({maxHeaderSize: 65536}, (request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts).toString('hex') || '-';
    const words = [hex(request.method), hex(request.url), hex(request.headers.host), body];
    put(words.join(' '));
    const answer = Buffer.from('read ' + request.url, 'latin1');
    response.writeHead(200, {'Content-Length': answer.length});
    response.end(request.method === 'HEAD' ? undefined : answer);
  });
});
server.on('clientError', (error, socket) => {
  if ((error.code || '').startsWith('HPE_')) put('malformed');
  socket.end('HTTP/1.1 400 Bad Request\\r\\nConnection: close\\r\\n\\r\\n');
});
server.keepAliveTimeout = 60000;
server.listen(Number(port), host);
";

/// Node's HTTP server as it is set by default.
///
/// # Panics
/// When Node is not installed.
pub fn node() -> Witness {
    let folder = Folder::new();
    let path = folder.write("read", "");
    let server = node_with(NODE, &[&path]).keeping(folder);
    let address = server.address().to_owned();
    let records = Records::File { path, read: 0 };
    Witness { server: Some(server), ..Witness::new("node", &address, records) }
}

const GUNICORN: &str = "
import os
import time
file = os.open('read', os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def put(text):
    # A disk may take a part of it, or nothing for a moment.
    left, tries = (text + '\\n').encode(), 0
    while left:
        try:
            left = left[os.write(file, left):]
        except OSError:
            if tries > 200:
                raise
            time.sleep(0.005)
        tries += 1
def hexed(text):
    return text.encode('latin-1').hex() or '-'
def app(environ, start_response):
    body = environ['wsgi.input'].read()
    target = environ['RAW_URI']
    words = [hexed(environ['REQUEST_METHOD']), hexed(target), hexed(environ.get('HTTP_HOST', '')), body.hex() or '-']
    put(' '.join(words))
    # Nobody may move the application away from the path of the target.
    path = target.split('?')[0]
    plain = path.startswith('/') and '%' not in path and '//' not in path
    if environ['SCRIPT_NAME'] or (plain and environ['PATH_INFO'] != path):
        put('malformed')
    answer = ('read ' + target).encode('latin-1')
    start_response('200 OK', [('Content-Length', str(len(answer)))])
    return [b'' if environ['REQUEST_METHOD'] == 'HEAD' else answer]
";

/// gunicorn with threads, which keep their connections, unlike its sync workers: only so can one
/// request spoil the next.
///
/// # Panics
/// When gunicorn is not in `target/venv`.
pub fn gunicorn() -> Witness {
    let folder = Folder::new();
    folder.write("witness.py", GUNICORN);
    let path = folder.write("read", "");
    let address = free_address();
    let arguments = "--workers 1 --worker-class gthread --threads 4 --keep-alive 60 \
                     --log-level info --limit-request-line 0 --limit-request-field_size 65536 \
                     --limit-request-fields 200 --permit-unconventional-http-method witness:app";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let server = gunicorn_with(folder, &address, &arguments);
    let records = Records::File { path, read: 0 };
    Witness { server: Some(server), ..Witness::new("gunicorn", &address, records) }
}

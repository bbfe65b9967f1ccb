//! An upstream that does what a test tells it, and remembers what it met.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::message::{Reader, Request};
use crate::stream::Stream;
use crate::wait::eventually;

/// What a script does after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Waits for the next request on this connection.
    Keep,
    /// Ends the connection in order.
    Close,
    /// Breaks it with a reset.
    Reset,
}

/// Where in the upstream's life a request came.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The connection's number since the start, from 0.
    pub connection: usize,
    /// The request's number on its connection, from 0.
    pub on_connection: usize,
    /// The request's number since the start, from 0.
    pub number: usize,
}

type Raw = dyn Fn(usize, Reader) -> io::Result<()> + Send + Sync;

/// A server in this process, one thread a connection. Dropping it ends it.
pub struct Upstream {
    address: String,
    state: Arc<State>,
    raw: Arc<Raw>,
    generation: Option<Arc<AtomicBool>>,
}

/// What the upstream met.
#[derive(Debug, Default)]
pub struct State {
    requests: Mutex<Vec<Request>>,
    faults: Mutex<Vec<String>>,
    streams: AtomicBool,
    open: Mutex<HashMap<usize, Stream>>,
    accepted: AtomicUsize,
    most_open: AtomicUsize,
    serving: AtomicUsize,
    most_serving: AtomicUsize,
    cut_off: AtomicUsize,
}

impl Upstream {
    /// On a free TCP port: `script` is called with each complete request and writes the answer.
    pub fn http<F>(script: F) -> Self
    where
        F: Fn(&Request, Place, &mut Stream) -> io::Result<Next> + Send + Sync + 'static,
    {
        Self::http_at("127.0.0.1:0", script)
    }

    /// As [`Upstream::http`] at `IP:PORT` or `unix:/path`.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn http_at<F>(address: &str, script: F) -> Self
    where
        F: Fn(&Request, Place, &mut Stream) -> io::Result<Next> + Send + Sync + 'static,
    {
        let state = Arc::new(State::default());
        let served = Arc::clone(&state);
        let raw = move |connection, reader| serve(&served, &script, connection, reader);
        Self::start(address, state, Arc::new(raw))
    }

    /// On a free TCP port: `script` is handed each connection and does with it what it likes.
    pub fn raw<F>(script: F) -> Self
    where
        F: Fn(usize, Reader) -> io::Result<()> + Send + Sync + 'static,
    {
        Self::start("127.0.0.1:0", Arc::default(), Arc::new(script))
    }

    /// Answers every request with a page of its own.
    pub fn pages() -> Self {
        Self::http(|request, _, stream| {
            respond(stream, 200, format!("page {}", request.target()).as_bytes())?;
            Ok(Next::Keep)
        })
    }

    fn start(address: &str, state: Arc<State>, raw: Arc<Raw>) -> Self {
        let mut upstream = Self { address: address.to_owned(), state, raw, generation: None };
        upstream.resume();
        upstream
    }

    /// Listens again after [`Upstream::stop`], at the same address.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn resume(&mut self) {
        let stop = Arc::new(AtomicBool::new(false));
        let listener = Listener::bind(&self.address);
        self.address = listener.address(&self.address);
        let (state, raw, stopped) =
            (Arc::clone(&self.state), Arc::clone(&self.raw), Arc::clone(&stop));
        std::thread::spawn(move || accept(&listener, &state, &raw, &stopped));
        self.generation = Some(stop);
    }

    /// Dies: listens no more and breaks every connection.
    pub fn stop(&mut self) {
        let Some(stop) = self.generation.take() else {
            return;
        };
        stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then drops the listener.
        drop(Stream::connect(&self.address));
        eventually("the upstream's listener to go", || Stream::connect(&self.address).err());
        self.hang_up();
    }

    /// Ends every connection, as servers do with idle ones.
    pub fn hang_up(&self) {
        for (_, mut stream) in lock(&self.state.open).drain() {
            stream.shutdown(Shutdown::Both);
        }
    }

    /// `IP:PORT` or `unix:/path`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Every complete request so far, in the order of completion.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state.requests).clone()
    }

    /// How many complete requests came.
    pub fn count(&self) -> usize {
        lock(&self.state.requests).len()
    }

    /// Every complete request so far, which are then forgotten.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.state.requests))
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        lock(&self.state.requests).clear();
    }

    /// The last complete request.
    ///
    /// # Panics
    /// When there was none.
    pub fn last(&self) -> Request {
        lock(&self.state.requests).last().cloned().expect("a request reached the upstream")
    }

    /// Connections accepted since the start.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        lock(&self.state.open).len()
    }

    /// Most connections that were ever open at one time.
    pub fn most_open(&self) -> usize {
        self.state.most_open.load(Ordering::SeqCst)
    }

    /// Most requests that were ever served at one time.
    pub fn most_serving(&self) -> usize {
        self.state.most_serving.load(Ordering::SeqCst)
    }

    /// Requests that ended in the middle.
    pub fn cut_off(&self) -> usize {
        self.state.cut_off.load(Ordering::SeqCst)
    }

    /// What was wrong with what came: must stay empty, for only clean requests may come.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.state.faults).clone()
    }

    /// The same since the last call.
    pub fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state.faults))
    }

    /// From now on requests may come in chunks: whoever streams them does not know their length.
    pub fn expect_streams(&self) {
        self.state.streams.store(true, Ordering::SeqCst);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(stop) = self.generation.take() {
            stop.store(true, Ordering::SeqCst);
            drop(Stream::connect(&self.address));
        }
        self.hang_up();
        if let Some(path) = self.address.strip_prefix("unix:") {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Writes a response with a length.
///
/// # Errors
/// What writing says.
pub fn respond(stream: &mut Stream, status: u16, body: &[u8]) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} Fine\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())
}

fn accept(listener: &Listener, state: &Arc<State>, raw: &Arc<Raw>, stop: &AtomicBool) {
    while let Ok(stream) = listener.accept() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(spare) = stream.try_clone() else {
            continue;
        };
        let connection = state.accepted.fetch_add(1, Ordering::SeqCst);
        let open = {
            let mut all = lock(&state.open);
            all.insert(connection, spare);
            // What the proxy has closed is closed, even if its thread has not noticed yet.
            all.values().filter(|stream| !stream.peer_ended()).count()
        };
        state.most_open.fetch_max(open, Ordering::SeqCst);
        let (state, raw) = (Arc::clone(state), Arc::clone(raw));
        std::thread::spawn(move || {
            // A script may end by an error as well: then its connection just ends.
            let _ = raw(connection, Reader::new(stream));
            if let Some(mut spare) = lock(&state.open).remove(&connection) {
                spare.shutdown(Shutdown::Both);
            }
        });
    }
}

fn serve<F>(state: &State, script: &F, connection: usize, mut reader: Reader) -> io::Result<()>
where
    F: Fn(&Request, Place, &mut Stream) -> io::Result<Next>,
{
    // A proxy may keep a connection idle for as long as it likes.
    reader.stream().set_timeout(std::time::Duration::from_mins(2))?;
    for on_connection in 0.. {
        let request = match reader.request() {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) => {
                use io::ErrorKind::{ConnectionReset, UnexpectedEof};
                if matches!(error.kind(), UnexpectedEof | ConnectionReset) {
                    state.cut_off.fetch_add(1, Ordering::SeqCst);
                } else if error.kind() == io::ErrorKind::InvalidData {
                    lock(&state.faults).push(error.to_string());
                }
                return Err(error);
            }
        };
        let streams = state.streams.load(Ordering::SeqCst);
        let faults = crate::echo::faults(&request, reader.kept(), streams);
        lock(&state.faults).extend(faults);
        let number = {
            let mut requests = lock(&state.requests);
            requests.push(request.clone());
            requests.len() - 1
        };
        let serving = state.serving.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_serving.fetch_max(serving, Ordering::SeqCst);
        let next = script(&request, Place { connection, on_connection, number }, reader.stream());
        state.serving.fetch_sub(1, Ordering::SeqCst);
        match next? {
            Next::Keep => {}
            Next::Close => return Ok(()),
            Next::Reset => {
                lock(&state.open).remove(&connection);
                reader.into_stream().reset();
                return Ok(());
            }
        }
    }
    Ok(())
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn bind(address: &str) -> Self {
        let taken = |error: io::Error| -> Self { panic!("cannot listen at {address}: {error}") };
        match address.strip_prefix("unix:") {
            Some(path) => {
                let _ = std::fs::remove_file(path);
                UnixListener::bind(path).map_or_else(taken, Self::Unix)
            }
            None => TcpListener::bind(address).map_or_else(taken, Self::Tcp),
        }
    }

    fn address(&self, asked: &str) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|a| a.to_string()),
            Self::Unix(_) => Ok(asked.to_owned()),
        }
        .expect("a bound listener has an address")
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => Stream::Tcp(listener.accept()?.0),
            Self::Unix(listener) => Stream::Unix(listener.accept()?.0),
        }
        .ready()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn serves_remembers_dies_and_comes_back() {
        let mut upstream = Upstream::pages();
        let address = upstream.address().to_owned();
        assert_eq!(Client::new(&address).get("/a").text(), "page /a");
        assert_eq!(upstream.last().target(), "/a");
        upstream.stop();
        assert!(Client::try_new(&address).is_err());
        upstream.resume();
        let mut client = Client::new(&address);
        assert_eq!(client.get("/b").text(), "page /b");
        upstream.hang_up();
        client.expect_end();
        assert_eq!((upstream.count(), upstream.address()), (2, address.as_str()));
    }

    #[test]
    fn finds_what_no_upstream_may_meet() {
        let upstream = Upstream::pages();
        let mut client = Client::new(upstream.address());
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nTE: trailers\r\n\r\n")
            .response();
        assert!(!upstream.take_faults().is_empty());
        assert_eq!(upstream.faults(), Vec::<String>::new());
    }

    #[test]
    fn chunks_are_for_those_that_expect_streams() {
        let upstream = Upstream::pages();
        let mut client = Client::new(upstream.address());
        let mut faults = |fields: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            client.send(head + "0\r\n\r\n").response();
            upstream.take_faults().len()
        };
        assert_eq!(faults("Transfer-Encoding: chunked\r\n"), 1);
        upstream.expect_streams();
        assert_eq!(faults("Transfer-Encoding: chunked\r\n"), 0);
        assert_eq!(faults("Transfer-Encoding: chunked\r\nTE: trailers\r\n"), 1);
        assert_eq!(faults("Content-Length: 5\r\n"), 0);
    }
}

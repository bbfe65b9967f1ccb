//! Many slow clients at once, driven by one thread.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::stream::Stream;

/// Clients that send a request byte by byte and never come to its end.
#[derive(Debug)]
pub struct Crowd {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: Option<JoinHandle<usize>>,
}

impl Crowd {
    /// Connects `clients` and has each send one byte of a POST's head and body per round; a
    /// round is followed by a pause.
    ///
    /// # Panics
    /// When not all of them are accepted.
    pub fn dribbling(address: &str, clients: usize, pause: Duration) -> Self {
        allow_descriptors();
        let connect = |_| Stream::connect(address).expect("a slow client is accepted");
        let mut streams: Vec<Stream> = (0..clients).map(connect).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicUsize::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let text = b"POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 5000\r\n\r\n";
            let endless = text.iter().chain(std::iter::repeat(&b'x'));
            for byte in endless.take(text.len() + 4000) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                streams.retain_mut(|stream| stream.write_all(std::slice::from_ref(byte)).is_ok());
                count.fetch_add(streams.len(), Ordering::Relaxed);
                std::thread::sleep(pause);
            }
            streams.iter_mut().filter_map(|stream| (!stream.has_news()).then_some(())).count()
        });
        Self { stop, sent, thread: Some(thread) }
    }

    /// Bytes sent by all of them.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends all of them home and tells how many were still connected.
    pub fn leave(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or(0)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Raises this process's limit of descriptors to what it may be; what it starts inherits it.
pub fn allow_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

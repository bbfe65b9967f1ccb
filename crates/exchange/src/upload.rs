//! A request whose body still arrives while the server is shown what came of it
//! (`request = "stream"`).

use pool::{Chain, Pool, Promise};

use crate::arrows::settle;
use crate::state::{Exchange, RequestBody, State};

/// What is still to come of a streamed request. It stays with the exchange when the response
/// comes early: then the body was not read to its end.
#[derive(Debug)]
pub struct Upload {
    /// How the body is framed, and what is still to come.
    pub reader: RequestBody,
    /// The client waits for `100 Continue`, which it gets when the lease begins.
    pub expects: bool,
    /// The buffer for what comes next, kept when the server took all that came: so the upload
    /// can go on, and with it the lease end, whoever waits for a buffer (law 5).
    pub promise: Option<Promise>,
}

impl Upload {
    /// Counts the first `bytes` of what came as taken by the server; empty buffers go back at
    /// once, but for the last.
    pub(crate) fn consume(&mut self, request: &mut Chain, bytes: u32, pool: &mut Pool) {
        if self.promise.is_some() {
            pool.consume(request, bytes);
        } else {
            self.promise = pool.consume_to_promise(request, bytes);
        }
    }
}

impl Exchange {
    /// The head is complete: the server may see it, and the body as it arrives. `request` is the
    /// canonical head with what came of the body.
    pub fn upload_begins(&mut self, request: Chain, reader: RequestBody) {
        let expects = self.facts.expects_continue;
        self.upload = Some(Upload { reader, expects, promise: None });
        self.request_ends(request);
    }

    /// The body's last byte came.
    pub fn upload_ends(&mut self, pool: &mut Pool) {
        self.stop_upload(pool);
        self.upload = None;
    }

    /// Nothing more of the body is read, though it has not ended.
    pub(crate) fn stop_upload(&mut self, pool: &mut Pool) {
        if let Some(upload) = &mut self.upload {
            settle(&mut upload.promise, pool);
        }
    }

    /// Whether more of the body is awaited while the server is shown what came.
    pub const fn uploads(&self) -> bool {
        self.upload.is_some() && matches!(self.state, State::Ready { .. } | State::Leased { .. })
    }

    /// Where bytes from the client go while it uploads, what is to come, and the buffer promised
    /// for it.
    pub const fn upload_chain(&mut self) -> Option<(&mut Chain, &mut Upload)> {
        let (State::Ready { request } | State::Leased { request, .. }) = &mut self.state else {
            return None;
        };
        match &mut self.upload {
            Some(upload) => Some((request, upload)),
            None => None,
        }
    }
}

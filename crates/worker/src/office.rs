//! Letters between threads: idle connections that move, nudges, orders from the master.
//!
//! One bounded queue per worker, made before the workers start and outliving each of them.

use std::net::SocketAddr;
use std::sync::Arc;

use base::id::{GroupId, ListenerId, ServerId, WorkerId};
use base::sync::ArrayQueue;
use base::sync::atomic::{AtomicBool, Ordering::SeqCst};
use bus::Travelling;
use driver::Wake;
use exchange::Challenges;
use proxies::security::AccessList;

use crate::crowd::Crowd;

/// What one thread tells a worker. `T` is the driver's connection on its way.
#[derive(Debug)]
pub enum Letter<T> {
    /// An idle upstream connection changes hands, its permit with it.
    Carried {
        /// Server and permit.
        travelling: Travelling,
        /// The connection.
        transport: T,
    },
    /// Something of a group may have become free, or another worker wants an idle connection.
    Nudge(GroupId),
    /// A place among `max_clients` became free, or the last one was taken.
    Places,
    /// The name of a server stands for other addresses now.
    Addresses {
        /// Whose name it is.
        server: ServerId,
        /// All of them.
        addresses: Arc<[SocketAddr]>,
    },
    /// Other addresses may come to a listener now.
    List {
        /// Which listener.
        listener: ListenerId,
        /// The verdicts.
        list: Arc<AccessList>,
    },
    /// Sessions of a listener's clients are made by this from now on.
    Acceptor {
        /// Which listener.
        listener: ListenerId,
        /// What makes them.
        acceptor: tls::Acceptor,
    },
    /// Sessions with a server are made by this from now on.
    Connector {
        /// Which server.
        server: ServerId,
        /// What makes them.
        connector: tls::Connector,
    },
    /// These may come to no listener now.
    Bans(Arc<AccessList>),
    /// What certificate authorities are answered from now on.
    Challenges(Arc<Challenges>),
    /// Finish what is under way, let nobody new in, then end.
    Drain,
    /// End at once.
    Stop,
}

struct Mailbox<T> {
    queue: ArrayQueue<Letter<T>>,
    waker: Arc<dyn Wake>,
    /// A letter found no room.
    missed: AtomicBool,
}

/// What the workers of a process share besides the bus: their mailboxes, and the count of all
/// clients.
pub struct Office<T> {
    mailboxes: Vec<Mailbox<T>>,
    pub(crate) crowd: Crowd,
}

impl<T> Office<T> {
    /// Mailboxes for the workers whose wakers these are, with room for `capacity` letters each;
    /// together they hold at most `max_clients`. Of their pinned connections, `pinned_free` take
    /// no client's place.
    pub fn new(
        wakers: Vec<Arc<dyn Wake>>,
        capacity: usize,
        max_clients: u32,
        pinned_free: u32,
    ) -> Arc<Self> {
        let crowd = Crowd::new(wakers.len(), max_clients, pinned_free);
        let mailboxes = wakers
            .into_iter()
            .map(|waker| Mailbox {
                queue: ArrayQueue::new(capacity),
                waker,
                missed: AtomicBool::new(false),
            })
            .collect();
        Arc::new(Self { mailboxes, crowd })
    }

    /// How many workers there are.
    pub fn workers(&self) -> u32 {
        u32::try_from(self.mailboxes.len()).unwrap_or(u32::MAX)
    }

    /// Puts a letter into a worker's mailbox and wakes it.
    ///
    /// # Errors
    /// Gives the letter back when the mailbox is full. The worker is woken all the same and
    /// looks at everything anew ([`missed`](Self::missed)), so a lost nudge loses nothing.
    pub fn post(&self, to: WorkerId, letter: Letter<T>) -> Result<(), Letter<T>> {
        let mailbox = &self.mailboxes[to.index()];
        let posted = mailbox.queue.push(letter);
        if posted.is_err() {
            mailbox.missed.store(true, SeqCst);
        }
        mailbox.waker.wake();
        posted
    }

    /// Whether a letter for `worker` found no room since it asked last. To be asked when all letters
    /// are collected.
    pub fn missed(&self, worker: WorkerId) -> bool {
        self.mailboxes[worker.index()].missed.swap(false, SeqCst)
    }

    /// The next letter for `worker`.
    pub fn collect(&self, worker: WorkerId) -> Option<Letter<T>> {
        self.mailboxes[worker.index()].queue.pop()
    }
}

//! Certificates from an authority (ACME, RFC 8555): ordered, kept in files, renewed in time.
//!
//! Each set of names is one job that orders a certificate when there is none or its time runs out,
//! and tries again, ever more rarely, when that fails. One more job, the board, has the workers show
//! what authorities come for. Whoever started them is told of everything as an [`Event`].
//!
//! - `client`: requests to the authority; `account`: who we are to it;
//! - `order`: one certificate, from the order to the chain; `challenge`: the proofs for it;
//! - `board`: what is shown at the moment;
//! - `keep`: one set of names, for ever; `schedule`: when; `advice`: when the authority would;
//! - `store`: the files.

mod account;
mod advice;
mod board;
mod challenge;
mod client;
mod fault;
mod keep;
mod order;
mod schedule;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::counter::Counter;
use exchange::Challenges;
use tls::{Identity, IssuedAs};
use tokio::sync::Semaphore;

use crate::thread::Job;
use account::Registrar;
use board::Board;
pub use client::{Said, Stand};
pub use instant_acme::{BodyWrapper, Error as AskError};
pub use store::{Store, StoreError};

/// Whom to ask for certificates, and how.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The address of its directory (RFC 8555 §7.1.1).
    pub directory: String,
    /// Whom it may write to.
    pub email: Option<String>,
    /// Certificates of those whom its own must come from; none: those whom the system trusts.
    pub ca: Option<PathBuf>,
    /// The account there that ours belongs to (RFC 8555 §7.3.4).
    pub external: Option<External>,
    /// The shortest pause after a failure, and the longest.
    pub retry: [Duration; 2],
}

/// An account that somebody has with an authority outside of ACME.
#[derive(Clone)]
pub struct External {
    /// How the authority calls it.
    pub id: String,
    /// The secret that both know.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for External {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("External").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How it is proved that names are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The authority fetches a text by plain HTTP from port 80 (RFC 8555 §8.3).
    Http01,
    /// The authority opens a TLS connection to port 443 (RFC 8737).
    TlsAlpn01,
}

impl Proof {
    /// As RFCs and configurations call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// A certificate that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its names, at least one.
    pub names: Vec<String>,
    /// The proofs that can be given: the first is tried first, the next after a failure.
    pub proofs: Vec<Proof>,
    /// Until when the one that is there is good, if there is one, and since when. What is in the file
    /// when its job begins counts more.
    pub held: Option<Held>,
    /// What is counted of it.
    pub tally: Arc<Tally>,
}

/// When a certificate is good, and what the authority calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// From then on.
    pub not_before: SystemTime,
    /// Until then.
    pub not_after: SystemTime,
    /// How the authority knows it, if that is known.
    pub issued_as: Option<IssuedAs>,
}

impl Held {
    /// What is known of a certificate.
    pub fn of(identity: &Identity) -> Self {
        Self {
            not_before: identity.not_before(),
            not_after: identity.not_after(),
            issued_as: identity.issued_as().cloned(),
        }
    }
}

/// What is counted of one certificate.
#[derive(Debug, Default)]
pub struct Tally {
    /// When its time is over, in seconds since 1970; 0 without one.
    pub expires: Counter,
    /// Certificates that were issued.
    pub issued: Counter,
    /// Orders that came to nothing.
    pub failed: Counter,
}

/// What those who started the jobs are told.
#[derive(Debug)]
pub enum Event {
    /// Authorities are to be shown these from now on, and nothing else.
    Show {
        /// By HTTP. Each worker that goes by it counts itself in.
        texts: Arc<Challenges>,
        /// By TLS.
        certificates: Vec<Arc<Identity>>,
    },
    /// A certificate was issued.
    Issued {
        /// The place of what is wanted.
        place: usize,
        /// The certificate.
        identity: Arc<Identity>,
        /// Why it is not in its file, if it is not: that is tried again.
        unkept: Option<String>,
    },
    /// One that was not in its file is there now.
    Kept {
        /// The place of what is wanted.
        place: usize,
    },
    /// The authority does not want to write to whom it was told to; that changes nothing else.
    ContactRefused {
        /// Why.
        why: String,
    },
    /// An order came to nothing.
    Failed {
        /// The place of what is wanted.
        place: usize,
        /// Why.
        why: String,
        /// When it is tried again.
        again: Duration,
    },
}

/// The jobs that keep these certificates, for `workers` workers.
pub fn jobs(
    authority: Authority,
    store: &Store,
    wanted: Vec<Wanted>,
    workers: u32,
    tell: impl Fn(Event) + Clone + Send + Sync + 'static,
) -> Vec<Job> {
    jobs_with(None, authority, store, wanted, workers, tell)
}

/// The same jobs; who is asked is this, if there is one, and not the authority.
pub fn jobs_with(
    stand: Option<Stand>,
    authority: Authority,
    store: &Store,
    wanted: Vec<Wanted>,
    workers: u32,
    tell: impl Fn(Event) + Clone + Send + Sync + 'static,
) -> Vec<Job> {
    let (board, job) = Board::new(workers, tell.clone());
    let retry = authority.retry;
    let registrar = Arc::new(Registrar::new(authority, store.clone(), stand, tell.clone()));
    let turns = Arc::new(Semaphore::new(base::limits::ACME_ORDERS));
    let keep = |(place, wanted): (usize, Wanted)| -> Job {
        let (board, registrar) = (board.clone(), Arc::clone(&registrar));
        let (turns, store, tell) = (Arc::clone(&turns), store.clone(), tell.clone());
        Box::new(move || {
            let keeper = keep::Keeper {
                place,
                wanted: wanted.clone(),
                retry,
                board: board.clone(),
                registrar: Arc::clone(&registrar),
                turns: Arc::clone(&turns),
                store: store.clone(),
                advised: false,
                unkept: None,
            };
            Box::pin(keeper.keep(tell.clone()))
        })
    };
    std::iter::once(job).chain(wanted.into_iter().enumerate().map(keep)).collect()
}

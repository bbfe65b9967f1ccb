//! What the workers of a process share: atomics, read and written without locks.
//!
//! No wake-up is lost. Who wants a connection publishes how long it has waited, then looks for
//! permits and idle connections; who frees one, or takes the last permit, changes the counts,
//! then looks who waits and where connections idle. All of it is sequentially consistent, so at
//! least one of two that do so at once sees the other.

use alloc::boxed::Box;
use alloc::sync::Arc;
use base::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use core::fmt;

use base::counter::Counter;
use base::id::{GroupId, ServerId, WorkerId};
use base::time::Instant;

use crate::budget::{self, Window};
use crate::group::GroupConfig;
use crate::policy::RetryPolicy;

/// "Nobody waits."
const NOBODY: u64 = u64::MAX;

/// The bounds and counts of all groups, shared by all workers.
#[derive(Debug)]
pub struct Shared {
    servers: Box<[Server]>,
    groups: Box<[Group]>,
}

/// What one worker wants for the requests of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// Since when the oldest of them waits.
    pub(crate) since: Instant,
    /// No permit helps it now: it can only use a connection that is open already.
    pub(crate) stuck: bool,
}

impl Want {
    /// One word, so that it is read as it was written. The clock's highest bit is never set.
    fn to_word(want: Option<Self>) -> u64 {
        want.map_or(NOBODY, |want| (want.since.0 << 1) | u64::from(want.stuck))
    }

    const fn from_word(word: u64) -> Option<Self> {
        match word {
            NOBODY => None,
            word => Some(Self { since: Instant(word >> 1), stuck: word & 1 == 1 }),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Server {
    group: GroupId,
    bound: u32,
    taken: AtomicU32,
    pub(crate) pinned_bound: u32,
    pub(crate) pinned: AtomicU32,
    /// Its connections are passed through: each one that is leased will be pinned.
    passes: bool,
    /// What the worker that learned of it last knows: it failed, and has not proved well since.
    down: AtomicBool,
    shares: Box<[ServerShare]>,
}

#[derive(Debug)]
struct Group {
    /// Requests that went again lately, of all workers.
    again: Window,
    shares: Box<[GroupShare]>,
}

/// One worker's part in one server. The worker writes, everybody reads; each part has cache
/// lines of its own, as workers write theirs with every lease.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServerShare {
    idle: AtomicU32,
    /// Connections being opened now.
    pub connecting: Counter,
    /// Connections leased now.
    pub leased: Counter,
    /// Connections pinned now.
    pub pinned: Counter,
    /// Connections opened.
    pub connects: Counter,
    /// Attempts and fresh connections that failed.
    pub failures: Counter,
    /// Idle connections given to other workers.
    pub handed_over: Counter,
}

impl Server {
    /// How many connections are allowed beside so many that were taken already. What is passed
    /// through is pinned as soon as it is open, so that it needs a place there as well: a client
    /// goes where there is one, and no server sees connections that are closed at once.
    fn free(&self, taken: u32) -> u32 {
        let leases = self.bound.saturating_sub(taken);
        if !self.passes {
            return leases;
        }
        let pinned = taken.saturating_add(self.pinned.load(SeqCst));
        leases.min(self.pinned_bound.saturating_sub(pinned))
    }
}

impl ServerShare {
    /// Connections idle now.
    pub fn idle(&self) -> u32 {
        self.idle.load(SeqCst)
    }
}

/// One worker's part in one group. The worker writes, everybody reads.
#[derive(Debug)]
#[repr(align(128))]
pub struct GroupShare {
    want: AtomicU64,
    /// Requests of the last seconds.
    pub(crate) recent: Window,
    /// Requests that went again.
    pub retries: Counter,
    /// Requests that did not go again because the budget was spent.
    pub retries_refused: Counter,
    /// Requests in the ready queue now.
    pub queued: Counter,
    /// Requests refused because the ready queue was full.
    pub refused: Counter,
}

impl Shared {
    /// Counts for so many workers and these groups. Servers are numbered from 0 over all groups.
    ///
    /// # Panics
    /// If the servers are not numbered so: the configuration's reader numbers them.
    pub fn new(workers: u32, groups: &[GroupConfig]) -> Arc<Self> {
        let servers: Box<[Server]> = (0u32..)
            .zip(groups)
            .flat_map(|(group, config)| {
                config.servers.iter().map(move |server| (group, config, server))
            })
            .enumerate()
            .map(|(place, (group, config, server))| {
                assert_eq!(server.id.index(), place, "servers are numbered in order");
                Server {
                    group: GroupId(group),
                    bound: server.connections,
                    taken: AtomicU32::new(0),
                    pinned_bound: server.pinned,
                    pinned: AtomicU32::new(0),
                    passes: config.policy.passes,
                    down: AtomicBool::new(false),
                    shares: (0..workers).map(|_| ServerShare::default()).collect(),
                }
            })
            .collect();
        let share = || GroupShare {
            want: AtomicU64::new(NOBODY),
            recent: Window::default(),
            retries: Counter::new(),
            retries_refused: Counter::new(),
            queued: Counter::new(),
            refused: Counter::new(),
        };
        let groups = groups
            .iter()
            .map(|_| Group {
                again: Window::default(),
                shares: (0..workers).map(|_| share()).collect(),
            })
            .collect();
        Arc::new(Self { servers, groups })
    }

    /// The workers' parts in a server.
    pub fn server(&self, server: ServerId) -> &[ServerShare] {
        &self.servers[server.index()].shares
    }

    /// The workers' parts in a group.
    pub fn group(&self, group: GroupId) -> &[GroupShare] {
        &self.groups[group.index()].shares
    }

    /// Connections to a server that are not really closed, of all workers, but for the pinned
    /// ones.
    pub fn taken(&self, server: ServerId) -> u32 {
        self.servers[server.index()].taken.load(SeqCst)
    }

    pub(crate) fn server_entry(&self, server: ServerId) -> &Server {
        &self.servers[server.index()]
    }

    /// Whether a server failed and has not proved well since, as the worker knows that learned
    /// of it last.
    pub fn is_down(&self, server: ServerId) -> bool {
        self.servers[server.index()].down.load(SeqCst)
    }

    /// Written only when it changes: everybody reads it.
    pub(crate) fn set_down(&self, server: ServerId, down: bool) {
        let flag = &self.servers[server.index()].down;
        if flag.load(SeqCst) != down {
            flag.store(down, SeqCst);
        }
    }

    /// Takes one retry out of a group's budget, if there is one left.
    pub(crate) fn withdraw(&self, group: GroupId, policy: RetryPolicy, now: Instant) -> bool {
        let entry = &self.groups[group.index()];
        let requests = entry.shares.iter().map(|share| &share.recent);
        budget::withdraw(policy, requests, &entry.again, now)
    }

    pub(crate) fn group_of(&self, server: ServerId) -> GroupId {
        self.servers[server.index()].group
    }

    pub(crate) fn share(&self, server: ServerId, worker: WorkerId) -> &ServerShare {
        &self.servers[server.index()].shares[worker.index()]
    }

    pub(crate) fn group_share(&self, group: GroupId, worker: WorkerId) -> &GroupShare {
        &self.groups[group.index()].shares[worker.index()]
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.groups.first().map_or(0, |group| group.shares.len())
    }

    /// How many more connections to the server are allowed.
    pub(crate) fn free(&self, server: ServerId) -> u32 {
        let entry = &self.servers[server.index()];
        entry.free(entry.taken.load(SeqCst))
    }

    /// Whether one more connection to the server is allowed.
    pub(crate) fn has_permit(&self, server: ServerId) -> bool {
        self.free(server) > 0
    }

    /// Takes a permit for one connection.
    pub(crate) fn permit(self: &Arc<Self>, server: ServerId) -> Option<Permit> {
        let entry = &self.servers[server.index()];
        let more = |taken| (entry.free(taken) > 0).then_some(taken + 1);
        entry.taken.fetch_update(SeqCst, SeqCst, more).ok()?;
        Some(Permit::new(self, server, false))
    }

    /// Leases and connects under way at a server, of all workers: an estimate, as the counts
    /// are not read at one moment.
    pub(crate) fn load(&self, server: ServerId) -> u32 {
        let entry = &self.servers[server.index()];
        let idle: u32 = entry.shares.iter().map(ServerShare::idle).sum();
        entry.taken.load(SeqCst).saturating_sub(idle)
    }

    pub(crate) fn idle_changed(&self, server: ServerId, worker: WorkerId, idle: usize) {
        let idle = u32::try_from(idle).unwrap_or(u32::MAX);
        self.share(server, worker).idle.store(idle, SeqCst);
    }

    /// Another worker with an idle connection to the server.
    pub(crate) fn idle_elsewhere(&self, server: ServerId, but: WorkerId) -> Option<WorkerId> {
        let shares = (0u32..).map(WorkerId).zip(self.server(server));
        shares
            .filter(|&(worker, share)| worker != but && share.idle() > 0)
            .max_by_key(|(_, share)| share.idle())
            .map(|(worker, _)| worker)
    }

    /// Publishes what a worker wants for a group.
    pub(crate) fn publish(&self, group: GroupId, worker: WorkerId, want: Option<Want>) {
        self.group_share(group, worker).want.store(Want::to_word(want), SeqCst);
    }

    /// What the workers other than `but` want for a group.
    pub(crate) fn wants(
        &self,
        group: GroupId,
        but: WorkerId,
    ) -> impl Iterator<Item = (WorkerId, Want)> {
        (0u32..)
            .map(WorkerId)
            .zip(self.group(group))
            .filter(move |&(worker, _)| worker != but)
            .filter_map(|(worker, share)| Some((worker, Want::from_word(share.want.load(SeqCst))?)))
    }

    /// Forgets what a worker published that is no more: its successor begins anew.
    pub(crate) fn forget(&self, worker: WorkerId) {
        for group in &self.groups {
            let share = &group.shares[worker.index()];
            share.want.store(NOBODY, SeqCst);
            share.queued.set(0);
        }
        for server in &self.servers {
            let share = &server.shares[worker.index()];
            share.idle.store(0, SeqCst);
            share.connecting.set(0);
            share.leased.set(0);
            share.pinned.set(0);
        }
    }
}

/// The right to one connection to a server. It goes back when it is dropped, which must not be
/// before the connection is really closed: so the bound holds even while a worker panics.
pub struct Permit {
    shared: Arc<Shared>,
    server: ServerId,
    /// It is counted among the pinned ones.
    pinned: bool,
}

impl Permit {
    pub(crate) fn new(shared: &Arc<Shared>, server: ServerId, pinned: bool) -> Self {
        Self { shared: Arc::clone(shared), server, pinned }
    }

    pub(crate) const fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// For which server.
    pub fn server(&self) -> ServerId {
        self.server
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let server = self.shared.server_entry(self.server);
        let count = if self.pinned { &server.pinned } else { &server.taken };
        let taken = count.fetch_sub(1, SeqCst);
        debug_assert!(taken > 0, "a permit went back twice");
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("server", &self.server).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::ServerConfig;
    use crate::policy::Policy;
    use std::thread;
    use std::vec;
    use std::vec::Vec;

    fn shared(workers: u32, connections: u32) -> Arc<Shared> {
        let servers = vec![ServerConfig::new(ServerId(0), connections)];
        let policy = Policy::default();
        let name = "app".into();
        let group = GroupConfig { name, servers, queue_length: 8, persistent: true, policy };
        Shared::new(workers, &[group])
    }

    #[test]
    fn permits_never_exceed_the_bound_whatever_the_threads_do() {
        let shared = shared(4, 3);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut held = Vec::new();
                    for round in 0..20_000u32 {
                        match shared.permit(ServerId(0)) {
                            Some(permit) => held.push(permit),
                            None => held.truncate(round as usize % 2),
                        }
                        assert!(shared.taken(ServerId(0)) <= 3);
                    }
                });
            }
        });
        assert_eq!(shared.taken(ServerId(0)), 0);
    }

    #[test]
    fn what_a_worker_wants_is_seen_by_the_others() {
        let shared = shared(3, 1);
        let group = GroupId(0);
        let wants = |but| shared.wants(group, WorkerId(but)).collect::<Vec<_>>();
        let young = Want { since: Instant(20), stuck: false };
        let old = Want { since: Instant(10), stuck: true };
        shared.publish(group, WorkerId(1), Some(young));
        shared.publish(group, WorkerId(2), Some(old));
        assert_eq!(wants(0), [(WorkerId(1), young), (WorkerId(2), old)]);
        assert_eq!(wants(2), [(WorkerId(1), young)]);
        shared.forget(WorkerId(2));
        assert_eq!(wants(0), [(WorkerId(1), young)]);
        assert_eq!(wants(1), []);
    }

    #[test]
    fn a_want_is_read_as_it_was_written() {
        for since in [0, 1, 1 << 40, (1 << 62) + 1] {
            for stuck in [false, true] {
                let want = Some(Want { since: Instant(since), stuck });
                assert_eq!(Want::from_word(Want::to_word(want)), want);
            }
        }
        assert_eq!(Want::from_word(Want::to_word(None)), None);
    }
}

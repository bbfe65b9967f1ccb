//! What holds in every run.

use core::cmp::Reverse;

use base::id::{GroupId, ServerId};

use super::{Doing, Event, Socket, Worker, World};
use crate::group::ServerConfig;

impl World {
    /// Always: the bound holds for permits and for real connections, and a permit is not back
    /// before its connection is really closed.
    pub(super) fn check_now(&self) {
        for (config, &open) in
            self.configs.iter().flat_map(|config| &config.servers).zip(&self.open)
        {
            let (taken, pinned) = (self.shared.taken(config.id), self.shared.pinned(config.id));
            assert!(taken <= config.connections, "more permits than allowed");
            assert!(pinned <= config.pinned, "more pinned than allowed");
            assert_eq!(taken + pinned, open, "permits and connections differ");
        }
        self.check_progress();
        assert!(self.nudges < 20 * (self.happened + 20), "they only nudge each other");
    }

    fn letters_under_way(&self) -> bool {
        self.letters.values().any(|letters| !letters.is_empty())
    }

    /// Whenever no letter is under way, no timer runs and no connection is being closed: nobody
    /// waits for a connection while one is idle anywhere or may be opened.
    fn check_progress(&self) {
        let timer = |worker: &Worker| worker.bus.is_none() || worker.wake.is_some();
        let closing = |socket: &Socket| socket.what == Doing::Closing;
        if self.letters_under_way()
            || self.workers.iter().any(timer)
            || self.workers.iter().flat_map(|worker| worker.sockets.values()).any(closing)
        {
            return;
        }
        for (group, config) in self.configs.iter().enumerate() {
            for (place, worker) in self.workers.iter().enumerate() {
                let queues = &worker.queues[group];
                let of_group =
                    |socket: &&Socket| config.servers.iter().any(|s| s.id.0 == socket.server);
                let count = |what: fn(&Doing) -> bool| {
                    let sockets = worker.sockets.values().filter(of_group);
                    sockets.filter(|socket| what(&socket.what)).count()
                };
                let connecting = count(|what| matches!(what, Doing::Connecting { .. }));
                // One that is being opened is waited for, and on probation it is the only one.
                if !worker.may_lease || queues.all().count() == 0 || connecting > 0 {
                    continue;
                }
                let backups = config.servers.iter().filter(|s| !s.backup);
                let backups = backups.into_iter().all(|s| self.shared.is_down(s.id));
                let serving = || config.servers.iter().filter(|s| !s.backup || backups);
                let permits = serving().any(|s| self.shared.taken(s.id) < s.connections);
                assert!(!permits, "worker {place} waits while a permit is free, at {:?}", self.now);
                let idle = self.workers.iter().flat_map(|worker| worker.sockets.values());
                let serves = |socket: &&Socket| serving().any(|s| s.id.0 == socket.server);
                let idle = idle.filter(serves).any(|socket| socket.what == Doing::Idle);
                assert!(
                    !idle || queues.ordinary() == 0,
                    "worker {place} waits while a connection is idle, at {:?}",
                    self.now
                );
            }
        }
    }

    /// Whether nothing will happen any more, but for looking at warm connections now and then.
    pub(super) fn is_at_rest(&self) -> bool {
        let rest = |event: &Event| matches!(event, Event::Wake);
        self.events.iter().all(|Reverse((.., event))| rest(event))
            && self.workers.iter().all(|worker| worker.bus.is_some() && worker.waiting() == 0)
            && self.is_warm()
    }

    fn is_warm(&self) -> bool {
        self.configs.iter().all(|config| {
            let warm = config.policy.warm as usize;
            let enough = |server: &ServerConfig| self.shared.taken(server.id) as usize >= warm;
            config.servers.iter().all(|server| enough(server) && self.unused(server.id) <= warm)
        })
    }

    /// Connections to a server that no request has met.
    fn unused(&self, id: ServerId) -> usize {
        let all = self.workers.iter().flat_map(|worker| worker.sockets.values());
        all.filter(|socket| socket.server == id.0 && !socket.used).count()
    }

    /// At rest: nobody waits, no permit is lost, the figures agree.
    pub(super) fn check_rest(&self) {
        assert!(!self.letters_under_way());
        for worker in &self.workers {
            assert_eq!(worker.waiting(), 0, "somebody waits for ever");
            assert!(worker.leased.is_empty());
            let bus = worker.bus.as_ref().unwrap();
            let held = bus.audit().unwrap();
            assert!(held.iter().all(|held| held.pinned == 0) && bus.pinned_here() == 0);
        }
        for (group, config) in self.configs.iter().enumerate() {
            for server in &config.servers {
                let shares = self.shared.server(server.id);
                for (worker, share) in self.workers.iter().zip(shares) {
                    let sockets = worker.sockets.values();
                    let idle = sockets
                        .filter(|socket| socket.server == server.id.0 && socket.what == Doing::Idle)
                        .count();
                    assert_eq!(share.idle() as usize, idle);
                    let others = [&share.leased, &share.pinned, &share.connecting];
                    assert!(others.iter().all(|count| count.get() == 0));
                    let may_keep = config.persistent || config.policy.warm > 0;
                    assert!(idle == 0 || may_keep, "it keeps what it may not keep");
                }
                let idle: u32 = shares.iter().map(crate::ServerShare::idle).sum();
                assert_eq!(self.shared.taken(server.id), idle, "a permit is lost");
                assert_eq!(self.shared.pinned(server.id), 0, "a pinned permit is lost");
                let warm = config.policy.warm;
                assert!(self.unused(server.id) <= warm as usize, "kept unused");
                assert!(idle >= warm, "{idle} of {warm} are warm");
            }
            for share in self.shared.group(GroupId(u32::try_from(group).unwrap())) {
                assert_eq!(share.queued.get(), 0);
            }
        }
    }
}

//! What must hold after every round, at every rest and at the end, whatever anybody did.

use base::counter::Counter;
use base::id::ServerId;
use base::time::Instant;
use exchange::{Phase, Refusal};
use worker::{AcceptPause, CloseReason, Worker, WorkerCounters};

use super::ask::Method;
use super::book::Fate;
use super::bounds;
use super::client::Client;
use super::door;
use super::duties;
use super::gate;
use super::house::House;
use super::oracle::LATE;
use super::server::Session;
use super::setting::{ServerSetting, Setting};
use super::stage::{Stage, Verdict, wrong};
use crate::memory::MemoryDriver;

/// Of so many rests, one is audited; that of the end always.
const AUDIT_EVERY: u64 = 16;

/// The checkers, and what they remember.
#[derive(Debug)]
pub(super) struct Checks {
    servers: Vec<ServerSetting>,
    rests: u64,
    /// How often somebody had to wait for a buffer until the last rest.
    waited: u64,
    lines: Lines,
    /// Of each worker, a client that holds a buffer in vain, and since when it is known to.
    held: Vec<Option<(u32, Instant)>>,
    /// What the trace showed last of each worker.
    shown: Vec<[u64; Phase::ALL.len()]>,
}

/// Lines of the access log.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    /// Of answers taken whole.
    answers: u64,
    /// Of exchanges cut off.
    cut: u64,
    /// Of tunnels that were asked for and ended in order.
    switched: u64,
    /// Of those that were cut, or never began because their clients had left.
    cut_101: u64,
    /// Of connections that were passed through to their end.
    passed: u64,
}

impl Lines {
    const fn all(&self) -> u64 {
        self.answers + self.cut + self.switched + self.cut_101 + self.passed
    }
}

impl Checks {
    pub(super) fn new(setting: &Setting) -> Self {
        Self {
            servers: setting.servers().map(|(_, server)| *server).collect(),
            rests: 0,
            waited: 0,
            lines: Lines::default(),
            held: vec![None; setting.workers as usize],
            shown: vec![[0; Phase::ALL.len()]; setting.workers as usize],
        }
    }

    fn servers(&self) -> impl Iterator<Item = (ServerId, &ServerSetting)> {
        (0..).map(ServerId).zip(&self.servers)
    }

    /// Never more connections than are allowed.
    pub(super) fn after_round(&self, stage: &Stage, house: &House) -> Verdict {
        // What is read back from the disk is sent long after its lease began.
        if stage.world.stale_sends() > 0 && stage.setting.spool.is_none() {
            return wrong("lease", "a request is sent on a connection that is known to have ended");
        }
        for (id, server) in self.servers() {
            let open = stage.world.connections_to(id);
            let (leases, pinned) = (house.shared.taken(id), house.shared.pinned(id));
            if leases > server.connections || pinned > server.pinned || open > leases + pinned {
                let text = format!(
                    "{open} connections to server {}: {leases} leases of {}, {pinned} pinned of {}",
                    id.0, server.connections, server.pinned
                );
                return wrong("connections", text);
            }
        }
        Ok(())
    }

    /// Nobody has anything to do before time goes on.
    pub(super) fn at_rest(
        &mut self,
        stage: &mut Stage,
        house: &House,
        sessions: &[Option<Session>],
        clients: &[Client],
    ) -> Verdict {
        let waited = house.sum(waits);
        if waited > self.waited || house.waits_for_buffers() {
            stage.book.causes.short.lasts(stage.now() + LATE + stage.setting.asleep());
        }
        self.waited = waited;
        self.rests += 1;
        if !self.rests.is_multiple_of(AUDIT_EVERY) && !stage.is_calm() {
            return Ok(());
        }
        duties::tunnels(stage, house, sessions, clients)?;
        self.somebody_yields(stage, house)?;
        let authorizing = house.sum(|c| c.exchanges[Phase::Authorizing as usize].get());
        gate::waits_in_time(authorizing, stage)?;
        clients.iter().try_for_each(|client| client.shakes_in_time(stage))?;
        clients.iter().try_for_each(|client| client.goes_on_in_time(stage))?;
        clients.iter().try_for_each(|client| client.is_heard(stage))?;
        bounds::are_kept(stage, house, clients)?;
        door::no_more_than(clients.iter().filter_map(Client::visit), stage)?;
        self.audit(stage, house, sessions)
    }

    /// While somebody waits for a buffer for long, nobody holds one and does not move (law 5).
    fn somebody_yields(&mut self, stage: &Stage, house: &House) -> Verdict {
        let (now, relief) = (stage.now(), Worker::<MemoryDriver>::RELIEF);
        for (worker, seen) in self.held.iter_mut().enumerate() {
            let Some((client, still)) = house.holds_in_vain(worker) else {
                *seen = None;
                continue;
            };
            let known = seen.filter(|&(known, _)| known == client);
            let (_, since) = *seen.insert(known.unwrap_or((client, now)));
            if now.since(since) > relief {
                let text = format!(
                    "worker {worker}: client {client} has held buffers for {still:?} while others wait"
                );
                return wrong("yield", text);
            }
        }
        Ok(())
    }

    fn audit(&self, stage: &Stage, house: &House, sessions: &[Option<Session>]) -> Verdict {
        duties::spool(house)?;
        duties::disk(house, &stage.world)?;
        duties::streams(house, &stage.world)?;
        let mut held = vec![bus::Held::default(); self.servers.len()];
        for worker in 0..house.len() {
            for (sum, held) in held.iter_mut().zip(house.audit(worker)?) {
                sum.leases += held.leases;
                sum.pinned += held.pinned;
            }
        }
        let asleep = stage.setting.sleepy[0] > 0 && !stage.is_calm();
        // The mailbox of one that is over is emptied when the process ends.
        let asleep = asleep || (0..house.len()).any(|worker| house.has_ended(worker));
        for ((id, _), held) in self.servers().zip(held) {
            let counted = (house.shared.taken(id), house.shared.pinned(id));
            // A worker that sleeps may have connections in its mailbox.
            if !asleep && counted != (held.leases, held.pinned) {
                let text = format!("server {}: {counted:?} permits taken, held: {held:?}", id.0);
                return wrong("permits", text);
            }
            if !asleep {
                no_lease_too_long(id, stage, house, sessions)?;
            }
        }
        Ok(())
    }

    /// Writes down how many exchanges are in which phase, if that changed.
    pub(super) fn trace(&mut self, worker: usize, stage: &Stage, house: &House) {
        let counters = &house.counters[worker];
        let now = Phase::ALL.map(|phase| counters.exchanges[phase as usize].get());
        if now == self.shown[worker] {
            return;
        }
        self.shown[worker] = now;
        let some = Phase::ALL.iter().zip(now).filter(|(_, count)| *count > 0);
        let some: Vec<String> = some.map(|(phase, n)| format!("{n} {}", phase.label())).collect();
        let used = counters.buffers_used.get();
        stage.world.note(|| format!("worker {worker}: {}; {used} buffers lent", some.join(", ")));
    }

    /// Reads what the workers wrote for the access log.
    pub(super) fn read_logs(&mut self, house: &mut House) {
        let lines = &mut self.lines;
        for log in &mut house.logs {
            log.drain(|record| {
                *match (record.status, record.closed) {
                    (101, None) => &mut lines.switched,
                    (101, Some(_)) => &mut lines.cut_101,
                    (_, Some(_)) => &mut lines.cut,
                    (0, None) => &mut lines.passed,
                    (_, None) => &mut lines.answers,
                } += 1;
                true
            });
        }
    }

    /// Everything was given back, and the figures agree with what happened.
    pub(super) fn at_the_end(&mut self, stage: &mut Stage, house: &House) -> Verdict {
        if !house.is_over() {
            return wrong("liveness", "a drain never ends");
        }
        let permits = |(id, _)| u64::from(house.shared.taken(id) + house.shared.pinned(id));
        let spooled = house.spool.as_ref().map_or(0, |spool| spool.held());
        let exchanges = house.sum(|c| c.exchanges.iter().map(Counter::get).sum());
        // A stop leaves its clients, and their sessions, to the closing of the process.
        let stopped = stage.book.causes.stopped || house.cut_off;
        let tls = |figure: fn(&WorkerCounters) -> u64| if stopped { 0 } else { house.sum(figure) };
        let states = [
            ("sockets", u64::from(stage.world.open_sockets())),
            ("permits", self.servers().map(permits).sum()),
            ("extents held", u64::from(spooled)),
            ("buffers lent", house.sum(|c| c.buffers_used.get())),
            ("buffers promised", house.sum(|c| c.buffers_promised.get())),
            ("clients active", house.sum(|c| c.clients_active.get())),
            ("exchanges", exchanges),
            ("bytes of messages in parts", tls(|c| c.tls_parts_bytes.get())),
            ("records ahead of buffers", tls(|c| c.tls_ahead.get())),
            ("connections counted by address", u64::from(house.addresses_have())),
        ];
        for (what, count) in states {
            if count > 0 && !(stopped && what == "clients active") {
                return wrong("leak", format!("{count} {what} at the end"));
            }
        }
        self.figures(stage, house)?;
        duties::bytes(stage, house)?;
        duties::parting(stage)?;
        at_most_once(stage)
    }

    /// Counters agree with what happened.
    fn figures(&self, stage: &Stage, house: &House) -> Verdict {
        let causes = &stage.book.causes;
        let setting = &stage.setting;
        let ends = causes.drained.is_some() || causes.stopped;
        let short = causes.short.ever();
        let impossible = [
            ("closed for want of buffers", closed_sum(house, CloseReason::Pressure), short),
            (
                "closed for the spool",
                closed_sum(house, CloseReason::Spool),
                causes.disk.ever() && setting.spool.is_some(),
            ),
            (
                "closed for newcomers",
                closed_sum(house, CloseReason::Reclaimed),
                setting.reclaim_parked,
            ),
            ("closed in a drain", closed_sum(house, CloseReason::Drain), ends),
            ("spooled", house.sum(|c| c.spooled.get()), setting.spool.is_some()),
            ("failures of the disk", house.sum(|c| c.spool_failures.get()), causes.disk.ever()),
            ("refused for want of buffers", refused_sum(house, Refusal::Pressure), short),
            ("refused in a stop", refused_sum(house, Refusal::Stopping), ends),
            (
                "lines of the log dropped",
                house.sum(|c| c.access_dropped.get()),
                setting.access.is_some(),
            ),
        ];
        duties::door(stage, house)?;
        bounds::figures(stage, house)?;
        for (what, count, possible) in impossible {
            if count > 0 && !possible {
                return wrong("figures", format!("{count} {what}, without a cause"));
            }
        }
        if causes.stopped {
            return Ok(());
        }
        let accepted = house.sum(|c| c.clients_accepted.get());
        let closed: u64 = CloseReason::ALL.iter().map(|&reason| closed_sum(house, reason)).sum();
        let here = house.sum(|c| c.clients.get() - c.clients_leaving.get());
        if accepted != closed + here {
            let text = format!("{accepted} clients accepted, {closed} closed, {here} here");
            return wrong("figures", text);
        }
        let whole = house.sum(|c| c.requests.iter().map(Counter::get).sum());
        let dropped = house.sum(|c| c.access_dropped.get());
        // Of those who waited for a first buffer in vain, not a byte ever came: they have no line.
        let untold = refused_sum(house, Refusal::Crowded);
        // What is passed through has a line, and is no request; that of a tunnel may tell of a cut.
        let [switched, passed] = [0, 1].map(|which| house.sum(|c| c.tunnels[which].get()));
        let told = self.lines.answers + self.lines.switched;
        let fits = told <= whole && told + self.lines.cut_101 + dropped + untold >= whole;
        let tunnels = self.lines.switched <= switched && self.lines.passed <= passed;
        if setting.access.is_some() && !(fits && tunnels) {
            let lines = &self.lines;
            let text = format!(
                "{whole} answers, {switched} and {passed} tunnels: {lines:?}, {dropped} dropped"
            );
            return wrong("figures", text);
        }
        let answers = stage.tally.answers();
        let turned_away = closed_sum(house, CloseReason::Limit);
        if answers > whole + turned_away {
            return wrong("figures", format!("{answers} answers were read, {whole} are counted"));
        }
        Ok(())
    }

    /// What was met on the way.
    pub(super) fn tell(&self, stage: &mut Stage, house: &House) {
        let tally = &mut stage.tally;
        tally.time = u128::from(stage.world.now().0);
        for refusal in Refusal::ALL {
            tally.met(refusal.label(), refused_sum(house, refusal));
        }
        for reason in CloseReason::ALL {
            tally.met(CLOSED[reason as usize], closed_sum(house, reason));
        }
        for pause in AcceptPause::ALL {
            let paused = house.sum(|c| c.accept_pauses[pause as usize].get());
            tally.met(PAUSED[pause as usize], paused);
        }
        for (what, count) in [
            ("waits for buffers", house.sum(waits)),
            ("retries", house.sum(|c| c.retries.get())),
            ("exchanges spooled", house.sum(|c| c.spooled.get())),
            ("exchanges spooled for others", house.sum(|c| c.spooled_for_others.get())),
            ("waits for the disk", house.sum(|c| c.spool_waits.get())),
            ("disk failures", house.sum(|c| c.spool_failures.get())),
            ("questions whether one may", house.sum(|c| c.authorizations_asked.get())),
            ("let in without one", house.sum(|c| c.authorizations_remembered.get())),
            ("lines of the log", self.lines.all()),
            ("lines of the log dropped", house.sum(|c| c.access_dropped.get())),
        ] {
            tally.met(what, count);
        }
        let servers = || self.servers().flat_map(|(id, _)| house.shared.server(id));
        tally.met("connects", servers().map(|share| share.connects.get()).sum());
        tally.met("connects that failed", servers().map(|share| share.failures.get()).sum());
        tally.met("connections handed over", servers().map(|share| share.handed_over.get()).sum());
    }
}

const CLOSED: [&str; CloseReason::ALL.len()] = [
    "closed: client",
    "closed: aborted",
    "closed: done",
    "closed: idle",
    "closed: timeout",
    "closed: refused",
    "closed: tls",
    "closed: reclaimed",
    "closed: limit",
    "closed: denied",
    "closed: banned",
    "closed: address limit",
    "closed: rate",
    "closed: untrusted",
    "closed: proxy header",
    "closed: upstream",
    "closed: pressure",
    "closed: stalled",
    "closed: spool",
    "closed: drain",
];

const PAUSED: [&str; AcceptPause::ALL.len()] =
    ["accept paused: limit", "accept paused: descriptors", "accept paused: memory"];

fn waits(counters: &WorkerCounters) -> u64 {
    counters.buffer_waits.iter().map(Counter::get).sum()
}

fn closed(reason: CloseReason) -> impl Fn(&WorkerCounters) -> u64 {
    move |counters| counters.clients_closed[reason as usize].get()
}

fn closed_sum(house: &House, reason: CloseReason) -> u64 {
    house.sum(closed(reason))
}

fn refused_sum(house: &House, refusal: Refusal) -> u64 {
    house.sum(|counters| counters.refusals[refusal as usize].get())
}

/// A lease ends with the last byte of the response: no connection on which nothing is under way is
/// leased.
fn no_lease_too_long(
    id: ServerId,
    stage: &Stage,
    house: &House,
    sessions: &[Option<Session>],
) -> Verdict {
    let here = || sessions.iter().flatten().filter(|session| session.server == id);
    let idle = here().filter(|session| session.is_idle()).count() as u64;
    let open = u64::from(stage.world.connections_to(id));
    let leased: u64 = house.shared.server(id).iter().map(|share| share.leased.get()).sum();
    // What is read back from the disk is on its way, though nobody sees it.
    if leased > open - idle.min(open) + house.leases_that_wait() {
        let text = format!(
            "server {}: {leased} connections are leased of {open}, and nothing is under way on {idle}",
            id.0
        );
        return wrong("lease", text);
    }
    Ok(())
}

/// What must not be sent twice was not, not even its beginning. Whose beginning it is cannot be
/// read in a few bytes: of those there are no more than of requests that never arrived.
fn at_most_once(stage: &Stage) -> Verdict {
    let mut missing = 0;
    for (number, record) in stage.book.records.iter().enumerate() {
        let method = record.ask().map(|ask| ask.method);
        if !matches!(method, Some(Method::Post | Method::Patch)) || record.began.is_none() {
            continue;
        }
        match record.arrivals + record.beginnings {
            0 => missing += 1,
            1 => {}
            _ => {
                let text = format!(
                    "request {number}, which must not be sent twice: it arrived {} times, and its beginning {}",
                    record.arrivals, record.beginnings
                );
                return wrong("at most once", text);
            }
        }
    }
    if stage.unsafe_pieces > missing {
        let text = format!(
            "beginnings of {} requests that must not be sent twice, and {missing} did not arrive",
            stage.unsafe_pieces
        );
        return wrong("at most once", text);
    }
    let open = stage.book.records.iter().position(|record| record.fate.is_none());
    match open {
        Some(number) => wrong("liveness", format!("request {number} has no end")),
        None => Ok(()),
    }
}

/// How an exchange that was cut off counts.
pub(super) const fn is_answer(fate: Fate) -> bool {
    matches!(fate, Fate::Answered | Fate::Switched | Fate::Refused(_))
}

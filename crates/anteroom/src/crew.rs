//! The workers' threads: started, told what to do, replaced when they fail.

use std::any::Any;
use std::mem::take;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base::counter::Counter;
use base::id::{ListenerId, ServerId, WorkerId};
use driver::epoll::EpollDriver;
use driver::uring::UringDriver;
use driver::{Address, Desk, Detached, Driver, Listener, SocketConfig, Wake, Waker};
use exchange::Challenges;
use proxies::security::{AccessList, LimitRules, Limits};
use tls::{Acceptor, Connector};
use tokio::sync::mpsc::UnboundedSender;
use worker::{AccessWriter, Carried, Inquiries, Letter, Office, Plan, Worker, WorkerCounters};

use crate::authorize;
use crate::cli::Io;
use crate::log::AccessLog;
use crate::settings::{Listen, Settings};
use crate::spooling::Spooling;

/// Letters one worker's mailbox holds: every idle connection of the process may be on its way to
/// it, and some nudges.
pub(crate) fn mailbox_capacity(settings: &Settings) -> usize {
    usize::try_from(settings.connections()).unwrap_or(usize::MAX).saturating_add(64)
}

/// What a worker's thread says.
#[derive(Debug)]
pub(crate) enum Report {
    /// It accepts clients.
    Ready(WorkerId),
    /// It is over.
    Ended(WorkerId, End),
    /// It was to be started anew, and it is time.
    Again(WorkerId),
}

/// How a worker's thread ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it was told.
    Orderly,
    /// It could not start.
    Failed(String),
    /// It panicked.
    Panicked(String),
}

/// What the master tells the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Let nobody new in, finish what is under way, end.
    Drain,
    /// End at once.
    Stop,
}

/// The workers of the process and what outlives each of them.
pub(crate) struct Crew {
    settings: Settings,
    listeners: Vec<Listener>,
    wakers: Vec<Arc<Waker>>,
    office: Arc<Office<Carried<Detached>>>,
    shared: Arc<bus::Shared>,
    counters: Vec<Arc<WorkerCounters>>,
    epoch: std::time::Instant,
    reports: UnboundedSender<Report>,
    spooling: Option<Spooling>,
    /// What the addresses of clients have, if that is bounded.
    limits: Option<Arc<Limits>>,
    /// Where the workers' records for the access log go, if there is one.
    access: Option<AccessLog>,
    /// What each server's name stands for now, or its address.
    servers: Vec<Vec<Address>>,
    /// What makes the sessions of each listener's clients now, if they speak TLS.
    acceptors: Vec<Option<Acceptor>>,
    /// Where questions go whether clients may, and what rings then, if any are put.
    inquiries: Option<(Arc<Inquiries>, Arc<Waker>)>,
    /// Listeners that got another one, where that met a full mailbox.
    unsecured: Vec<(WorkerId, ListenerId)>,
    /// Servers with which sessions are made by another connector, where that did.
    mistrusted: Vec<(WorkerId, ServerId)>,
    /// What certificate authorities are answered, and whom that could not be told, or not yet.
    challenges: Option<Arc<Challenges>>,
    unanswering: Vec<WorkerId>,
    /// Orders, and servers whose name leads elsewhere, that met a full mailbox.
    undelivered: Vec<(WorkerId, Order)>,
    untold: Vec<(WorkerId, ServerId)>,
    /// Whom the workers are to turn away.
    bans: Option<Arc<AccessList>>,
    /// Workers whose mailbox was full when that changed.
    unbanned: Vec<WorkerId>,
    /// Lists that met a full mailbox.
    unlisted: Vec<(WorkerId, ListenerId)>,
}

impl Crew {
    /// The workers of these settings, none of them started. `listeners` are bound already.
    ///
    /// # Errors
    /// When the kernel grants no descriptor to wake a worker with.
    pub(crate) fn new(
        settings: Settings,
        listeners: Vec<Listener>,
        spooling: Option<Spooling>,
        reports: UnboundedSender<Report>,
    ) -> std::io::Result<Self> {
        let ids = 0..settings.workers;
        let wakers: Vec<Arc<Waker>> =
            ids.clone().map(|_| Waker::new().map(Arc::new)).collect::<Result<_, _>>()?;
        let wakes: Vec<_> = wakers.iter().map(|waker| Arc::clone(waker) as Arc<dyn Wake>).collect();
        Ok(Self {
            inquiries: authorize::inquiries(&settings, wakes.clone())?,
            office: Office::new(
                wakes,
                mailbox_capacity(&settings),
                settings.max_clients,
                settings.pinned_free(),
            ),
            shared: bus::Shared::new(settings.workers, &settings.plan(WorkerId(0)).groups),
            counters: ids.map(|_| Arc::default()).collect(),
            epoch: clock(),
            servers: settings.servers().map(|(_, server)| server.addresses.clone()).collect(),
            acceptors: settings.listeners.iter().map(Listen::acceptor).collect(),
            unsecured: Vec::new(),
            mistrusted: Vec::new(),
            challenges: None,
            unanswering: Vec::new(),
            undelivered: Vec::new(),
            limits: settings.limits.map(limits).transpose()?,
            spooling,
            access: None,
            untold: Vec::new(),
            unlisted: Vec::new(),
            bans: None,
            unbanned: Vec::new(),
            listeners,
            settings,
            wakers,
            reports,
        })
    }

    /// Has every worker that is started from now on write to the access log.
    pub(crate) fn log_access(&mut self, access: AccessLog) {
        self.access = Some(access);
    }

    /// Every worker's number.
    pub(crate) fn ids(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..self.settings.workers).map(WorkerId)
    }

    /// The counters, in the order of the workers.
    pub(crate) fn counters(&self) -> Vec<Arc<WorkerCounters>> {
        self.counters.clone()
    }

    /// What the workers share of the bus.
    pub(crate) const fn shared(&self) -> &Arc<bus::Shared> {
        &self.shared
    }

    /// What the workers share of the spool, if there is one.
    pub(crate) fn spool(&self) -> Option<&Arc<spool::Shared>> {
        self.spooling.as_ref().map(|spooling| &spooling.shared)
    }

    /// What the addresses of clients have, if that is bounded.
    pub(crate) const fn limits(&self) -> Option<&Arc<Limits>> {
        self.limits.as_ref()
    }

    /// Where questions go whether clients may, and what rings then, if any are put.
    pub(crate) fn inquiries(&self) -> Option<(Arc<Inquiries>, Arc<Waker>)> {
        self.inquiries.clone()
    }

    fn waker(&self, id: WorkerId) -> Arc<Waker> {
        Arc::clone(&self.wakers[id.index()])
    }

    /// Starts a worker, for the first time or anew. It reports [`Report::Ready`], and in any
    /// case [`Report::Ended`] at last.
    pub(crate) fn start(&self, id: WorkerId) {
        let birth = self.birth(id);
        forget_the_present(&birth.counters);
        let reports = self.reports.clone();
        let thread = thread::Builder::new().name(format!("worker-{}", id.0));
        let started = thread.spawn(move || {
            // Whoever listens no more has ended the process already.
            let end = live(birth, || drop(reports.send(Report::Ready(id))));
            let _ = reports.send(Report::Ended(id, end));
        });
        if let Err(error) = started {
            let end = End::Failed(format!("the system grants no thread: {error}"));
            let _ = self.reports.send(Report::Ended(id, end));
        }
    }

    fn birth(&self, id: WorkerId) -> Birth {
        let mut plan = self.settings.plan(id);
        let servers = plan.groups.iter_mut().flat_map(|group| &mut group.servers);
        for (server, addresses) in servers.zip(&self.servers) {
            server.addresses = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        }
        for (listener, acceptor) in plan.listeners.iter_mut().zip(&self.acceptors) {
            listener.tls.acceptor.clone_from(acceptor);
        }
        Birth {
            plan: Plan {
                spool: self.spool().cloned(),
                limits: self.limits.clone(),
                bans: self.bans.clone(),
                challenges: self.challenges.clone(),
                inquiries: self.inquiries.as_ref().map(|(inquiries, _)| Arc::clone(inquiries)),
                ..plan
            },
            desk: self.spooling.as_ref().map(|it| Desk::new(&it.disk, self.waker(id))),
            listeners: self.listeners.clone(),
            servers: self.servers.clone(),
            waker: self.waker(id),
            office: Arc::clone(&self.office),
            shared: Arc::clone(&self.shared),
            counters: Arc::clone(&self.counters[id.index()]),
            epoch: self.epoch,
            io: self.settings.io,
            access: self.access.as_ref().map(AccessLog::ring),
        }
    }

    /// Has [`Report::Again`] come after `pause`. To be called inside the runtime.
    pub(crate) fn start_later(&self, id: WorkerId, pause: Duration) {
        let reports = self.reports.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _ = reports.send(Report::Again(id));
        });
    }

    /// Tells every worker. From now on nobody is started anew, so the listening sockets close
    /// with the last worker that lets go of them.
    pub(crate) fn order(&mut self, order: Order) {
        self.listeners.clear();
        self.undelivered.extend(self.ids().map(|id| (id, order)));
        self.deliver();
    }

    /// Tells every worker that the name of a server stands for other addresses.
    pub(crate) fn readdress(&mut self, server: ServerId, addresses: &[SocketAddr]) {
        let Some(known) = self.servers.get_mut(server.index()) else { return };
        *known = addresses.iter().copied().map(Address::Ip).collect();
        self.untold.retain(|(_, other)| *other != server);
        self.untold.extend(self.ids().map(|id| (id, server)));
        self.deliver();
    }

    /// Tells every worker that this is the list of a listener now.
    pub(crate) fn relist(&mut self, listener: ListenerId, list: &Arc<AccessList>) {
        let Some(listen) = self.settings.listeners.get_mut(listener.index()) else { return };
        listen.screened.list = Some(Arc::clone(list));
        self.unlisted.retain(|(_, other)| *other != listener);
        self.unlisted.extend(self.ids().map(|id| (id, listener)));
        self.deliver();
    }

    /// Tells every worker that sessions of a listener's clients are made by another acceptor.
    pub(crate) fn secure(&mut self, listener: ListenerId, acceptor: Acceptor) {
        let Some(known) = self.acceptors.get_mut(listener.index()) else { return };
        *known = Some(acceptor);
        self.unsecured.retain(|(_, other)| *other != listener);
        self.unsecured.extend(self.ids().map(|id| (id, listener)));
        self.deliver();
    }

    /// Tells every worker that sessions with a group's servers are made by another connector.
    pub(crate) fn secure_servers(&mut self, group: usize, connector: &Connector) {
        let before = self.settings.groups.iter().take(group);
        let first = before.map(|group| group.servers.len()).sum::<usize>();
        let Some(group) = self.settings.groups.get_mut(group) else { return };
        let ids = (0u32..).map(ServerId).skip(first).zip(&mut group.servers);
        let ids: Vec<ServerId> = ids
            .filter_map(|(id, server)| {
                server.tls.as_mut()?.connector = connector.clone();
                Some(id)
            })
            .collect();
        self.mistrusted.retain(|(_, other)| !ids.contains(other));
        let all = self.ids().flat_map(|id| ids.iter().map(move |server| (id, *server)));
        self.mistrusted.extend(all);
        self.deliver();
    }

    /// Tells every worker that these are banned now.
    pub(crate) fn ban(&mut self, bans: &Arc<AccessList>) {
        self.bans = Some(Arc::clone(bans));
        self.unbanned = self.ids().collect();
        self.deliver();
    }

    /// Tells every worker what certificate authorities are answered from now on: after what else it
    /// was told before.
    pub(crate) fn answer(&mut self, challenges: Arc<Challenges>) {
        self.challenges = Some(challenges);
        self.unanswering = self.ids().collect();
        self.deliver();
    }

    /// Tries again to deliver what met a full mailbox.
    pub(crate) fn deliver(&mut self) {
        let (servers, office) = (&self.servers, &self.office);
        self.untold.retain(|&(id, server)| {
            let ip = |address: &Address| match address {
                Address::Ip(ip) => Some(*ip),
                Address::Unix(_) => None,
            };
            let addresses = servers[server.index()].iter().filter_map(ip).collect();
            office.post(id, Letter::Addresses { server, addresses }).is_err()
        });
        let listeners = &self.settings.listeners;
        self.unlisted.retain(|&(id, listener)| {
            let list = listeners[listener.index()].screened.list.clone();
            list.is_some_and(|list| office.post(id, Letter::List { listener, list }).is_err())
        });
        let acceptors = &self.acceptors;
        self.unsecured.retain(|&(id, listener)| {
            let Some(acceptor) = acceptors[listener.index()].clone() else { return false };
            office.post(id, Letter::Acceptor { listener, acceptor }).is_err()
        });
        let settings = &self.settings;
        self.mistrusted.retain(|&(id, server)| {
            let tls = settings.servers().nth(server.index()).and_then(|(_, it)| it.tls.as_ref());
            let Some(connector) = tls.map(|tls| tls.connector.clone()) else { return false };
            office.post(id, Letter::Connector { server, connector }).is_err()
        });
        let bans = &self.bans;
        self.unbanned.retain(|&id| {
            bans.clone().is_some_and(|bans| office.post(id, Letter::Bans(bans)).is_err())
        });
        let (challenges, unsecured) = (&self.challenges, &self.unsecured);
        self.unanswering.retain(|&id| {
            let Some(challenges) = challenges.clone() else { return false };
            let lags = unsecured.iter().any(|(other, _)| *other == id);
            lags || office.post(id, Letter::Challenges(challenges)).is_err()
        });
        self.undelivered.retain(|(id, order)| {
            let letter = match order {
                Order::Drain => Letter::Drain,
                Order::Stop => Letter::Stop,
            };
            self.office.post(*id, letter).is_err()
        });
    }

    /// Whether [`deliver`](Self::deliver) is to be called again soon.
    pub(crate) fn has_undelivered(&self) -> bool {
        let told = self.undelivered.is_empty() && self.untold.is_empty();
        let screened = self.unlisted.is_empty() && self.unbanned.is_empty();
        let secured = self.unsecured.is_empty() && self.mistrusted.is_empty();
        !(told && screened && secured && self.unanswering.is_empty())
    }
}

/// Everything one worker's thread begins with.
struct Birth {
    plan: Plan,
    desk: Option<Desk>,
    listeners: Vec<Listener>,
    servers: Vec<Vec<Address>>,
    waker: Arc<Waker>,
    office: Arc<Office<Carried<Detached>>>,
    shared: Arc<bus::Shared>,
    counters: Arc<WorkerCounters>,
    epoch: std::time::Instant,
    io: Io,
    access: Option<(AccessWriter, u32)>,
}

/// A worker's whole life, on its own thread. A panic unwinds through everything it owned, so its
/// sockets close and its permits go back before this returns.
fn live(birth: Birth, ready: impl FnOnce()) -> End {
    match catch_unwind(AssertUnwindSafe(|| serve(birth, ready))) {
        Ok(Ok(())) => End::Orderly,
        Ok(Err(why)) => End::Failed(why),
        Err(panic) => End::Panicked(words(panic.as_ref())),
    }
}

fn serve(mut birth: Birth, ready: impl FnOnce()) -> Result<(), String> {
    let config = SocketConfig {
        sockets: birth.plan.sockets(),
        // The driver alone holds them, so that they close when the worker drains.
        listeners: take(&mut birth.listeners),
        servers: take(&mut birth.servers),
        epoch: birth.epoch,
        waker: Arc::clone(&birth.waker),
    };
    let desk = birth.desk.take();
    if birth.io == Io::Uring {
        let driver = UringDriver::new(config).map_err(|refusal| refusal.to_string())?;
        return serve_on(driver.with_spool(desk), birth, ready);
    }
    let driver =
        EpollDriver::new(config).map_err(|error| format!("epoll cannot be had: {error}"))?;
    serve_on(driver.with_spool(desk), birth, ready)
}

fn serve_on(
    driver: impl Driver<Detached = Detached>,
    birth: Birth,
    ready: impl FnOnce(),
) -> Result<(), String> {
    let Birth { plan, office, shared, counters, access, .. } = birth;
    let seed =
        getrandom::u64().map_err(|error| format!("the system grants no randomness: {error}"))?;
    let plan = Plan { seed, ..plan };
    let mut worker =
        Worker::new(plan, driver, shared, office, counters).map_err(|error| error.to_string())?;
    if let Some((writer, line)) = access {
        worker.log_access(writer, line);
    }
    ready();
    worker.run();
    Ok(())
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
        .to_owned()
}

/// Figures of what a worker had at the moment it failed are no one's any more; what it counted
/// so far stays counted.
fn forget_the_present(counters: &WorkerCounters) {
    let present = [
        &counters.clients,
        &counters.clients_active,
        &counters.clients_lingering,
        &counters.clients_leaving,
        &counters.clients_closing,
        &counters.tls_sessions,
        &counters.tls_parts_bytes,
        &counters.tls_ahead,
        &counters.buffers,
        &counters.buffers_used,
        &counters.buffers_promised,
        &counters.buffers_free_min,
    ];
    for counter in present.into_iter().chain(&counters.exchanges) {
        Counter::set(counter, 0);
    }
}

/// A table of what addresses have, which nobody outside can foresee.
fn limits(rules: LimitRules) -> std::io::Result<Arc<Limits>> {
    let seed = getrandom::u64().map_err(std::io::Error::other)?;
    Ok(Arc::new(Limits::new(rules, seed)))
}

/// Where the clock of all workers begins.
#[expect(clippy::disallowed_methods, reason = "the master passes time in")]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    #[test]
    fn a_failed_worker_leaves_no_figures_of_the_present_behind() {
        let counters = WorkerCounters::default();
        counters.clients.set(5);
        counters.clients_leaving.set(1);
        counters.clients_closing.set(1);
        counters.exchanges[2].set(3);
        counters.clients_accepted.set(9);
        forget_the_present(&counters);
        assert_eq!((counters.clients.get(), counters.exchanges[2].get()), (0, 0));
        assert_eq!((counters.clients_leaving.get(), counters.clients_closing.get()), (0, 0));
        assert_eq!(counters.clients_accepted.get(), 9);
    }

    #[test]
    fn a_panic_ends_a_worker_and_nobody_else() {
        let settings = settings("--listen 127.0.0.1:0 --upstream 127.0.0.1:9").unwrap();
        let options = driver::BindOptions::default();
        let listener = driver::bind(&settings.listeners[0].address, options).unwrap();
        let (reports, _heard) = tokio::sync::mpsc::unbounded_channel();
        let crew = Crew::new(settings, vec![listener], None, reports).unwrap();
        let mut birth = crew.birth(WorkerId(0));
        // A plan that contradicts itself: no settings make one.
        birth.plan.listeners[0].group = base::id::GroupId(7);
        let end = live(birth, || panic!("it never gets that far"));
        assert!(matches!(&end, End::Panicked(why) if why.contains("index")), "{end:?}");
        crew.office.post(WorkerId(0), Letter::Stop).unwrap();
        let mut ready = false;
        assert_eq!(live(crew.birth(WorkerId(0)), || ready = true), End::Orderly);
        assert!(ready);
    }

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        let panic = catch_unwind(|| panic!("over {}", "there")).unwrap_err();
        assert_eq!(words(panic.as_ref()), "over there");
        assert_eq!(words(&17), "without a word");
    }
}

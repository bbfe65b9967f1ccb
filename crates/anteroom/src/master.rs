//! The main thread: binds, starts the workers, watches them, obeys signals and orders, and ends
//! when the last worker has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::id::WorkerId;
use control::Thread;
use driver::{Address, BindOptions, Listener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep, sleep_until};

use crate::acme::Acme;
use crate::admin;
use crate::advice::Advisor;
use crate::authorize::Authorizers;
use crate::bans::{BanWish, Bans};
use crate::certificates::Certificates;
pub(crate) use crate::crew::Order;
use crate::crew::{Crew, End, Report};
use crate::failure::Failure;
use crate::figures::{Panel, Stage};
use crate::http::Door;
use crate::lists::Lists;
use crate::log::{self, Logs};
use crate::names::Names;
use crate::quantity::Length;
use crate::settings::{Listen, Settings};
use crate::spooling;
use crate::status::Frame;
use crate::upstreams::Upstreams;

/// How long workers may take to end beyond the drain's own deadline, or after a stop.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long a worker that failed stays away at first, and at most: one that fails at once, again
/// and again, must neither spin nor flood the log.
const RESTART_PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];
/// A worker that failed after it had run so long failed for a reason of its own.
const STEADY: Duration = Duration::from_mins(1);
/// How soon an order is posted again that met a full mailbox.
const REPOST: Duration = Duration::from_millis(10);

/// What others hold of the running process: its figures, and a way to give it orders.
#[derive(Clone, Debug)]
pub(crate) struct Reins {
    panel: Arc<Panel>,
    orders: UnboundedSender<Order>,
    bans: UnboundedSender<BanWish>,
}

impl Reins {
    /// The reins of a process with this panel, and where its orders and wishes come out.
    pub(crate) fn new(panel: Arc<Panel>) -> (Self, UnboundedReceiver<Order>, Bans) {
        let (orders, given) = unbounded_channel();
        let (bans, wishes) = unbounded_channel();
        (Self { panel, orders, bans }, given, Bans::new(wishes))
    }

    /// Asks for something about bans; the answer goes where the wish says.
    pub(crate) fn ban(&self, wish: BanWish) {
        let _ = self.bans.send(wish);
    }

    /// The figures.
    pub(crate) const fn panel(&self) -> &Arc<Panel> {
        &self.panel
    }

    /// Gives an order; nothing happens if the process is over already.
    pub(crate) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

/// The process from its start to its end.
pub(crate) struct Master {
    crew: Crew,
    reports: UnboundedReceiver<Report>,
    orders: UnboundedReceiver<Order>,
    reins: Reins,
    settings: Settings,
    addresses: Vec<Address>,
    frame: Frame,
    admin: Option<Door>,
    /// What becomes of servers' names, told by the thread `control`.
    names: Names,
    /// Who is banned, and who asks for that.
    bans: Bans,
    /// Lists whose files changed, told by the thread that looks after them.
    lists: Lists,
    certificates: Certificates,
    acme: Acme,
    /// The thread that decides whether clients may, if any is asked; it ends with this.
    authorizers: Option<Authorizers>,
    /// The thread beside the data path, if it has anything to do; it ends with this.
    control: Option<Thread>,
    /// Workers that have not begun to accept yet.
    awaited: BTreeSet<WorkerId>,
    /// Workers that are not over.
    alive: BTreeSet<WorkerId>,
    /// Workers that failed lately.
    setbacks: BTreeMap<WorkerId, Setback>,
    /// When workers that do not end are given up.
    give_up: Option<Instant>,
    /// Opens the files of the logs anew.
    reopen: Box<dyn Fn() + Send>,
}

/// When a worker failed last, and how long it stayed away then.
#[derive(Clone, Copy, Debug)]
struct Setback {
    at: Instant,
    pause: Duration,
}

impl Setback {
    /// How long a worker stays away that failed at `now`, after `last` if it did before.
    fn after(last: Option<Self>, now: Instant) -> Self {
        let [first, most] = RESTART_PAUSE;
        let pause = match last {
            Some(last) if now - last.at < STEADY => (last.pause * 2).min(most),
            _ => first,
        };
        Self { at: now, pause }
    }
}

impl Master {
    /// Binds every address and prepares the workers; nothing is accepted yet. To be called
    /// inside the runtime.
    ///
    /// # Errors
    /// When an address cannot be had, or the system grants no descriptors.
    pub(crate) fn open(mut settings: Settings) -> Result<Self, Failure> {
        let listeners = bind(&settings)?;
        for (listen, listener) in settings.listeners.iter_mut().zip(&listeners) {
            // Where the kernel chose the port, servers are told that one, not 0.
            listen.address = listener.local_address().clone();
        }
        let admin = settings.admin.as_ref().map(admin::open).transpose()?;
        let addresses: Vec<Address> =
            listeners.iter().map(|listener| listener.local_address().clone()).collect();
        let frame = Frame::new(&settings, &addresses);
        let (send_reports, reports) = unbounded_channel();
        let spooling = spooling::open(&settings)?;
        let acme = Acme::open(&settings)?;
        let mut crew = Crew::new(settings.clone(), listeners, spooling, send_reports)
            .map_err(|error| Failure::Run(format!("the workers cannot be prepared: {error}")))?;
        let upstreams = Upstreams::new(&settings, Arc::clone(crew.shared()));
        let mut certificates = Certificates::watch(&settings);
        let panel = Panel::new(crew.counters(), upstreams)
            .with_spool(crew.spool().cloned())
            .with_limits(crew.limits().cloned())
            .with_certificates(acme.tallies())
            .with_files(Arc::clone(certificates.ledger()));
        acme.take_up(&mut certificates, &mut crew);
        let (reins, orders, bans) = Reins::new(Arc::new(panel));
        Ok(Self {
            awaited: crew.ids().collect(),
            alive: crew.ids().collect(),
            reins,
            setbacks: BTreeMap::new(),
            give_up: None,
            reopen: Box::new(|| ()),
            names: Names::new(),
            lists: Lists::watch(&settings)?,
            certificates,
            acme,
            authorizers: None,
            control: None,
            bans,
            crew,
            reports,
            orders,
            settings,
            addresses,
            frame,
            admin,
        })
    }

    /// What the access log calls listeners and servers.
    pub(crate) fn names(&self) -> log::Names {
        let servers = self.settings.servers();
        log::Names {
            listeners: self.frame.listeners.clone(),
            servers: servers
                .map(|(group, at)| [group.name.to_string(), at.label.to_string()])
                .collect(),
        }
    }

    /// Has the workers write to these logs, and their files opened anew on SIGUSR1.
    pub(crate) fn log_to(&mut self, logs: &Logs) {
        if let Some(access) = logs.access() {
            self.crew.log_access(access.clone());
        }
        self.reopen = Box::new(logs.reopener());
    }

    /// Figures and orders, for whoever accompanies the process.
    pub(crate) const fn reins(&self) -> &Reins {
        &self.reins
    }

    /// Where clients come in, in the order of the command line.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the admin endpoints are, if anywhere.
    pub(crate) fn admin_address(&self) -> Option<&Address> {
        self.admin.as_ref().map(Door::address)
    }

    /// Serves until everything has ended, as told by signals or orders.
    ///
    /// # Errors
    /// When a worker cannot start, or does not end in time.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let mut signals = Signals::new()
            .map_err(|error| Failure::Run(format!("signals cannot be received: {error}")))?;
        let mut wishes = Wishes::new()
            .map_err(|error| Failure::Run(format!("signals cannot be received: {error}")))?;
        let ready = self.ready_line();
        if let Some(door) = self.admin.take() {
            let (settings, reins) = (self.settings.clone(), self.reins.clone());
            let frame = self.frame.clone();
            tokio::spawn(async move { admin::serve(door, &settings, reins, frame).await });
        }
        let mut advisor = Advisor::new(Arc::clone(&self.reins.panel));
        self.crew.ids().for_each(|id| self.crew.start(id));
        self.control = self.begin_beside()?;
        if let Some((inquiries, bell)) = self.crew.inquiries() {
            let panel = &self.reins.panel;
            self.authorizers = Some(Authorizers::start(&self.settings, inquiries, bell, panel)?);
        }
        while !self.alive.is_empty() {
            let stage = self.stage();
            tokio::select! {
                Some(report) = self.reports.recv() => self.hear(report, &ready)?,
                Some(order) = self.orders.recv() => self.obey(order),
                order = signals.next(stage) => self.obey(order),
                wish = wishes.next() => self.grant(wish),
                event = self.names.next() => Names::hear(event, &mut self.crew),
                changed = self.bans.changed() => if changed {
                    self.bans.enforce(&mut self.crew, &self.reins.panel);
                },
                reread = self.lists.next() => {
                    let (panel, names) = (&self.reins.panel, &self.frame.listeners);
                    Lists::hear(reread, &mut self.crew, panel, names);
                }
                event = self.acme.next() => {
                    self.acme.hear(event, &mut self.certificates, &mut self.crew);
                }
                () = self.certificates.due() => self.certificates.look(&mut self.crew),
                () = sleep(REPOST), if self.crew.has_undelivered() => self.crew.deliver(),
                () = until(self.give_up) => return Err(self.lost()),
                () = sleep_until(advisor.next()) => advisor.look(),
            }
        }
        Ok(())
    }

    /// Begins what an ordinary thread does beside the workers.
    fn begin_beside(&self) -> Result<Option<Thread>, Failure> {
        let mut jobs = self.names.jobs(&self.settings);
        jobs.extend(self.acme.jobs(&self.settings));
        if jobs.is_empty() {
            return Ok(None);
        }
        let thread = Thread::start(jobs, |why| {
            log::note(format_args!(
                "error: what looks after a name or a certificate panicked: {why}; it begins anew"
            ));
        });
        thread.map(Some).map_err(|error| {
            Failure::Run(format!("names and certificates cannot be looked after: {error}"))
        })
    }

    fn stage(&self) -> Stage {
        self.reins.panel.stage()
    }

    /// Does what a signal asks for that does not end the process, as far as this version can.
    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Reopen => (self.reopen)(),
            Wish::Reload if !self.certificates.is_empty() => {
                self.certificates.look_at_all(&mut self.crew);
                log::note(
                    "warning: SIGHUP: certificates are read again, the rest of the configuration is \
                     not in this version",
                );
            }
            Wish::Reload => log::note(
                "warning: SIGHUP: this version does not read its configuration again: drain it \
                 and start it anew",
            ),
            Wish::Upgrade => log::note(
                "warning: SIGUSR2: this version cannot be replaced while it runs: drain it and \
                 start it anew",
            ),
        }
    }

    /// What the ready line says (DESIGN.md §5).
    fn ready_line(&self) -> String {
        let mut line = self.frame.listeners.join(" ");
        if let Some(admin) = self.admin_address() {
            line.push_str(" admin=");
            line.push_str(&admin.to_string());
        }
        line
    }

    fn hear(&mut self, report: Report, ready: &str) -> Result<(), Failure> {
        match report {
            Report::Ready(id) => {
                if self.awaited.remove(&id)
                    && self.awaited.is_empty()
                    && self.stage() == Stage::Starting
                {
                    self.reins.panel.enter(Stage::Accepting);
                    log::ready(ready);
                }
            }
            Report::Again(id) => self.start_again(id),
            Report::Ended(id, end) => self.ended(id, end)?,
        }
        Ok(())
    }

    fn ended(&mut self, id: WorkerId, end: End) -> Result<(), Failure> {
        let why = match end {
            End::Failed(why) if self.awaited.contains(&id) => {
                return Err(Failure::Run(format!("worker {} cannot start: {why}", id.0)));
            }
            End::Orderly if self.stage() >= Stage::Draining => {
                self.alive.remove(&id);
                return Ok(());
            }
            End::Orderly => "ended without being told".to_owned(),
            End::Failed(why) => format!("cannot start: {why}"),
            End::Panicked(why) => format!("panicked: {why}"),
        };
        log::note(format_args!(
            "error: worker {} {why}; its clients are lost, the others' are not",
            id.0
        ));
        let setback = Setback::after(self.setbacks.get(&id).copied(), Instant::now());
        self.setbacks.insert(id, setback);
        self.crew.start_later(id, setback.pause);
        Ok(())
    }

    /// Replaces a worker that failed, unless the process is about to end.
    fn start_again(&mut self, id: WorkerId) {
        if self.stage() >= Stage::Draining {
            self.alive.remove(&id);
            return;
        }
        self.reins.panel.restarted();
        self.crew.start(id);
    }

    fn obey(&mut self, order: Order) {
        let (stage, patience) = match order {
            Order::Drain => (Stage::Draining, self.settings.timeouts.drain + END_PATIENCE),
            Order::Stop => (Stage::Stopping, END_PATIENCE),
        };
        if self.stage() >= stage {
            return;
        }
        self.reins.panel.enter(stage);
        self.give_up = Some(Instant::now() + patience);
        log::note(match order {
            Order::Drain => format!(
                "draining for at most {}; a second signal ends at once",
                Length(self.settings.timeouts.drain)
            ),
            Order::Stop => "stopping".to_owned(),
        });
        self.crew.order(order);
    }

    fn lost(&self) -> Failure {
        let alive: Vec<String> = self.alive.iter().map(|id| id.0.to_string()).collect();
        Failure::Run(format!("workers {} did not end in time and are abandoned", alive.join(", ")))
    }
}

fn bind(settings: &Settings) -> Result<Vec<Listener>, Failure> {
    let options = BindOptions { reuse_port: settings.reuse_port, open_to_all: true };
    let bind = |listen: &Listen| driver::bind(&listen.address, options);
    let listeners = settings.listeners.iter().map(bind).collect::<Result<_, _>>();
    listeners.map_err(|error| Failure::Run(error.to_string()))
}

/// What a signal asks for that does not end the process. Without a handler each of them would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// SIGUSR1.
    Reopen,
    /// SIGHUP.
    Reload,
    /// SIGUSR2.
    Upgrade,
}

/// The signals that ask for something.
struct Wishes([(Wish, Signal); 3]);

impl Wishes {
    fn new() -> std::io::Result<Self> {
        Ok(Self([
            (Wish::Reopen, signal(SignalKind::user_defined1())?),
            (Wish::Reload, signal(SignalKind::hangup())?),
            (Wish::Upgrade, signal(SignalKind::user_defined2())?),
        ]))
    }

    async fn next(&mut self) -> Wish {
        let [(reopen, first), (reload, second), (upgrade, third)] = &mut self.0;
        tokio::select! {
            _ = first.recv() => *reopen,
            _ = second.recv() => *reload,
            _ = third.recv() => *upgrade,
        }
    }
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// What the next signal means at this stage: the first drains, a second one stops.
    async fn next(&mut self, stage: Stage) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        if stage < Stage::Draining { Order::Drain } else { Order::Stop }
    }
}

/// Waits until `moment`; for ever if there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Visitor;
    use crate::settings::tests::settings;

    /// A master before a server that nobody runs, with the addresses of proxy and admin.
    fn open(flags: &str) -> (Master, Address, Address) {
        let base = "--listen 127.0.0.1:0 --upstream 127.0.0.1:9 --admin 127.0.0.1:0";
        let master = Master::open(settings(&format!("{base} {flags}")).unwrap()).unwrap();
        let (proxy, admin) = (master.addresses()[0].clone(), master.admin_address().cloned());
        (master, proxy, admin.unwrap())
    }

    async fn accepting(reins: &Reins) {
        while reins.panel().stage() < Stage::Accepting {
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn it_serves_until_it_is_drained_and_lets_go_of_its_address() {
        let (master, proxy, admin) = open("--workers 2 --timeout drain=2s");
        let reins = master.reins().clone();
        let running = tokio::spawn(master.run());
        accepting(&reins).await;
        let mut visitor = Visitor::connect(&proxy).await.unwrap();
        let (status, _) = visitor.ask("GET", "/").await.unwrap();
        assert_eq!(status, hyper::StatusCode::BAD_GATEWAY, "the server is not there");
        let mut operator = Visitor::connect(&admin).await.unwrap();
        operator.ask("POST", "/drain").await.unwrap();
        drop(visitor);
        running.await.unwrap().unwrap();
        assert_eq!(reins.panel().stage(), Stage::Draining);
        assert!(Visitor::connect(&proxy).await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_clients() {
        let (master, proxy, _) = open("--workers 1");
        let reins = master.reins().clone();
        let running = tokio::spawn(master.run());
        accepting(&reins).await;
        let _client = crate::http::connect(&proxy).await.unwrap();
        let began = Instant::now();
        reins.order(Order::Drain);
        reins.order(Order::Stop);
        running.await.unwrap().unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(reins.panel().stage(), Stage::Stopping);
    }

    #[tokio::test]
    async fn a_worker_that_fails_is_counted_and_replaced() {
        let (mut master, _, _) = open("--workers 1");
        let id = WorkerId(0);
        let early = master.ended(id, End::Failed("no memory".to_owned()));
        assert!(early.unwrap_err().to_string().contains("no memory"), "it never worked at all");
        master.awaited.clear();
        master.ended(id, End::Panicked("oops".to_owned())).unwrap();
        assert_eq!(master.alive.len(), 1, "it will be back");
        let report = master.reports.recv().await.unwrap();
        assert!(matches!(report, Report::Again(again) if again == id), "{report:?}");
        master.hear(report, "").unwrap();
        assert_eq!(master.reins.panel().read().restarts, 1);
        assert!(matches!(master.reports.recv().await, Some(Report::Ready(_))));
        master.obey(Order::Stop);
        let Some(Report::Ended(_, end)) = master.reports.recv().await else {
            panic!("the worker that came in its stead obeys")
        };
        assert_eq!(end, End::Orderly);
    }

    #[tokio::test]
    async fn a_worker_that_fails_again_and_again_comes_back_ever_later() {
        let now = Instant::now();
        let mut setback = Setback::after(None, now);
        assert_eq!(setback.pause, RESTART_PAUSE[0]);
        for _ in 0..20 {
            let again = Setback::after(Some(setback), setback.at + Duration::from_secs(1));
            assert!(again.pause == setback.pause * 2 || again.pause == RESTART_PAUSE[1]);
            setback = again;
        }
        assert_eq!(setback.pause, RESTART_PAUSE[1]);
        assert_eq!(Setback::after(Some(setback), setback.at + STEADY).pause, RESTART_PAUSE[0]);
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_a_failure_and_no_usage_error() {
        let (_master, proxy, _) = open("");
        let flags = format!("--listen {proxy} --upstream 127.0.0.1:9");
        let failure = Master::open(settings(&flags).unwrap()).err().unwrap();
        assert!(
            matches!(&failure, Failure::Run(text) if text.contains("cannot listen on")),
            "{failure}"
        );
    }
}

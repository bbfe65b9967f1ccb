//! Duties that no table of a worker shows: what a stop owes, what the spool counts.

use std::collections::BTreeMap;

use base::counter::Counter;
use base::limits::TLS_SEND;
use exchange::Phase;
use worker::{CloseReason, WorkerCounters};

use super::book::Fate;
use super::client::Client;
use super::house::House;
use super::parting;
use super::server::Session;
use super::stage::{Stage, Verdict, wrong};
use super::tunnel::Side;
use crate::world::World;

/// The figures of a worker before a turn, to see what the turn owed if it is the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    ready: u64,
    ended: u64,
}

impl Before {
    pub(super) fn of(counters: &WorkerCounters) -> Self {
        let ready = counters.exchanges[Phase::Ready as usize].get();
        Self { ready, ended: ended(counters) }
    }

    /// The worker is over: whoever waited for a lease was told so, unless it got one, left, or was
    /// expelled meanwhile.
    pub(super) fn settled(self, worker: usize, counters: &WorkerCounters) -> Verdict {
        let ended = ended(counters) - self.ended;
        if ended >= self.ready {
            return Ok(());
        }
        let text = format!(
            "worker {worker} stops: {} requests wait for a lease, and {ended} are told, leased or gone",
            self.ready
        );
        wrong("stop", text)
    }
}

/// How many requests were refused, leased, or lost their clients so far.
fn ended(counters: &WorkerCounters) -> u64 {
    // A list or a ban may come with the order to stop (seed 1000008178).
    let gone = [CloseReason::Aborted, CloseReason::Denied, CloseReason::Banned];
    let refused: u64 = counters.refusals.iter().map(Counter::get).sum();
    let leased: u64 = counters.queue_seconds.buckets().iter().sum();
    let gone: u64 = gone.iter().map(|&why| counters.clients_closed[why as usize].get()).sum();
    // What is passed through is leased and pinned at once.
    let passed: u64 = counters.tunnels.iter().map(Counter::get).sum();
    refused + leased + gone + passed
}

/// What clients were answered was counted.
pub(super) fn bytes(stage: &Stage, house: &House) -> Verdict {
    let answered = stage.book.records.iter().filter(|it| it.fate == Some(Fate::Answered));
    let lengths = answered.filter_map(|it| {
        let (ask, reply) = (it.ask()?, it.reply()?);
        // Of those that end with the connection nobody knows how much came.
        let known = reply.has_body(ask) && !(reply.is_until_end() && it.failed);
        known.then_some(u64::from(reply.length))
    });
    let ends = stage.ends.iter().filter(|end| end.side == Side::Client);
    // Over TLS bytes are counted when all records of one send are taken: who breaks off before has
    // heard of some that never were (seed 1000019372); so has whoever is cut off because its server did
    // (6000008411).
    let heard = ends.map(|end| {
        let more = end.other.is_some_and(|other| end.heard < stage.ends[other].said);
        let cut_short = (end.broke || more) && stage.setting.door.secured[end.group][0];
        end.heard.saturating_sub(if cut_short { TLS_SEND as u64 } else { 0 })
    });
    let (bodies, counted) =
        (lengths.chain(heard).sum::<u64>(), house.sum(|it| it.client_bytes_out.get()));
    if counted >= bodies {
        return Ok(());
    }
    wrong("figures", format!("{counted} bytes to clients are counted, {bodies} of bodies came"))
}

/// Whoever was turned away at the door had no right to be here, or might not have had.
pub(super) fn door(stage: &Stage, house: &House) -> Verdict {
    let closed = |reason: CloseReason| house.sum(|it| it.clients_closed[reason as usize].get());
    let denied = closed(CloseReason::Denied) + closed(CloseReason::Banned);
    let over = closed(CloseReason::AddressLimit) + closed(CloseReason::Rate);
    let (door, porter) = (&stage.setting.door, &stage.door);
    let rules = door.limits.as_ref();
    let unbounded = rules.is_none_or(|it| it.connections.is_none() && it.connection_rate.is_none());
    let right = denied <= porter.suspects
        && denied >= porter.turned_away
        && over <= if unbounded { 0 } else { porter.unheard };
    if right {
        return Ok(());
    }
    let text = format!(
        "{denied} clients were denied or banned, from {} to {} may have been; {over} were more than \
         their addresses may have, at most {} may have been",
        porter.turned_away, porter.suspects, porter.unheard
    );
    wrong("figures", text)
}

/// Nobody waits for a disk that has nothing to do.
pub(super) fn disk(house: &House, world: &World) -> Verdict {
    for worker in 0..house.len() {
        let waiting = house.waits_for_disk(worker);
        // One that sleeps has not heard yet what is done.
        let hears = world.is_due(worker);
        if waiting > 0 && !hears && world.disk_errands(worker) == 0 {
            let text = format!("worker {worker}: {waiting} exchanges wait for an idle disk");
            return wrong("disk", text);
        }
    }
    Ok(())
}

/// Whoever leaves an event stream is noticed.
pub(super) fn streams(house: &House, world: &World) -> Verdict {
    for worker in 0..house.len() {
        if house.stream_clients(worker).any(|socket| !world.awaits_end(worker, socket)) {
            let text = format!("worker {worker}: nobody hears a stream's client leave");
            return wrong("stream", text);
        }
    }
    Ok(())
}

/// A silent tunnel holds no buffer (law 2): whichever does, has bytes that one end has said and that
/// are neither still nor already in the network.
pub(super) fn tunnels(
    stage: &Stage,
    house: &House,
    sessions: &[Option<Session>],
    clients: &[Client],
) -> Verdict {
    let holding = house.tunnels_holding();
    if holding == 0 || stage.setting.sleepy[0] > 0 {
        return Ok(());
    }
    let ends = clients.iter().filter_map(Client::end);
    let ends = ends.chain(sessions.iter().flatten().filter_map(Session::end));
    // Of what is secured nobody can tell how much of it is under way.
    let outside = ends.map(|(me, peer)| {
        let bytes = if peer.is_secured() { 0 } else { peer.unread() + peer.unreceived() };
        (me, bytes as u64)
    });
    let outside: BTreeMap<usize, u64> = outside.collect();
    let needs = |&(&me, &mine): &(&usize, &u64)| {
        let end = &stage.ends[me];
        let began = end.request.is_none_or(|it| stage.book.get(it).fate == Some(Fate::Switched));
        // Of one whose other end is gone, or not known, nobody can tell.
        let Some((other, theirs)) = end.other.and_then(|it| Some((it, outside.get(&it)?))) else {
            return true;
        };
        let it = &stage.ends[other];
        // What was taken a moment ago may not have been told yet (seed 2000014152).
        let last = [end.spoke, end.listened, it.spoke, it.listened].into_iter().max();
        let told = stage.setting.late == 0
            || last.is_none_or(|last| stage.now().since(last) > parting::slack(stage));
        // The word that protocols are switched may be on its way; and of a request that was answered early
        // more may be there than was said (seeds 2700042438 and 5200157772).
        let request = end.request.or(it.request).and_then(|it| stage.book.get(it).reply());
        let early = request.is_some_and(|reply| reply.early.is_some()) && mine + theirs > 0;
        let differs = end.said + it.said != end.heard + it.heard + mine + theirs;
        !began || (me < other && (!told || early || differs))
    };
    let under_way = outside.iter().filter(needs).count() as u64;
    if holding > under_way {
        let text = format!("{holding} tunnels hold buffers, and {under_way} have need of any");
        return wrong("tunnel", text);
    }
    Ok(())
}

/// Of a response that its client has whole, the server's end was awaited (law 6).
pub(super) fn parting(stage: &Stage) -> Verdict {
    let answered = |&&number: &&u32| stage.book.get(number).fate == Some(Fate::Answered);
    match stage.unawaited.iter().find(answered) {
        Some(number) => {
            wrong("parting", format!("the server's end was not awaited after request {number}"))
        }
        None => Ok(()),
    }
}

/// What all addresses have in the spool is what is there.
pub(super) fn spool(house: &House) -> Verdict {
    match house.spool.as_ref().map_or(Ok(()), |spool| spool.audit()) {
        Ok(()) => Ok(()),
        Err(text) => wrong("spool", text),
    }
}

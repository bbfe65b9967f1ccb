//! What others may have taken of what there is for all: places in a queue, extents of the spool. Whoever is
//! refused for want of room was, if there may have been none.

use std::time::Duration;

use base::limits;
use base::time::Instant;

use super::book::{Fate, Record};
use super::setting::Setting;
use super::stage::Stage;

/// How many other requests may have waited for a server of this group when this one came to its queue: from
/// when that may have been at the earliest until now. Each worker has a queue of its own, and nobody knows
/// here whose queue a request stands in.
pub(super) fn may_wait(record: &Record, stage: &Stage) -> u32 {
    let setting = &stage.setting;
    let now = stage.now();
    let streams = setting.stream[record.group];
    let came = |it: &Record| if streams { it.given.or(it.began) } else { it.complete };
    let since = came(record).unwrap_or(now);
    let waits = |it: &&Record| {
        it.number != record.number
            && it.group == record.group
            && came(it).is_some()
            // Whoever has a lease stands there no longer; once more it stands before all others.
            && it.reached.is_none_or(|reached| reached >= since)
            && !is_over(it, since, setting)
    };
    u32::try_from(stage.book.records.iter().filter(waits).count()).unwrap_or(u32::MAX)
}

/// Whether an exchange was over at that moment. One whose client left may go on, as long as its deadlines let
/// it: an end alone tells nothing (DESIGN.md §4).
fn is_over(record: &Record, moment: Instant, setting: &Setting) -> bool {
    let left = record.fate == Some(Fate::Left);
    let late = if left { setting.notices(true) } else { Duration::ZERO };
    record.settled.is_some_and(|settled| settled + late < moment)
}

/// Whether what goes to the spool of this request may have found no room there, or a disk that fails.
pub(super) fn may_be_spooled_full(record: &Record, stage: &Stage) -> bool {
    let setting = &stage.setting;
    let Some((spool, ask)) = setting.spool.zip(record.ask()) else { return false };
    if ask.body.is_none() {
        return false;
    }
    let began = record.since(stage.now());
    // For a while nothing new goes to a disk that has failed.
    let rest = u64::try_from(limits::SPOOL_REST.as_nanos()).unwrap_or(u64::MAX);
    if stage.book.causes.disk.explains(Instant(began.0.saturating_sub(rest))) {
        return true;
    }
    // A response that is coded again is longer than what was said: a chunk for each byte, at worst.
    let extents = |it: &Record| {
        let own = it.ask().map_or(0, |ask| u64::from(ask.length()));
        let said = it.reply().map_or(0, |reply| 8 * u64::from(reply.length));
        extents_of(own) + extents_of(said) + 2
    };
    let held = |address: bool| -> u64 {
        let others = stage.book.records.iter().filter(|it| {
            it.number != record.number
                && it.began.is_some()
                && !is_over(it, began, setting)
                && (!address || it.peer == record.peer || it.through == record.through)
        });
        others.map(extents).sum()
    };
    // Its head may take one, too.
    let own = extents_of(u64::from(ask.length())) + 1;
    let [size, exchange, address] = [spool.size, spool.per_exchange, spool.per_address]
        .map(|bytes| (bytes / u64::from(limits::SPOOL_EXTENT)).max(1));
    own > exchange || own + held(false) > size || own + held(true) > address
}

/// How many extents so many bytes take.
fn extents_of(bytes: u64) -> u64 {
    bytes.div_ceil(u64::from(limits::SPOOL_EXTENT))
}

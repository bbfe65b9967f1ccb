//! What others may have taken of what there is for all: places in a queue. Whoever is
//! refused for want of room was, if there may have been none.

use std::time::Duration;

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

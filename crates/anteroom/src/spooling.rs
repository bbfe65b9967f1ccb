//! The spool at start: its file, its thread, and what is said when there can be none.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use driver::{Disk, SpoolError, SpoolFile};

use crate::failure::Failure;
use crate::log;
use crate::settings::{Settings, Spool, without};

/// The spool of a running process.
#[derive(Debug)]
pub(crate) struct Spooling {
    pub(crate) shared: Arc<spool::Shared>,
    pub(crate) disk: Disk,
}

/// Sets the spool's space aside and starts its thread. A spool that nobody asked for is done
/// without where there can be none.
///
/// # Errors
/// When it was asked for and cannot be had.
pub(crate) fn open(settings: &Settings) -> Result<Option<Spooling>, Failure> {
    let Some(spool) = &settings.spool else { return Ok(None) };
    match begin(spool, settings.workers) {
        Ok(spooling) => Ok(Some(spooling)),
        // It was looked at when the settings were checked: something has changed since.
        Err(why) if spool.asked => Err(Failure::Run(format!("no spool: {why}"))),
        Err(why) => {
            log::note(format_args!("warning: {}", without(&why, settings.log.tongue)));
            Ok(None)
        }
    }
}

fn begin(spool: &Spool, workers: u32) -> Result<Spooling, SpoolError> {
    // The file first: for a size that no disk has, the tables alone would fill the memory.
    let file = SpoolFile::create(&spool.dir, spool.limits.bytes())?;
    // Nobody outside knows it.
    let seed = RandomState::new().hash_one(0);
    let shared = spool::Shared::new(spool.limits, seed);
    let disk =
        Disk::start(file, workers).map_err(|error| SpoolError::Open(spool.dir.clone(), error))?;
    Ok(Spooling { shared, disk })
}

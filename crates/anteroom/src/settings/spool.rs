//! The spool as it is asked for, and as it will be.

use std::path::PathBuf;

use base::limits;
use driver::{SpoolError, SpoolFile};

use super::check::Desk;
use super::complaint::{Given, Tongue, Word};
use crate::quantity::Size;

/// Where exchanges go that outgrow memory, unless told.
pub(crate) const DIR: &str = "/var/tmp";

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpoolDraft {
    /// There is to be none.
    pub(crate) off: bool,
    pub(crate) dir: Option<Given<PathBuf>>,
    pub(crate) size: Option<Given<u64>>,
    pub(crate) per_exchange: Option<Given<u64>>,
    pub(crate) per_address: Option<Given<u64>>,
}

/// The spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spool {
    pub(crate) dir: PathBuf,
    pub(crate) limits: spool::Limits,
    /// It was asked for, and not only left on: without it there is no start.
    pub(crate) asked: bool,
}

impl Desk<'_> {
    /// The spool, unless there is to be none.
    pub(super) fn spool(&mut self) -> Option<Spool> {
        let draft = &self.draft.spool;
        if draft.off {
            self.nothing_goes_with_no_spool();
            return None;
        }
        let size = self.spool_size(draft.size.as_ref())?;
        let per_exchange = self.part_of_spool(
            Word::SPOOL_PER_EXCHANGE,
            draft.per_exchange.as_ref(),
            limits::SPOOL_PER_EXCHANGE,
            size,
        )?;
        let per_address = self.part_of_spool(
            Word::SPOOL_PER_ADDRESS,
            draft.per_address.as_ref(),
            limits::SPOOL_PER_ADDRESS.max(per_exchange),
            size,
        )?;
        let spool = Spool {
            dir: draft.dir.as_ref().map_or_else(|| DIR.into(), |given| given.value.clone()),
            limits: spool::Limits { size, per_exchange, per_address },
            asked: draft.dir.is_some() || draft.size.is_some(),
        };
        self.can_be_had(&spool).then_some(spool)
    }

    fn nothing_goes_with_no_spool(&mut self) {
        let draft = &self.draft.spool;
        let sizes = [&draft.size, &draft.per_exchange, &draft.per_address];
        if let Some(given) = sizes.into_iter().flatten().next() {
            let dir = self.tongue.name(Word::SPOOL_DIR);
            let text =
                format!("{dir} says that there is no spool, so it has no sizes: leave out one");
            self.complaints.error(given.span.clone(), text);
        }
    }

    /// Whether there can be such a spool, as far as can be seen. What was asked for and cannot be
    /// had is an error; what nobody asked for is done without, with a warning.
    fn can_be_had(&mut self, spool: &Spool) -> bool {
        let draft = &self.draft.spool;
        let Err(why) = SpoolFile::trial(&spool.dir, spool.limits.bytes()) else { return true };
        if let Some(given) = &draft.dir {
            let shown = self.tongue.quoted(given.value.display());
            self.refuse(Word::SPOOL_DIR, shown, Some(given), why);
        } else if let Some(given) = &draft.size {
            self.refuse(Word::SPOOL_SIZE, Size(given.value), Some(given), why);
        } else {
            self.complaints.warning(None, without(&why, self.tongue));
        }
        false
    }

    fn spool_size(&mut self, given: Option<&Given<u64>>) -> Option<u64> {
        let [least, most] = [u64::from(limits::SPOOL_EXTENT), limits::SPOOL_SIZE_MAX];
        let size = given.map_or(limits::SPOOL_SIZE, |given| given.value);
        if (least..=most).contains(&size) {
            return Some(size);
        }
        let remedy = format!("give {} to {}", Size(least), Size(most));
        self.refuse(Word::SPOOL_SIZE, Size(size), given, remedy);
        None
    }

    /// A bound within the spool's size: as asked, or the default as far as it reaches.
    fn part_of_spool(
        &mut self,
        word: Word,
        given: Option<&Given<u64>>,
        preset: u64,
        size: u64,
    ) -> Option<u64> {
        let Some(given) = given else { return Some(preset.min(size)) };
        let least = u64::from(limits::SPOOL_EXTENT);
        if (least..=size).contains(&given.value) {
            return Some(given.value);
        }
        let all = self.tongue.name(Word::SPOOL_SIZE);
        let remedy = format!("give {} to {}, or raise {all}", Size(least), Size(size));
        self.refuse(word, Size(given.value), Some(given), remedy);
        None
    }
}

/// What it means that there is no spool although there was to be one.
pub(crate) fn without(why: &SpoolError, tongue: Tongue) -> String {
    let off = match tongue {
        Tongue::Flags => "--spool off",
        Tongue::Keys => "spool = false",
    };
    format!(
        "no spool: {why}; so requests larger than {} are refused, and longer responses wait for \
         their clients; {off} says that this is meant",
        tongue.name(Word::EXCHANGE_MEMORY)
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;
    use crate::failure::Failure;

    const BASE: &str = "--listen 127.0.0.1:0 --upstream 127.0.0.1:9000";

    #[test]
    fn there_is_one_unless_told_otherwise() {
        // A machine whose disk is nearly full has none unasked.
        let Some(spool) = settings(BASE).unwrap().spool else { return };
        let limits =
            spool::Limits { size: 1 << 30, per_exchange: 256 << 20, per_address: 512 << 20 };
        assert_eq!(spool, Spool { dir: DIR.into(), limits, asked: false });
        assert_eq!(settings(&format!("{BASE} --spool off")).unwrap().spool, None);
        let spool = settings(&format!("{BASE} --spool / --spool-size 1MiB")).unwrap().spool;
        let limits = spool::Limits { size: 1 << 20, per_exchange: 1 << 20, per_address: 1 << 20 };
        assert_eq!(spool, Some(Spool { dir: "/".into(), limits, asked: true }));
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        for (flags, named) in [
            ("--spool /nowhere/at/all", "--spool /nowhere/at/all"),
            ("--spool /etc/passwd", "name a directory"),
            ("--spool-size 1KiB", "64 KiB to 64 TiB"),
            ("--spool / --spool-size 60TiB", "no room for"),
            ("--spool off --spool-size 1GiB", "leave out one"),
        ] {
            match settings(&format!("{BASE} {flags}")) {
                Err(Failure::Usage(text)) => assert!(text.contains(named), "{flags}: {text}"),
                other => panic!("{flags}: {other:?}"),
            }
        }
    }
}

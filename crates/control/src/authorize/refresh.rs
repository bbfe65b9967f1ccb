//! Keys that stand at a URL (RFC 7517 §5): when they are fetched, and what is said meanwhile of a token
//! whose key is not known.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use base::limits::{KEYS_REFRESH, KEYS_RETRY};
use hyper::body::Bytes;
use tokio::time::Instant;

use super::{Fetch, FileFault, Keys, Url};

/// Where keys stand.
#[derive(Clone, Debug)]
pub struct KeyServer {
    /// How it is asked.
    pub fetch: Fetch,
    /// Where.
    pub url: Url,
    /// How often.
    pub every: Duration,
}

impl KeyServer {
    /// What stands there now.
    ///
    /// # Errors
    /// Why it cannot be had, in a few words.
    pub async fn ask(&self) -> Result<Bytes, String> {
        self.fetch.document(&self.url).await
    }
}

/// When keys are fetched. Nothing is done here: it is told what happens, and when.
///
/// In turn: [`due`](Self::due), [`begin`](Self::begin), [`end`](Self::end).
#[derive(Debug)]
pub struct Refresh {
    every: Duration,
    state: State,
    /// What stood there when it was last right.
    document: Option<Bytes>,
}

#[derive(Debug)]
enum State {
    /// Nothing was tried yet.
    New,
    /// An answer is awaited. Whether something was wrong before, how often, and what.
    Asked(Option<Trouble>),
    /// Keys were had then.
    Good(Instant),
    /// They were not, then.
    Bad(Instant, Trouble),
}

#[derive(Debug)]
struct Trouble {
    times: u32,
    why: String,
}

/// What came of a fetch.
#[derive(Debug)]
pub enum Fetched {
    /// Other keys than before are in force.
    Changed(Keys),
    /// They are the same. Whether that is news: something was wrong before.
    Same(bool),
    /// They could not be had, or are of no use: what was before holds. Whether that is news, and why.
    Failed(bool, String),
}

/// What is done with a token whose key is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It waits for the fetch that is under way.
    Waits,
    /// Its key may be new: one is to begin, and it waits for that.
    Fetches,
    /// There is no such key.
    Denied,
    /// Nobody can tell.
    Failed,
}

impl Refresh {
    /// Nothing is known yet, and the first fetch is due.
    pub const fn new(every: Duration) -> Self {
        Self { every, state: State::New, document: None }
    }

    /// From when on the next fetch is due; none while one is under way.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        match &self.state {
            State::New => Some(now),
            State::Asked(_) => None,
            State::Good(ended) => Some(*ended + self.every),
            State::Bad(ended, trouble) => Some(*ended + pause(trouble.times)),
        }
    }

    /// A fetch begins.
    pub fn begin(&mut self) {
        let before = std::mem::replace(&mut self.state, State::New);
        self.state = State::Asked(match before {
            State::Bad(_, trouble) => Some(trouble),
            State::Asked(trouble) => trouble,
            State::New | State::Good(_) => None,
        });
    }

    /// It is over.
    pub fn end(&mut self, found: Result<Bytes, String>, now: Instant) -> Fetched {
        self.end_by(found, now, Keys::parse)
    }

    fn end_by(
        &mut self,
        found: Result<Bytes, String>,
        now: Instant,
        parse: fn(&[u8]) -> Result<Keys, FileFault>,
    ) -> Fetched {
        let before = match std::mem::replace(&mut self.state, State::Good(now)) {
            State::Asked(trouble) => trouble,
            _ => None,
        };
        let read = found.and_then(|document| {
            if self.document.as_ref() == Some(&document) {
                return Ok(None);
            }
            // A fault in reading what another wrote is a fault of that alone.
            let read = catch_unwind(AssertUnwindSafe(|| parse(&document)));
            let wrong = |_| Err(FileFault::whole("it cannot be read"));
            let keys = read.unwrap_or_else(wrong).map_err(|fault| fault.why)?;
            self.document = Some(document);
            Ok(Some(keys))
        });
        match read {
            Ok(Some(keys)) => Fetched::Changed(keys),
            Ok(None) => Fetched::Same(before.is_some()),
            Err(why) => {
                let times = before.as_ref().map_or(1, |before| before.times.saturating_add(1));
                let news = before.is_none_or(|before| before.why != why);
                self.state = State::Bad(now, Trouble { times, why: why.clone() });
                Fetched::Failed(news, why)
            }
        }
    }

    /// A token came whose key is not known.
    pub fn unknown(&self, now: Instant) -> Unknown {
        match self.state {
            State::Asked(_) => Unknown::Waits,
            State::Good(ended) if now < ended + KEYS_REFRESH[1] => Unknown::Denied,
            State::New | State::Good(_) => Unknown::Fetches,
            // Whoever sent it may have a key that we should know.
            State::Bad(..) => Unknown::Failed,
        }
    }

    /// Whether keys were had at any time.
    pub const fn is_known(&self) -> bool {
        self.document.is_some()
    }
}

/// How long nothing is tried after so many failures in a row.
fn pause(times: u32) -> Duration {
    let [first, longest] = KEYS_RETRY;
    let factor = 1u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] =
        br#"{"kty":"oct","kid":"1","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
    const TWO: &[u8] =
        br#"{"kty":"oct","kid":"2","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
    const EVERY: Duration = KEYS_REFRESH[0];

    #[test]
    fn what_nobody_can_read_is_asked_for_again() {
        let now = Instant::now();
        let mut refresh = Refresh::new(EVERY);
        refresh.begin();
        let panics = |_: &[u8]| panic!("no keys are like that");
        let ended = refresh.end_by(Ok(Bytes::from_static(ONE)), now, panics);
        assert!(matches!(ended, Fetched::Failed(true, _)), "{ended:?}");
        assert_eq!((refresh.due(now), refresh.is_known()), (Some(now + KEYS_RETRY[0]), false));
        refresh.begin();
        let ended = refresh.end(Ok(Bytes::from_static(ONE)), now);
        assert!(matches!(ended, Fetched::Changed(_)), "{ended:?}");
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn fetch(refresh: &mut Refresh, found: Result<&'static [u8], &str>, now: Instant) -> Fetched {
        refresh.begin();
        assert!(refresh.due(now).is_none() && refresh.unknown(now) == Unknown::Waits);
        refresh.end(found.map(Bytes::from_static).map_err(str::to_owned), now)
    }

    #[test]
    fn keys_are_fetched_at_once_and_then_now_and_again() {
        let start = Instant::now();
        let mut refresh = Refresh::new(EVERY);
        assert_eq!((refresh.due(start), refresh.unknown(start)), (Some(start), Unknown::Fetches));
        let found = fetch(&mut refresh, Ok(ONE), start);
        assert!(matches!(&found, Fetched::Changed(keys) if keys.len() == 1), "{found:?}");
        assert_eq!(refresh.due(start), Some(start + EVERY));
        assert!(matches!(fetch(&mut refresh, Ok(ONE), start + EVERY), Fetched::Same(false)));
        let later = start + EVERY * 2;
        assert!(matches!(fetch(&mut refresh, Ok(TWO), later), Fetched::Changed(_)));
        assert_eq!(refresh.due(later), Some(later + EVERY));
    }

    #[test]
    fn a_key_that_is_not_known_is_looked_for_but_not_all_the_time() {
        let start = Instant::now();
        let mut refresh = Refresh::new(EVERY);
        fetch(&mut refresh, Ok(ONE), start);
        assert_eq!(refresh.unknown(start + seconds(29)), Unknown::Denied);
        let later = start + seconds(30);
        assert_eq!(refresh.unknown(later), Unknown::Fetches);
        fetch(&mut refresh, Ok(ONE), later);
        assert_eq!(refresh.unknown(later), Unknown::Denied, "it is not there");
        assert_eq!(refresh.due(later), Some(later + EVERY));
    }

    #[test]
    fn failures_are_tried_again_ever_more_slowly_and_told_once() {
        let mut now = Instant::now();
        let mut refresh = Refresh::new(EVERY);
        let mut pauses = Vec::new();
        for count in 0..40 {
            let found = fetch(&mut refresh, Err("refused"), now);
            assert!(matches!(found, Fetched::Failed(news, _) if news == (count == 0)), "{found:?}");
            assert_eq!(refresh.unknown(now), Unknown::Failed);
            let due = refresh.due(now).unwrap();
            pauses.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pauses[39], 30);
        assert!(!refresh.is_known());
        let garbage = fetch(&mut refresh, Ok(b"<html>"), now);
        assert!(matches!(garbage, Fetched::Failed(true, _)), "another reason is news: {garbage:?}");
        assert!(matches!(fetch(&mut refresh, Ok(ONE), now), Fetched::Changed(_)));
        // What is known stays so, and the first failure after that is tried again soon.
        assert!(matches!(fetch(&mut refresh, Ok(b"{\"keys\":[]}"), now), Fetched::Failed(true, _)));
        assert_eq!(refresh.due(now), Some(now + seconds(1)));
        assert!(refresh.is_known());
        assert!(matches!(fetch(&mut refresh, Ok(ONE), now), Fetched::Same(true)));
        assert_eq!(refresh.unknown(now), Unknown::Denied);
    }
}

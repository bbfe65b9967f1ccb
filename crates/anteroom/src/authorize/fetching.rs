//! Keys that stand at a URL: fetched beside everything else, and who waits for them.

use std::future::pending;
use std::sync::Arc;

use control::authorize::{Fetched, Finding, KeyServer, Keys, Refresh, TokenRules, Unknown};
use hyper::body::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};
use worker::Inquiry;

use super::Source;
use crate::figures::Panel;
use crate::log;
use crate::quantity::counted;
use crate::settings::Settings;

/// A fetch that is over: of which listener's keys, and what was found.
type Answer = (u16, Result<Bytes, String>);

/// Inquiries, which go round in their boxes.
type Boxed = Vec<Box<Inquiry>>;

/// All keys that are fetched.
pub(super) struct Fetching {
    places: Vec<Place>,
    tell: UnboundedSender<Answer>,
    told: UnboundedReceiver<Answer>,
    panel: Arc<Panel>,
}

/// Those of one listener.
struct Place {
    number: u16,
    server: Arc<KeyServer>,
    rules: Arc<TokenRules>,
    refresh: Refresh,
    /// Whose token names a key that is not known, while keys are fetched.
    waiting: Boxed,
    /// Half of all questions: the others are for those whose key is known.
    room: usize,
}

/// What a fetch has changed.
pub(super) struct Ended {
    /// Whose keys they are.
    pub(super) number: u16,
    /// Other keys, if there are others, and what tokens must say.
    pub(super) keys: Option<(Keys, Arc<TokenRules>)>,
    /// Who waited for it.
    pub(super) waited: Boxed,
}

impl Fetching {
    /// For the listeners of these settings; what is fetched first is due.
    pub(super) fn new(settings: &Settings, panel: Arc<Panel>) -> Self {
        let (tell, told) = unbounded_channel();
        let listeners = (0u16..).zip(&settings.listeners);
        let places = listeners.filter_map(|(number, listen)| {
            let authorize = listen.authorize.as_ref()?;
            let Some(Source::KeyServer(server, rules)) = &authorize.source else { return None };
            let room = authorize.questions() as usize / 2;
            Some(Place {
                number,
                server: Arc::clone(server),
                rules: Arc::clone(rules),
                refresh: Refresh::new(server.every),
                waiting: Vec::with_capacity(room),
                room,
            })
        });
        Self { places: places.collect(), tell, told, panel }
    }

    /// Begins what is due, and waits for the next fetch that ends. Nothing is lost if that is not waited
    /// for to its end.
    pub(super) async fn next(&mut self) -> Ended {
        loop {
            let now = Instant::now();
            let due = self.places.iter().filter_map(|place| place.refresh.due(now)).min();
            let is_due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                Some((number, found)) = self.told.recv() => {
                    if let Some(ended) = self.end(number, found) {
                        return ended;
                    }
                }
                () = is_due => self.begin_due(),
            }
        }
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        let tell = &self.tell;
        let due = |place: &&mut Place| place.refresh.due(now).is_some_and(|due| due <= now);
        self.places.iter_mut().filter(due).for_each(|place| place.begin(tell));
    }

    fn end(&mut self, number: u16, found: Result<Bytes, String>) -> Option<Ended> {
        let place = self.places.iter_mut().find(|place| place.number == number)?;
        let url = &place.server.url;
        let fetched = place.refresh.end(found, Instant::now());
        if !matches!(fetched, Fetched::Same(_)) {
            self.panel.reauthorized(matches!(fetched, Fetched::Changed(_)));
        }
        match &fetched {
            Fetched::Changed(keys) => {
                let keys = counted(keys.len() as u64, "key");
                log::note(format_args!("{url} was read: {keys} for tokens"));
            }
            Fetched::Same(true) => log::note(format_args!("{url} was read: the keys are the same")),
            Fetched::Failed(true, why) if place.refresh.is_known() => log::note(format_args!(
                "warning: no keys from {url}: {why}; those from before hold, and it is tried again"
            )),
            Fetched::Failed(true, why) => log::note(format_args!(
                "warning: no keys from {url}: {why}; nobody is let in by a token until there are \
                 some, and it is tried again"
            )),
            Fetched::Same(false) | Fetched::Failed(false, _) => {}
        }
        let keys = match fetched {
            Fetched::Changed(keys) => Some((keys, Arc::clone(&place.rules))),
            Fetched::Same(_) | Fetched::Failed(..) => None,
        };
        // They go through once more: what is unknown then is not waited for again so soon.
        Some(Ended { number, keys, waited: place.waiting.drain(..).collect() })
    }

    /// A token's key is not known: it waits, or what is said of it.
    ///
    /// # Errors
    /// The inquiry, and what was found.
    pub(super) fn wait(&mut self, inquiry: Box<Inquiry>) -> Result<(), (Box<Inquiry>, Finding)> {
        let number = inquiry.authorizer();
        let Some(place) = self.places.iter_mut().find(|place| place.number == number) else {
            // Keys of a file: those are all.
            return Err((inquiry, Finding::bad_credentials()));
        };
        match place.refresh.unknown(Instant::now()) {
            Unknown::Denied => return Err((inquiry, Finding::bad_credentials())),
            Unknown::Failed => return Err((inquiry, Finding::Failed)),
            Unknown::Fetches => place.begin(&self.tell),
            Unknown::Waits => {}
        }
        if place.waiting.len() >= place.room {
            return Err((inquiry, Finding::Failed));
        }
        place.waiting.push(inquiry);
        Ok(())
    }
}

impl Place {
    fn begin(&mut self, tell: &UnboundedSender<Answer>) {
        self.refresh.begin();
        let (number, server, tell) = (self.number, Arc::clone(&self.server), tell.clone());
        tokio::spawn(async move {
            // It is bounded in time and size.
            let found = server.ask().await;
            let _ = tell.send((number, found));
        });
    }
}

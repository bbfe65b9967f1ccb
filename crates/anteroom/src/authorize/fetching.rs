//! Keys that stand at a URL: fetched beside everything else, and who waits for them.

use std::future::pending;
use std::sync::Arc;

use control::authorize::{Fetched, Finding, KeyServer, Keys, Refresh, TokenRules, Unknown};
use hyper::body::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use super::Source;
use super::asked::Asked;
use crate::figures::Panel;
use crate::log;
use crate::quantity::counted;
use crate::settings::Settings;

/// A fetch that is over: of which listener's keys, who was asked, and what was found.
type Answer = (u16, Arc<KeyServer>, Result<Bytes, String>);

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
    waiting: Vec<Asked>,
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
    pub(super) waited: Vec<Asked>,
}

impl Fetching {
    /// For the listeners of these settings; what is fetched first is due.
    pub(super) fn new(settings: &Settings, panel: Arc<Panel>) -> Self {
        let (tell, told) = unbounded_channel();
        let listeners = (0u16..).zip(&settings.listeners);
        let places = listeners.filter_map(|(number, listen)| {
            let authorize = listen.authorize.as_ref()?;
            let Some(Source::KeyServer(server, _, rules)) = &authorize.source else { return None };
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
                Some(answer) = self.told.recv() => {
                    if let Some(ended) = self.end(answer) {
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

    /// Others vouch for a server of keys now. It is asked at once: whether it is believed shows, and who
    /// waits for keys because it was not need not wait longer.
    pub(super) fn change(&mut self, number: u16, server: Arc<KeyServer>) {
        if let Some(place) = self.places.iter_mut().find(|place| place.number == number) {
            place.server = server;
            place.begin(&self.tell);
        }
    }

    fn end(&mut self, (number, asked, found): Answer) -> Option<Ended> {
        let place = self.places.iter_mut().find(|place| place.number == number)?;
        if !Arc::ptr_eq(&asked, &place.server) {
            // What it says is not believed any more, or not yet; it was asked again.
            return None;
        }
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
    pub(super) fn wait(&mut self, inquiry: Asked) -> Result<(), (Asked, Finding)> {
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
            // It is bounded in time and size; and in a task of its own: whatever becomes of that, it ends.
            let asked = Arc::clone(&server);
            let found = tokio::spawn(async move { asked.ask().await }).await;
            let found = found.unwrap_or_else(|_| Err("the question failed".to_owned()));
            let _ = tell.send((number, server, found));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use control::authorize::{Fetch, Url};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use crate::figures::tests::panel;
    use crate::settings::Machine;

    const LONG: Duration = Duration::from_secs(15);

    /// A server of keys, and the socket that it listens on.
    async fn server() -> (TcpListener, Arc<KeyServer>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let every = Duration::from_mins(10);
        (listener, Arc::new(KeyServer { fetch: Fetch::new(None, LONG).unwrap(), url, every }))
    }

    /// Fetches the keys of one listener, which stand there.
    fn fetching(server: &Arc<KeyServer>) -> Fetching {
        let content = format!(
            "[[listen]]\naddress = \":8080\"\nauthorize = {{ jwt = {{ keys = \"{}\" }} }}\n\
             [[upstream]]\nservers = [\"127.0.0.1:9000\"]\n",
            server.url
        );
        let machine = Machine { descriptors: 20_000, cores: 2 };
        let configured = crate::config::check_text("a.toml", &content, machine).unwrap();
        let mut fetching = Fetching::new(&configured.settings, Arc::new(panel().2));
        fetching.places[0].server = Arc::clone(server);
        fetching
    }

    /// The next that asks, once it has.
    async fn asked(listener: &TcpListener) -> TcpStream {
        let (mut stream, _) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream
    }

    /// Is answered so many keys.
    async fn answer(stream: &mut TcpStream, keys: usize) {
        let key = r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
        let keys = format!(r#"{{"keys":[{}]}}"#, vec![key; keys].join(","));
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{keys}", keys.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    fn count(ended: &Ended) -> Option<usize> {
        ended.keys.as_ref().map(|(keys, _)| keys.len())
    }

    #[tokio::test]
    async fn whoever_is_believed_now_is_asked_at_once() {
        let (listener, server) = server().await;
        let mut fetching = fetching(&server);
        let refresh = &mut fetching.places[0].refresh;
        for _ in 0..10 {
            refresh.begin();
            refresh.end(Err("not believed".to_owned()), Instant::now());
        }
        assert!(refresh.due(Instant::now()).unwrap() > Instant::now() + LONG);
        fetching.change(0, Arc::new(KeyServer::clone(&server)));
        let ((), ended) = tokio::join!(
            async { answer(&mut asked(&listener).await, 1).await },
            timeout(LONG, fetching.next())
        );
        assert_eq!(count(&ended.unwrap()), Some(1));
    }

    #[tokio::test]
    async fn who_is_not_believed_any_more_is_not_heard() {
        let (listener, server) = server().await;
        let mut fetching = fetching(&server);
        let moment = Duration::from_millis(200);
        assert!(timeout(moment, fetching.next()).await.is_err(), "it has begun, and waits");
        let mut before = asked(&listener).await;
        fetching.change(0, Arc::new(KeyServer::clone(&server)));
        let mut now = asked(&listener).await;
        answer(&mut before, 2).await;
        assert!(timeout(moment, fetching.next()).await.is_err(), "that is nothing");
        answer(&mut now, 1).await;
        assert_eq!(count(&timeout(LONG, fetching.next()).await.unwrap()), Some(1));
    }
}

//! Certificates and keys in files: read at start, and taken up anew when the files change.

mod endings;
mod servers;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::id::ListenerId;
use base::limits;
use control::FileSet;
use tls::{
    Acceptor, AcceptorConfig, AcceptorError, Authorities, Cipher, ClientAuth, Identity, PemError,
    Tickets, UnknownName, Versions,
};
use tokio::time::{Instant, sleep_until};

use crate::crew::Crew;
use crate::log;
use crate::settings::{Listen, Settings};
use endings::doubt_of;
pub(crate) use endings::{Ending, Ledger, Side};
use servers::WatchedServers;
pub(crate) use servers::{ServerFiles, UpstreamTls, own_name};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often certificates are told of whose time is over soon.
const REMIND: Duration = Duration::from_hours(24);

/// A certificate chain and its key, in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyPair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Clients {
    #[default]
    Off,
    Optional,
    Required,
}

/// How a listener's connections are secured.
#[derive(Clone, Debug)]
pub(crate) struct ListenTls {
    pub(crate) files: TlsFiles,
    /// Of the files, from before they were read.
    pub(crate) marks: FileSet,
    /// What they held.
    pub(crate) content: Content,
    /// Made of that.
    pub(crate) acceptor: Acceptor,
    /// The field in which servers are told whom a client's certificate names.
    pub(crate) subject: Option<Arc<str>>,
}

/// What acceptors are made of, again and again.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) pairs: Vec<KeyPair>,
    pub(crate) clients: Clients,
    /// Whom clients' certificates come from.
    pub(crate) client_ca: Option<PathBuf>,
    /// Bytes of the longest chain that a client may show.
    pub(crate) max_client_chain: u32,
    pub(crate) unknown_name: UnknownName,
    pub(crate) versions: Versions,
    pub(crate) ciphers: Vec<Cipher>,
    pub(crate) alpn: Vec<Vec<u8>>,
    /// Kept over changes of the files, so that sessions from before can be resumed; but not when others
    /// vouch for clients, as who resumes is not asked for a certificate again.
    pub(crate) tickets: Option<Tickets>,
    /// Those that an authority issues: their places among all of them.
    pub(crate) acme: Vec<usize>,
}

/// What files held that are good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    identities: Vec<Arc<Identity>>,
    clients: ClientAuth,
    /// The text of those whom clients' certificates come from.
    client_ca: Vec<u8>,
}

/// What an authority issued, and what it is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Issued {
    /// By their places; none where none was issued yet.
    pub(crate) certificates: Vec<Option<Arc<Identity>>>,
    /// What proves at the moment that names are ours.
    pub(crate) challenges: Vec<Arc<Identity>>,
}

impl Issued {
    fn at(&self, places: &[usize]) -> impl Iterator<Item = Arc<Identity>> {
        places.iter().filter_map(|place| self.certificates.get(*place)?.clone())
    }
}

/// What of a configuration names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The certificate of a pair, and which pair.
    Certificate(usize),
    /// The key of a pair, and which pair.
    Key(usize),
    /// Those whom certificates may come from.
    Ca,
    /// No file alone is to blame.
    Whole,
}

/// What is wrong with a file, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Which one.
    path: PathBuf,
    pub(crate) why: String,
    /// As what it was named: one file may be several.
    pub(crate) part: Part,
    /// Whether nothing was seen of what it holds: it may be read the next time as it is.
    passes: bool,
}

impl Wrong {
    fn new(path: &Path, part: Part, why: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), why: why.to_string(), part, passes: false }
    }

    /// The same of another pair than the first.
    fn of_pair(mut self, pair: usize) -> Self {
        if let Part::Certificate(at) | Part::Key(at) = &mut self.part {
            *at = pair;
        }
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.part == Part::Whole {
            return write!(f, "`tls`: {}", self.why);
        }
        write!(f, "\"{}\": {}", self.path.display(), self.why)
    }
}

impl TlsFiles {
    /// Every file that is read.
    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let pairs = self.pairs.iter().flat_map(|pair| [pair.certificate.clone(), pair.key.clone()]);
        pairs.chain(self.client_ca.clone())
    }

    /// Marks of the files as they are now.
    pub(crate) fn marks(&self) -> FileSet {
        FileSet::new(self.paths())
    }

    /// Reads the files. Warnings are of certificates that are not good now, or not for long.
    ///
    /// # Errors
    /// What is wrong with the first of them that is.
    pub(crate) fn read(&self, warnings: &mut Vec<Wrong>) -> Result<Content, Wrong> {
        let mut content = Content::default();
        for (at, pair) in self.pairs.iter().enumerate() {
            let identity = pair.load().map_err(|wrong| wrong.of_pair(at))?;
            warnings.extend(pair.doubt(&identity).map(|wrong| wrong.of_pair(at)));
            content.identities.push(Arc::new(identity));
        }
        if let Some(path) = &self.client_ca {
            let text = text(path, Part::Ca)?;
            let authorities = Authorities::from_pem(&text);
            let authorities = authorities.map_err(|error| Wrong::new(path, Part::Ca, error))?;
            content.clients = match self.clients {
                Clients::Off => ClientAuth::Off,
                Clients::Optional => ClientAuth::Optional(authorities),
                Clients::Required => ClientAuth::Required(authorities),
            };
            content.client_ca = text;
        }
        Ok(content)
    }

    /// What makes sessions, by what the files held and an authority issued.
    ///
    /// # Errors
    /// What is wrong with the first file, as far as that is to blame.
    pub(crate) fn acceptor(&self, content: &Content, issued: &Issued) -> Result<Acceptor, Wrong> {
        let mut identities = content.identities.clone();
        identities.extend(issued.at(&self.acme));
        let challenges = if self.acme.is_empty() { Vec::new() } else { issued.challenges.clone() };
        let config = AcceptorConfig {
            identities,
            challenges,
            unknown_name: self.unknown_name,
            versions: self.versions,
            ciphers: self.ciphers.clone(),
            alpn: self.alpn.clone(),
            clients: content.clients.clone(),
            max_client_chain: self.max_client_chain,
            tickets: self.tickets.clone(),
        };
        Acceptor::new(config).map_err(|error| match (&self.client_ca, error) {
            (Some(path), AcceptorError::NoAuthority) => Wrong::new(path, Part::Ca, error),
            _ => Wrong::new(Path::new(""), Part::Whole, error),
        })
    }

    /// Nobody comes back with a ticket from before.
    fn renew_tickets(&mut self) -> Result<(), Wrong> {
        if self.tickets.is_some() {
            let tickets = Tickets::new();
            let failed = |error| Wrong::new(Path::new(""), Part::Whole, error);
            self.tickets = Some(tickets.map_err(failed)?);
        }
        Ok(())
    }
}

impl KeyPair {
    pub(crate) fn load(&self) -> Result<Identity, Wrong> {
        let chain = text(&self.certificate, Part::Certificate(0))?;
        let key = text(&self.key, Part::Key(0))?;
        Identity::from_pem(&chain, &key).map_err(|error| self.blame(error))
    }

    /// Why others may not believe the certificate, now or soon.
    pub(crate) fn doubt(&self, identity: &Identity) -> Option<Wrong> {
        let why = doubt_of(identity, now())?;
        Some(Wrong::new(&self.certificate, Part::Certificate(0), why))
    }

    /// Which file is wrong.
    fn blame(&self, error: PemError) -> Wrong {
        if error.is_of_key() {
            return Wrong::new(&self.key, Part::Key(0), error);
        }
        Wrong::new(&self.certificate, Part::Certificate(0), error)
    }
}

/// Those whom certificates may come from.
pub(crate) fn authorities(path: &Path) -> Result<Authorities, Wrong> {
    let read = Authorities::from_pem(&text(path, Part::Ca)?);
    read.map_err(|error| Wrong::new(path, Part::Ca, error))
}

/// What stands in a file.
fn text(path: &Path, part: Part) -> Result<Vec<u8>, Wrong> {
    use std::io::{Error, ErrorKind};
    let read = || -> Result<Vec<u8>, Error> {
        let found = fs::metadata(path)?;
        // A pipe would be waited for.
        if !found.is_file() {
            return Err(ErrorKind::IsADirectory.into());
        }
        if found.len() > limits::PEM_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        fs::read(path)
    };
    read().map_err(|error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "there is no such file: create it, or name another",
            ErrorKind::PermissionDenied => "it may not be read: change its mode",
            ErrorKind::IsADirectory => "this is no file: name one",
            ErrorKind::FileTooLarge => "it is too long for what it should be: name another",
            _ => {
                let why = format!("it cannot be read: {error}");
                return Wrong { passes: true, ..Wrong::new(path, part, why) };
            }
        };
        Wrong::new(path, part, why)
    })
}

#[expect(clippy::disallowed_methods, reason = "certificates are good by the calendar")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Watches the files of every listener, and of every group of servers.
pub(crate) struct Certificates {
    listeners: Vec<Watched>,
    groups: Vec<WatchedServers>,
    issued: Issued,
    ledger: Arc<Ledger>,
    next: Instant,
    remind: Instant,
}

/// A listener's files.
struct Watched {
    id: ListenerId,
    files: TlsFiles,
    /// What they held when they were good last.
    content: Content,
    /// What is shown of each pair's certificate.
    endings: Vec<Arc<Ending>>,
    watch: Watch,
}

/// How files that are read together are looked after.
struct Watch {
    marks: FileSet,
    /// What was wrong with them since they were good last.
    wrong: Option<Wrong>,
}

impl Watch {
    fn new(marks: FileSet) -> Self {
        Self { marks, wrong: None }
    }

    /// Files were read: what they are good for. What is wrong leaves in force what was before.
    fn accept<T>(&mut self, read: Result<T, Wrong>, ledger: &Ledger) -> Option<T> {
        let wrong = match read {
            Ok(good) => {
                self.wrong = None;
                // What an authority issues is in no file that is read anew.
                if !self.marks.is_empty() {
                    ledger.reread(true);
                }
                return Some(good);
            }
            Err(wrong) => wrong,
        };
        if wrong.passes {
            self.marks.forget();
        }
        // What does not pass is told once for as long as it is the same.
        if !wrong.passes || self.wrong.as_ref() != Some(&wrong) {
            keep_old(&wrong);
            ledger.reread(false);
        }
        self.wrong = Some(wrong);
        None
    }
}

impl Certificates {
    /// As they were when they were read.
    pub(crate) fn watch(settings: &Settings) -> Self {
        let ids = (0u32..).map(ListenerId);
        let secured = ids.zip(&settings.listeners);
        let secured = secured.filter_map(|(id, listen)| Watched::of(id, listen));
        let listeners: Vec<_> = secured.collect();
        let groups = WatchedServers::of(settings);
        let endings = listeners.iter().flat_map(|it| &it.endings);
        let endings = endings.chain(groups.iter().filter_map(|it| it.ending.as_ref()));
        let (ledger, now) = (Ledger::new(endings.cloned()), Instant::now());
        Self {
            ledger: Arc::new(ledger),
            listeners,
            groups,
            issued: Issued::default(),
            next: now + LOOK,
            remind: now + REMIND,
        }
    }

    /// What is told of them.
    pub(crate) const fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// When to [`look`](Self::look) next: never, without a file.
    pub(crate) async fn due(&self) {
        if self.is_empty() {
            std::future::pending::<()>().await;
        }
        sleep_until(self.next).await;
    }

    /// Takes up what changed. What is wrong leaves in force what was before.
    pub(crate) fn look(&mut self, crew: &mut Crew) {
        let at = Instant::now();
        self.next = at + LOOK;
        if at >= self.remind {
            self.remind = at + REMIND;
            self.ledger.remind(now());
        }
        for listener in &mut self.listeners {
            if listener.watch.marks.look() {
                listener.take_up(&self.issued, &self.ledger, crew);
            }
        }
        for group in &mut self.groups {
            if group.watch.marks.look() {
                group.take_up(&self.ledger, crew);
            }
        }
    }

    /// Takes up every file, changed or not.
    pub(crate) fn look_at_all(&mut self, crew: &mut Crew) {
        self.next = Instant::now() + LOOK;
        for listener in &mut self.listeners {
            listener.watch.marks.note();
            listener.take_up(&self.issued, &self.ledger, crew);
        }
        for group in &mut self.groups {
            group.watch.marks.note();
            group.take_up(&self.ledger, crew);
        }
    }

    /// Changes what an authority issued, or is shown, and has the listeners that want of it go by
    /// that. Files are not read for it: one may be half written.
    pub(crate) fn change_issued(&mut self, crew: &mut Crew, change: impl FnOnce(&mut Issued)) {
        change(&mut self.issued);
        for listener in self.listeners.iter().filter(|listener| !listener.files.acme.is_empty()) {
            match listener.files.acceptor(&listener.content, &self.issued) {
                Ok(acceptor) => crew.secure(listener.id, acceptor),
                Err(wrong) => keep_old(&wrong),
            }
        }
    }

    /// Has authorities shown these, and nothing else.
    pub(crate) fn show(&mut self, challenges: Vec<Arc<Identity>>, crew: &mut Crew) {
        if !challenges.is_empty() || !self.issued.challenges.is_empty() {
            self.change_issued(crew, |issued| issued.challenges = challenges);
        }
    }

    /// Whether there are files at all.
    pub(crate) const fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.groups.is_empty()
    }
}

fn keep_old(wrong: &Wrong) {
    log::note(format_args!("warning: {wrong}; the certificates from before remain in force"));
}

impl Watched {
    fn of(id: ListenerId, listen: &Listen) -> Option<Self> {
        let ListenTls { files, marks, content, .. } = listen.tls.clone()?;
        let address = listen.address.to_string();
        let pairs = files.pairs.iter().zip(&content.identities);
        let endings = pairs.map(|(pair, identity)| {
            Ending::new(Side::Listener, address.clone(), &pair.certificate, identity)
        });
        Some(Self { endings: endings.collect(), id, files, content, watch: Watch::new(marks) })
    }

    /// Reads the files, and has the listener go by them if they are good.
    fn take_up(&mut self, issued: &Issued, ledger: &Ledger, crew: &mut Crew) {
        let mut warnings = Vec::new();
        let read = self.read(issued, &mut warnings);
        let Some(acceptor) = self.watch.accept(read, ledger) else { return };
        for (ending, identity) in self.endings.iter().zip(&self.content.identities) {
            ending.renew(identity);
        }
        let pairs = self.files.pairs.iter();
        let names: Vec<String> = pairs.map(|pair| pair.certificate.display().to_string()).collect();
        if !names.is_empty() {
            log::note(format_args!("certificates taken up anew: {}", names.join(", ")));
        }
        for warning in warnings {
            log::note(format_args!("warning: {warning}"));
        }
        crew.secure(self.id, acceptor);
    }

    fn read(&mut self, issued: &Issued, warnings: &mut Vec<Wrong>) -> Result<Acceptor, Wrong> {
        let content = self.files.read(warnings)?;
        let mut files = self.files.clone();
        if content.client_ca != self.content.client_ca {
            files.renew_tickets()?;
        }
        let acceptor = files.acceptor(&content, issued)?;
        (self.files, self.content) = (files, content);
        Ok(acceptor)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::endings::tests::ending;
    use super::*;

    /// Two certificates, read anew once.
    pub(crate) fn ledger() -> Arc<Ledger> {
        let endings = [
            ending(Side::Listener, "[::]:443", "/etc/\"a\".pem", 1_800_000_000),
            ending(Side::Upstream, "app", "/etc/b.pem", 1_900_000_000),
        ];
        let ledger = Ledger::new(endings.into_iter());
        ledger.reread(true);
        Arc::new(ledger)
    }

    /// A certificate that signed itself, and its key, in files that go when it does.
    pub(crate) struct Files {
        folder: PathBuf,
    }

    impl Files {
        /// For the test of that name.
        pub(crate) fn new(test: &str) -> Self {
            let folder = format!("anteroom-{}-{test}", std::process::id());
            let folder = std::env::temp_dir().join(folder);
            fs::create_dir_all(&folder).unwrap();
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            fs::write(folder.join("a.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
            fs::write(folder.join("a.key"), key.serialize_pem()).unwrap();
            Self { folder }
        }

        /// Where one of that name is.
        pub(crate) fn path(&self, name: &str) -> String {
            self.folder.join(name).display().to_string()
        }

        /// Writes another: where it is.
        pub(crate) fn write(&self, name: &str, content: &[u8]) -> String {
            fs::write(self.folder.join(name), content).unwrap();
            self.path(name)
        }

        /// `tls` of a `[[listen]]` with them, and with that; `{ca}` stands for the certificate's file.
        pub(crate) fn tls(&self, more: &str) -> String {
            let [certificate, key] = ["a.pem", "a.key"].map(|name| self.path(name));
            let more = more.replace("{ca}", &certificate);
            format!(
                "tls = {{ certificates = [{{ certificate = \"{certificate}\", key = \"{key}\" \
                 }}]{more} }}"
            )
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.folder));
        }
    }

    #[test]
    fn what_is_in_no_file_is_not_read_anew() {
        let ledger = Ledger::new(std::iter::empty());
        let reads = |files: &[PathBuf]| {
            let mut watch = Watch::new(FileSet::new(files.iter().cloned()));
            watch.accept(Ok(()), &ledger);
            ledger.reloads()
        };
        assert_eq!(reads(&[]), [0, 0], "as of a listener whose certificates an authority issues");
        assert_eq!(reads(&["/a.pem".into()]), [1, 0]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let wrong = authorities(Path::new("/nowhere/ca.pem")).unwrap_err();
        let text = wrong.to_string();
        assert!(text.contains("/nowhere/ca.pem") && text.contains("no such file"), "{text}");
        assert!(!wrong.passes);
        assert!(authorities(Path::new("/")).unwrap_err().why.contains("no file"));
        // A file that is there, and cannot be read now.
        assert!(authorities(Path::new("/proc/self/mem")).unwrap_err().passes);
    }
}

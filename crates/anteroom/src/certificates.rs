//! Certificates and keys in files: read at start, and taken up anew when the files change.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::id::ListenerId;
use base::limits;
use control::Stamp;
use driver::Address;
use tls::{
    Acceptor, AcceptorConfig, Authorities, Cipher, ClientAuth, Connector, Identity, PemError,
    Tickets, UnknownName, Versions,
};
use tokio::time::{Instant, sleep_until};
use worker::ServerTls;

use crate::crew::Crew;
use crate::log;
use crate::quantity::Length;
use crate::resolve::Target;
use crate::settings::Settings;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long before its end a certificate is warned of.
const ENDS_SOON: Duration = Duration::from_hours(7 * 24);

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
    /// Made of what the files held at start.
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
    pub(crate) unknown_name: UnknownName,
    pub(crate) versions: Versions,
    pub(crate) ciphers: Vec<Cipher>,
    pub(crate) alpn: Vec<Vec<u8>>,
    /// Kept over changes of the files, so that sessions from before can be resumed.
    pub(crate) tickets: Option<Tickets>,
    /// Those that an authority issues: their places among all of them.
    pub(crate) acme: Vec<usize>,
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

/// How connections to a group's servers are secured.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamTls {
    pub(crate) connector: Connector,
    /// Whom every server of the group must be, if not what its address says.
    pub(crate) name: Option<Arc<str>>,
}

impl UpstreamTls {
    /// How those to one of them are.
    pub(crate) fn of(&self, server: &Target) -> ServerTls {
        let own = || own_name(server).unwrap_or_default().into();
        let name = self.name.clone().unwrap_or_else(own);
        ServerTls { connector: self.connector.clone(), name }
    }
}

/// Whom a server must be by its address: nobody, if that is a path.
pub(crate) fn own_name(server: &Target) -> Option<String> {
    match server {
        Target::Name(name) => Some(name.host.trim_end_matches('.').to_owned()),
        Target::Address(Address::Ip(ip)) => Some(ip.ip().to_string()),
        Target::Address(Address::Unix(_)) => None,
    }
}

/// What is wrong with a file, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Which one.
    pub(crate) path: PathBuf,
    pub(crate) why: String,
}

impl Wrong {
    fn new(path: &Path, why: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), why: why.to_string() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\": {}", self.path.display(), self.why)
    }
}

impl TlsFiles {
    /// Every file that is read.
    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let pairs = self.pairs.iter().flat_map(|pair| [pair.certificate.clone(), pair.key.clone()]);
        pairs.chain(self.client_ca.clone())
    }

    /// Reads the files. Warnings are of certificates that are not good now, or not for long.
    ///
    /// # Errors
    /// What is wrong with the first of them that is.
    pub(crate) fn load(
        &self,
        issued: &Issued,
        warnings: &mut Vec<Wrong>,
    ) -> Result<Acceptor, Wrong> {
        let mut identities = Vec::new();
        for pair in &self.pairs {
            let identity = pair.load()?;
            warnings.extend(doubt(&identity, now()).map(|why| Wrong::new(&pair.certificate, why)));
            identities.push(Arc::new(identity));
        }
        identities.extend(issued.at(&self.acme));
        let challenges = if self.acme.is_empty() { Vec::new() } else { issued.challenges.clone() };
        let clients = match (self.clients, &self.client_ca) {
            (Clients::Off, _) | (_, None) => ClientAuth::Off,
            (Clients::Optional, Some(ca)) => ClientAuth::Optional(authorities(ca)?),
            (Clients::Required, Some(ca)) => ClientAuth::Required(authorities(ca)?),
        };
        let config = AcceptorConfig {
            identities,
            challenges,
            unknown_name: self.unknown_name,
            versions: self.versions,
            ciphers: self.ciphers.clone(),
            alpn: self.alpn.clone(),
            clients,
            tickets: self.tickets.clone(),
        };
        let first = self.pairs.first().map_or(Path::new(""), |pair| &pair.certificate);
        Acceptor::new(config).map_err(|error| Wrong::new(first, error))
    }
}

impl KeyPair {
    pub(crate) fn load(&self) -> Result<Identity, Wrong> {
        let chain = content(&self.certificate)?;
        let key = content(&self.key)?;
        Identity::from_pem(&chain, &key).map_err(|error| self.blame(error))
    }

    /// Which file is wrong.
    fn blame(&self, error: PemError) -> Wrong {
        Wrong::new(if error.is_of_key() { &self.key } else { &self.certificate }, error)
    }
}

/// Those whom certificates may come from.
pub(crate) fn authorities(path: &Path) -> Result<Authorities, Wrong> {
    Authorities::from_pem(&content(path)?).map_err(|error| Wrong::new(path, error))
}

/// What stands in a file.
fn content(path: &Path) -> Result<Vec<u8>, Wrong> {
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
            ErrorKind::NotFound => "there is no such file: create it, or name another".to_owned(),
            ErrorKind::PermissionDenied => "it may not be read: change its mode".to_owned(),
            ErrorKind::IsADirectory => "this is no file: name one".to_owned(),
            ErrorKind::FileTooLarge => {
                "it is too long for what it should be: name another".to_owned()
            }
            _ => format!("it cannot be read: {error}"),
        };
        Wrong::new(path, why)
    })
}

/// Why clients may not believe a certificate, now or soon.
fn doubt(identity: &Identity, now: SystemTime) -> Option<String> {
    if let Ok(ago) = now.duration_since(identity.not_after()) {
        return Some(format!("its time was over {} ago: have it renewed", Length(whole(ago))));
    }
    if let Ok(until) = identity.not_before().duration_since(now)
        && !until.is_zero()
    {
        let text = format!("its time begins in {}: set the clock, or wait", Length(whole(until)));
        return Some(text);
    }
    let left = identity.not_after().duration_since(now).unwrap_or_default();
    (left < ENDS_SOON)
        .then(|| format!("its time is over in {}: have it renewed", Length(whole(left))))
}

/// Whole seconds: fractions say nothing here.
const fn whole(length: Duration) -> Duration {
    Duration::from_secs(length.as_secs())
}

#[expect(clippy::disallowed_methods, reason = "certificates are good by the calendar")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Files that are looked at again and again.
struct Files {
    known: Vec<(PathBuf, Stamp)>,
    /// Stamps that were seen once: what is still being written is not read.
    fresh: Option<Vec<Stamp>>,
}

impl Files {
    fn new(paths: impl Iterator<Item = PathBuf>) -> Self {
        let known = paths.map(|path| (path.clone(), Stamp::of(&path))).collect();
        Self { known, fresh: None }
    }

    /// Whether they are others than were known, and were so at the look before. They are known then.
    fn changed(&mut self) -> bool {
        let now: Vec<Stamp> = self.known.iter().map(|(path, _)| Stamp::of(path)).collect();
        if self.known.iter().map(|(_, stamp)| stamp).eq(&now) {
            self.fresh = None;
            return false;
        }
        if self.fresh.as_ref() != Some(&now) {
            self.fresh = Some(now);
            return false;
        }
        self.note(now);
        true
    }

    fn note(&mut self, now: Vec<Stamp>) {
        for ((_, known), now) in self.known.iter_mut().zip(now) {
            *known = now;
        }
        self.fresh = None;
    }

    /// They are read now, whatever they were.
    fn note_all(&mut self) {
        let now = self.known.iter().map(|(path, _)| Stamp::of(path)).collect();
        self.note(now);
    }
}

/// Watches the files of every listener.
pub(crate) struct Certificates {
    listeners: Vec<(ListenerId, TlsFiles, Files)>,
    issued: Issued,
    next: Instant,
}

impl Certificates {
    /// As they are now.
    pub(crate) fn watch(settings: &Settings) -> Self {
        let ids = (0u32..).map(ListenerId);
        let of = |(id, tls): (ListenerId, &ListenTls)| {
            (id, tls.files.clone(), Files::new(tls.files.paths()))
        };
        let secured = ids.zip(&settings.listeners);
        let secured = secured.filter_map(|(id, listen)| Some((id, listen.tls.as_ref()?)));
        Self {
            listeners: secured.map(of).collect(),
            issued: Issued::default(),
            next: Instant::now() + LOOK,
        }
    }

    /// When to [`look`](Self::look) next: never, without a file.
    pub(crate) async fn due(&self) {
        if self.listeners.is_empty() {
            std::future::pending::<()>().await;
        }
        sleep_until(self.next).await;
    }

    /// Takes up what changed. What is wrong leaves in force what was before.
    pub(crate) fn look(&mut self, crew: &mut Crew) {
        self.next = Instant::now() + LOOK;
        for (id, files, marks) in &mut self.listeners {
            if marks.changed() {
                take_up(*id, files, &self.issued, crew);
            }
        }
    }

    /// Takes up every file, changed or not.
    pub(crate) fn look_at_all(&mut self, crew: &mut Crew) {
        self.next = Instant::now() + LOOK;
        for (id, files, marks) in &mut self.listeners {
            marks.note_all();
            take_up(*id, files, &self.issued, crew);
        }
    }

    /// Changes what an authority issued, or is shown, and has the listeners that want of it go by
    /// that.
    pub(crate) fn change_issued(&mut self, crew: &mut Crew, change: impl FnOnce(&mut Issued)) {
        change(&mut self.issued);
        for (id, files, _) in self.listeners.iter().filter(|(_, files, _)| !files.acme.is_empty()) {
            match files.load(&self.issued, &mut Vec::new()) {
                Ok(acceptor) => crew.secure(*id, acceptor),
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
        self.listeners.is_empty()
    }
}

fn keep_old(wrong: &Wrong) {
    log::note(format_args!("warning: {wrong}; the certificates from before remain in force"));
}

fn take_up(id: ListenerId, files: &TlsFiles, issued: &Issued, crew: &mut Crew) {
    let mut warnings = Vec::new();
    match files.load(issued, &mut warnings) {
        Ok(acceptor) => {
            let names: Vec<String> =
                files.pairs.iter().map(|pair| pair.certificate.display().to_string()).collect();
            if !names.is_empty() {
                log::note(format_args!("certificates taken up anew: {}", names.join(", ")));
            }
            for warning in warnings {
                log::note(format_args!("warning: {warning}"));
            }
            crew.secure(id, acceptor);
        }
        Err(wrong) => keep_old(&wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let wrong = authorities(Path::new("/nowhere/ca.pem")).unwrap_err();
        let text = wrong.to_string();
        assert!(text.contains("/nowhere/ca.pem") && text.contains("no such file"), "{text}");
        assert!(authorities(Path::new("/")).unwrap_err().why.contains("no file"));
    }
}

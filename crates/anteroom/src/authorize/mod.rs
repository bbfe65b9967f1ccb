//! Who decides whether a client may: what is asked for, and the files it stands in.

mod asked;
mod desk;
mod fetching;
mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::limits::AUTHORIZE_FILE_BYTES;
use control::FileSet;
use control::authorize::{
    Authorities, AuthorizationServer, Fetch, FileFault, KeyServer, Keys, Passwords, TokenRules,
};
use exchange::{Asks, Authorization};
use worker::AuthorizerPlan;

use crate::content::{Unread, content};
use crate::settings::Listen;

pub(crate) use desk::{Authorizers, RIGHT_BYTES, inquiries};

/// What a listener asks of requests before they are served.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizeSettings {
    /// What the workers go by, but for the number.
    pub(crate) asked: Authorization,
    /// Who decides, if somebody does.
    pub(crate) source: Option<Source>,
    /// Fields that only we may write because of it.
    pub(crate) own_fields: Vec<String>,
    /// How long it is remembered who was let in.
    pub(crate) cache: Duration,
    /// Questions that may be under way at one time.
    pub(crate) questions: u32,
}

/// Who decides.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A file of passwords, as it was read at start.
    Passwords(Watched<Passwords>),
    /// A file of keys.
    Keys(Watched<Keys>, Arc<TokenRules>),
    /// Keys that stand at a URL.
    KeyServer(Arc<KeyServer>, Ca, Arc<TokenRules>),
    /// Another server.
    Server(Arc<AuthorizationServer>, Ca),
}

/// Who vouches for a server that is asked, if a file says that.
pub(crate) type Ca = Option<Watched<Authorities>>;

/// What a file said when it was read.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    pub(crate) path: PathBuf,
    pub(crate) files: FileSet,
    pub(crate) known: Arc<T>,
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        let (path, files) = (self.path.clone(), self.files.clone());
        Self { path, files, known: Arc::clone(&self.known) }
    }
}

impl<T> Watched<T> {
    /// Reads a file.
    ///
    /// # Errors
    /// With file, line and remedy.
    pub(crate) fn read(
        path: &Path,
        parse: fn(&[u8]) -> Result<T, FileFault>,
    ) -> Result<Self, Unread> {
        // Before it is read, so that no change after that is missed.
        let files = FileSet::new([path.to_owned()]);
        let known = Arc::new(read(path, parse)?);
        Ok(Self { path: path.to_owned(), files, known })
    }
}

/// What a file says.
fn read<T>(path: &Path, parse: fn(&[u8]) -> Result<T, FileFault>) -> Result<T, Unread> {
    let name = path.display();
    let wrong = |unread: Unread| Unread { why: format!("{name}: {unread}"), ..unread };
    let content = content(path, AUTHORIZE_FILE_BYTES).map_err(wrong)?;
    parse(&content).map_err(|fault| match fault.line {
        Some(line) => format!("{name}:{line}: {}", fault.why).into(),
        None => format!("{name}: {}", fault.why).into(),
    })
}

/// What is hardly meant, though nothing is wrong with the file: that everybody stays out.
pub(crate) fn doubt(path: &Path, passwords: &Passwords) -> Option<String> {
    let name = path.display();
    let text = || format!("{name}: there is no name in it: nobody can come in until you add one");
    passwords.is_empty().then(text)
}

impl AuthorizeSettings {
    /// What the workers go by on the listener of this number.
    pub(crate) fn plan(&self, listener: u32) -> Arc<Authorization> {
        let number = u16::try_from(listener).unwrap_or(u16::MAX);
        Arc::new(Authorization { number, ..self.asked.clone() })
    }

    /// Questions that may be under way at one time, if any are put.
    pub(crate) fn questions(&self) -> u32 {
        if self.asked.asks == Asks::Nobody { 0 } else { self.questions }
    }

    /// Connections to whoever is asked, at one time.
    pub(crate) fn connections(&self) -> u64 {
        match self.source {
            Some(Source::Server(..)) => u64::from(self.questions) + Fetch::KEPT as u64,
            Some(Source::KeyServer(..)) => 1,
            Some(Source::Passwords(_) | Source::Keys(..)) | None => 0,
        }
    }

    /// What is asked, and how much of that at one time: of each listener.
    pub(crate) fn plans(listeners: &[Listen]) -> Vec<AuthorizerPlan> {
        let nothing = AuthorizerPlan { asks: Asks::Nobody, questions: 0, remembers: false };
        let plan = |it: &Self| AuthorizerPlan {
            asks: it.asked.asks,
            questions: it.questions(),
            remembers: !it.cache.is_zero(),
        };
        let of = |listen: &Listen| listen.authorize.as_ref().map_or(nothing, plan);
        listeners.iter().map(of).collect()
    }
}

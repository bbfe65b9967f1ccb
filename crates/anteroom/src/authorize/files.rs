//! Files of passwords, keys and authorities that change while the process runs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base::limits;
use control::authorize::{Authorities, AuthorizationServer, Fetch, KeyServer, Keys, Passwords};
use control::{FileSet, FileWatch, watch_files};
use tokio::sync::mpsc::UnboundedSender;

use super::desk::{Change, Decider};
use super::{Source, doubt, read};
use crate::content::Unread;
use crate::figures::Panel;
use crate::log;
use crate::settings::Settings;

/// Looks after the files. What is wrong leaves in force what was before.
///
/// # Errors
/// When the system grants no thread.
pub(super) fn watch(
    settings: &Settings,
    tell: UnboundedSender<(u16, Change)>,
    panel: Arc<Panel>,
) -> std::io::Result<Option<FileWatch>> {
    let mut sets: Vec<FileSet> = Vec::new();
    let mut watched: Vec<(u16, Source, Option<Unread>)> = Vec::new();
    for (number, listen) in (0u16..).zip(&settings.listeners) {
        let source = listen.authorize.as_ref().and_then(|it| it.source.as_ref());
        if let Some((source, (_, files))) = source.and_then(|it| Some((it, it.file()?))) {
            sets.push(files.clone());
            watched.push((number, source.clone(), None));
        }
    }
    if sets.is_empty() {
        return Ok(None);
    }
    let reread = move |place: usize| {
        let Some((number, source, failed)) = watched.get_mut(place) else { return true };
        let Some((path, _)) = source.file() else { return true };
        let found = source.read_anew(path);
        // What cannot be read for the moment is told once, and tried again.
        let unread = found.as_ref().err().cloned();
        let passes = unread.as_ref().is_some_and(|unread| unread.passes);
        if !passes || *failed != unread {
            panel.reauthorized(found.is_ok());
        }
        match found {
            Ok(change) => {
                log::note(format_args!("{} was read anew: {change}", path.display()));
                if let Some(doubt) = change.doubt(path) {
                    log::note(format_args!("warning: {doubt}"));
                }
                let _ = tell.send((*number, change));
            }
            Err(unread) if !passes || failed.as_ref() != Some(&unread) => {
                log::note(format_args!("warning: {unread}; what it said before holds"));
            }
            Err(_) => {}
        }
        *failed = unread;
        !passes
    };
    let mourn = |why: &str| {
        log::note(format_args!(
            "error: what reads files of `authorize` anew panicked: {why}; what they said before \
             holds until they change again"
        ));
    };
    watch_files(sets, limits::FILE_PAUSE, reread, mourn).map(Some)
}

impl Source {
    /// The file by which it is found out who may come in, if there is one.
    pub(crate) fn file(&self) -> Option<(&Path, &FileSet)> {
        match self {
            Self::Passwords(file) => Some((&file.path, &file.files)),
            Self::Keys(file, _) => Some((&file.path, &file.files)),
            Self::KeyServer(_, ca, _) | Self::Server(_, ca) => {
                ca.as_ref().map(|file| (&*file.path, &file.files))
            }
        }
    }

    /// What follows from what stands there now.
    fn read_anew(&self, path: &Path) -> Result<Change, Unread> {
        let believing = |fetch: &Fetch| {
            let authorities = read(path, Authorities::parse)?;
            fetch.believing(&authorities).map_err(Unread::from)
        };
        Ok(match self {
            Self::Passwords(_) => {
                Change::Decides(Decider::Passwords(Arc::new(read(path, Passwords::parse)?)))
            }
            Self::Keys(_, rules) => {
                let keys = Arc::new(read(path, Keys::parse)?);
                Change::Decides(Decider::Tokens(keys, Arc::clone(rules)))
            }
            Self::KeyServer(server, _, _) => {
                let fetch = believing(&server.fetch)?;
                Change::HasKeys(Arc::new(KeyServer { fetch, ..KeyServer::clone(server) }))
            }
            Self::Server(server, _) => {
                let fetch = believing(&server.fetch)?;
                let server = AuthorizationServer { fetch, ..AuthorizationServer::clone(server) };
                Change::Decides(Decider::Server(Arc::new(server)))
            }
        })
    }
}

impl Change {
    fn doubt(&self, path: &Path) -> Option<String> {
        match self {
            Self::Decides(Decider::Passwords(passwords)) => doubt(path, passwords),
            // Without a key a file is wrong, and without a certificate.
            Self::Decides(_) | Self::HasKeys(_) => None,
        }
    }
}

/// What a file says that was read.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decides(Decider::Server(_)) => {
                "it says whose certificate the server that decides may show"
            }
            Self::Decides(_) => "it says who may come in",
            Self::HasKeys(_) => "it says whose certificate the server of keys may show",
        })
    }
}

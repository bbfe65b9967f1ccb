//! Files of passwords and keys that change while the process runs.

use std::sync::Arc;

use base::limits;
use control::authorize::{Keys, Passwords};
use control::{FileSet, FileWatch, watch_files};
use tokio::sync::mpsc::UnboundedSender;

use super::desk::{Change, Decider};
use super::{Source, read};
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
    tell: UnboundedSender<Change>,
    panel: Arc<Panel>,
) -> std::io::Result<Option<FileWatch>> {
    let mut sets: Vec<FileSet> = Vec::new();
    let mut watched: Vec<(u16, Source, Option<Unread>)> = Vec::new();
    for (number, listen) in (0u16..).zip(&settings.listeners) {
        let Some(source) = listen.authorize.as_ref().and_then(|it| it.source.clone()) else {
            continue;
        };
        match &source {
            Source::Passwords(file) => sets.push(file.files.clone()),
            Source::Keys(file, _) => sets.push(file.files.clone()),
            Source::KeyServer(..) | Source::Server(_) => continue,
        }
        watched.push((number, source, None));
    }
    if sets.is_empty() {
        return Ok(None);
    }
    let reread = move |place: usize| {
        let Some((number, source, failed)) = watched.get_mut(place) else { return true };
        let (name, found) = match source {
            Source::Passwords(file) => {
                let known = read(&file.path, Passwords::parse);
                (file.path.display(), known.map(|known| Decider::Passwords(Arc::new(known))))
            }
            Source::Keys(file, rules) => {
                let known = read(&file.path, Keys::parse);
                let decider = |known| Decider::Tokens(Arc::new(known), Arc::clone(rules));
                (file.path.display(), known.map(decider))
            }
            Source::KeyServer(..) | Source::Server(_) => return true,
        };
        // What cannot be read for the moment is told once, and tried again.
        let unread = found.as_ref().err().cloned();
        let passes = unread.as_ref().is_some_and(|unread| unread.passes);
        if !passes || *failed != unread {
            panel.reauthorized(found.is_ok());
        }
        match found {
            Ok(decider) => {
                log::note(format_args!("{name} was read anew: it says who may come in"));
                let _ = tell.send(Change { number: *number, decider });
            }
            Err(unread) if !passes || failed.as_ref() != Some(&unread) => {
                log::note(format_args!("warning: {unread}; what it said before holds"));
            }
            Err(_) => {}
        }
        *failed = unread;
        !passes
    };
    watch_files(sets, limits::FILE_PAUSE, reread).map(Some)
}

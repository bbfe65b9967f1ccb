//! Lists that change while the process runs.

use std::sync::Arc;

use base::id::ListenerId;
use base::limits;
use control::{FileSet, FileWatch, watch_files};
use proxies::security::AccessList;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::Asked;
use crate::content::Unread;
use crate::crew::Crew;
use crate::failure::Failure;
use crate::figures::Panel;
use crate::log;
use crate::quantity::counted;
use crate::settings::Settings;

/// What became of a list whose files changed: it was read by the thread that looks after them.
pub(crate) struct Reread {
    listeners: Vec<ListenerId>,
    list: Result<Arc<AccessList>, Unread>,
}

/// What the thread says that looks after the files of lists.
pub(crate) struct Lists {
    told: UnboundedReceiver<Reread>,
    /// The thread ends with it. None where no list stands in a file.
    _watch: Option<FileWatch>,
}

impl Lists {
    /// Begins to look after them.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub(crate) fn watch(settings: &Settings) -> Result<Self, Failure> {
        let (tell, told) = unbounded_channel();
        let mut lists: Vec<(Asked, Vec<ListenerId>, Option<Unread>)> = Vec::new();
        let mut sets: Vec<FileSet> = Vec::new();
        for (id, listen) in (0u32..).map(ListenerId).zip(&settings.listeners) {
            let Some(set) = listen.screened.files.clone().filter(|set| !set.is_empty()) else {
                continue;
            };
            let asked = &listen.screened.asked;
            if let Some((_, listeners, _)) = lists.iter_mut().find(|(other, ..)| other == asked) {
                listeners.push(id);
            } else {
                lists.push((asked.clone(), vec![id], None));
                sets.push(set);
            }
        }
        if lists.is_empty() {
            return Ok(Self { told, _watch: None });
        }
        let reread = move |number: usize| -> bool {
            let Some((asked, listeners, failed)) = lists.get_mut(number) else { return true };
            let list = asked.read().map(Arc::new);
            let unread = list.as_ref().err().cloned();
            // What does not pass is told once for as long as it is the same.
            let passes = unread.as_ref().is_some_and(|unread| unread.passes);
            if !passes || *failed != unread {
                // Whoever hears no more has ended the process already.
                let _ = tell.send(Reread { listeners: listeners.clone(), list });
            }
            *failed = unread;
            !passes
        };
        let mourn = |why: &str| {
            log::note(format_args!(
                "error: what reads lists anew panicked: {why}; the old one holds until its file \
                 changes again"
            ));
        };
        let watch = watch_files(sets, limits::FILE_PAUSE, reread, mourn)
            .map_err(|error| Failure::Run(format!("lists cannot be watched: {error}")))?;
        Ok(Self { told, _watch: Some(watch) })
    }

    /// The next list that was read anew.
    pub(crate) async fn next(&mut self) -> Reread {
        match self.told.recv().await {
            Some(reread) => reread,
            None => std::future::pending().await,
        }
    }

    /// Tells the workers, and the operator.
    pub(crate) fn hear(reread: Reread, crew: &mut Crew, panel: &Panel, names: &[String]) {
        let Reread { listeners, list } = reread;
        panel.relisted(list.is_ok());
        let shown: Vec<&str> =
            listeners.iter().filter_map(|id| Some(names.get(id.index())?.as_str())).collect();
        let shown = shown.join(", ");
        match list {
            Ok(list) => {
                let entries = counted(u64::from(list.entries()), "entry");
                log::note(format_args!("the list of {shown} was read anew: {entries}"));
                for id in listeners {
                    crew.relist(id, &list);
                }
            }
            Err(error) => log::note(format_args!(
                "warning: the list of {shown} cannot be read anew: {error}; the old one holds"
            )),
        }
    }
}

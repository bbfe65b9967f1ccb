//! Certificates from an authority, as the master sees them: found at start, handed to the workers
//! when they are issued, spoken of and counted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use control::Job;
use control::acme::{Authority, Event, Held, Proof, Store, Tally, Wanted};
use tls::Identity;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::certificates::Certificates;
use crate::crew::Crew;
use crate::failure::Failure;
use crate::log;
use crate::quantity::Length;
use crate::settings::Settings;

/// Whom to ask for which certificates.
#[derive(Clone, Debug)]
pub(crate) struct AcmeSettings {
    pub(crate) authority: Authority,
    /// Where files are kept.
    pub(crate) dir: PathBuf,
    /// The names of each certificate.
    pub(crate) sets: Vec<Vec<String>>,
    /// How they may be proved to be ours, the first way first.
    pub(crate) proofs: Vec<Proof>,
}

/// What becomes of the certificates that listeners want.
pub(crate) struct Acme {
    told: UnboundedReceiver<Event>,
    tell: UnboundedSender<Event>,
    kept: Vec<Kept>,
    store: Option<Store>,
}

/// A certificate that is kept.
struct Kept {
    names: Vec<String>,
    /// What was found at start, or issued since.
    identity: Option<Arc<Identity>>,
    tally: Arc<Tally>,
}

impl Acme {
    /// Looks what is in the files. To be called while the process is still who started it: what is
    /// there is given to whom it will be.
    ///
    /// # Errors
    /// When the directory cannot be had.
    pub(crate) fn open(settings: &Settings) -> Result<Self, Failure> {
        let (tell, told) = unbounded_channel();
        let Some(acme) = &settings.acme else {
            return Ok(Self { told, tell, kept: Vec::new(), store: None });
        };
        let store = Store::open(&acme.dir, &acme.authority.directory);
        let store = store.map_err(|error| {
            Failure::Run(format!(
                "certificates cannot be kept: {error}: name another `dir` in acme"
            ))
        })?;
        give_away(&store, settings)?;
        let kept = acme.sets.iter().map(|names| Kept::find(names, &store)).collect();
        Ok(Self { told, tell, kept, store: Some(store) })
    }

    /// Has what was found taken up.
    pub(crate) fn take_up(&self, certificates: &mut Certificates, crew: &mut Crew) {
        if !self.kept.is_empty() {
            let found = self.kept.iter().map(|kept| kept.identity.clone()).collect();
            certificates.change_issued(crew, |issued| issued.certificates = found);
        }
    }

    /// What keeps the certificates: jobs for the thread beside the data path.
    pub(crate) fn jobs(&self, settings: &Settings) -> Vec<Job> {
        let Some((acme, store)) = settings.acme.as_ref().zip(self.store.as_ref()) else {
            return Vec::new();
        };
        let wanted = |kept: &Kept| Wanted {
            names: kept.names.clone(),
            proofs: acme.proofs.clone(),
            held: kept.identity.as_deref().map(Held::of),
            tally: Arc::clone(&kept.tally),
        };
        let wanted = self.kept.iter().map(wanted).collect();
        // Whoever hears no more has ended the process already.
        let tell = self.tell.clone();
        let tell = move |event| drop(tell.send(event));
        control::acme::jobs(acme.authority.clone(), store, wanted, settings.workers, tell)
    }

    /// What is counted of each certificate, by its names.
    pub(crate) fn tallies(&self) -> Vec<(String, Arc<Tally>)> {
        self.kept.iter().map(|kept| (kept.label(), Arc::clone(&kept.tally))).collect()
    }

    /// The next thing that becomes of a certificate.
    pub(crate) async fn next(&mut self) -> Event {
        match self.told.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Tells the workers, and the operator.
    pub(crate) fn hear(&mut self, event: Event, certificates: &mut Certificates, crew: &mut Crew) {
        match event {
            Event::Show { texts, certificates: challenges } => {
                certificates.show(challenges, crew);
                crew.answer(texts);
            }
            Event::Issued { place, identity, unkept } => {
                let Some(kept) = self.kept.get_mut(place) else { return };
                log::note(format_args!(
                    "certificate issued for {}, good for {}",
                    kept.label(),
                    Length(left(&identity))
                ));
                if let Some(why) = unkept {
                    log::note(format_args!(
                        "warning: the certificate for {} serves, but is lost with this process, as it \
                         cannot be kept: {why}; tried again",
                        kept.label()
                    ));
                }
                kept.hold(Arc::clone(&identity));
                certificates.change_issued(crew, |issued| {
                    if let Some(known) = issued.certificates.get_mut(place) {
                        *known = Some(identity);
                    }
                });
            }
            Event::Kept { place } => {
                let Some(kept) = self.kept.get(place) else { return };
                log::note(format_args!("the certificate for {} is in its file now", kept.label()));
            }
            Event::ContactRefused { why } => log::note(format_args!(
                "warning: the authority does not write to `email` of acme: {why}; certificates are \
                 ordered all the same"
            )),
            Event::Failed { place, why, again } => {
                let Some(kept) = self.kept.get(place) else { return };
                let until = match &kept.identity {
                    Some(identity) => format!("the old one is good for {}", Length(left(identity))),
                    None => "clients are refused until there is one".to_owned(),
                };
                log::note(format_args!(
                    "warning: no certificate for {}: {why}; tried again in {}; {until}",
                    kept.label(),
                    Length(Duration::from_secs(again.as_secs()))
                ));
            }
        }
    }
}

impl Kept {
    fn find(names: &[String], store: &Store) -> Self {
        let mut kept =
            Self { names: names.to_vec(), identity: None, tally: Arc::new(Tally::default()) };
        match store.certificate(names) {
            Ok(Some(identity)) => kept.hold(Arc::new(identity)),
            Ok(None) => {}
            Err(error) => log::note(format_args!("warning: {error}: another is ordered")),
        }
        kept
    }

    fn hold(&mut self, identity: Arc<Identity>) {
        let expires = identity.not_after().duration_since(SystemTime::UNIX_EPOCH);
        self.tally.expires.set(expires.unwrap_or_default().as_secs());
        self.identity = Some(identity);
    }

    fn label(&self) -> String {
        self.names.join(" ")
    }
}

/// The files are to be the user's that the process becomes.
fn give_away(store: &Store, settings: &Settings) -> Result<(), Failure> {
    let Some(identity) = &settings.identity else { return Ok(()) };
    let failed = |why: String| Failure::Run(format!("certificates cannot be kept: {why}"));
    for (path, file) in store.open_all().map_err(|error| failed(error.to_string()))? {
        let given = identity.give(&file);
        given.map_err(|error| failed(format!("\"{}\": {error}", path.display())))?;
    }
    Ok(())
}

/// For how long it is good, in whole seconds.
fn left(identity: &Identity) -> Duration {
    let left = identity.not_after().duration_since(now()).unwrap_or_default();
    Duration::from_secs(left.as_secs())
}

#[expect(clippy::disallowed_methods, reason = "certificates are good by the calendar")]
fn now() -> SystemTime {
    SystemTime::now()
}

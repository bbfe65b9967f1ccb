//! How connections to servers are secured: by files that say whom to believe, and who we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::FileSet;
use driver::Address;
use tls::{Connector, ConnectorConfig, Identity, Trust};
use worker::ServerTls;

use super::{Ending, KeyPair, Ledger, Part, Side, Watch, Wrong, authorities};
use crate::crew::Crew;
use crate::log;
use crate::resolve::Target;
use crate::settings::{Group, Settings};

/// How connections to a group's servers are secured.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamTls {
    /// As the files were when they were read.
    pub(crate) connector: Connector,
    /// Whom every server of the group must be, if not what its address says.
    pub(crate) name: Option<Arc<str>>,
    /// Whether somebody says which protocols servers are offered, if any (RFC 7301).
    pub(crate) names_protocols: bool,
    pub(crate) files: ServerFiles,
    /// Of the files, from before they were read.
    pub(crate) marks: FileSet,
}

impl UpstreamTls {
    /// Of servers to whom connections are passed through: what is inside may be anything, so that none
    /// is offered unless somebody says which.
    pub(crate) fn passed(mut self) -> Self {
        let config = ConnectorConfig { alpn: Vec::new(), ..self.files.config.clone() };
        if !self.names_protocols
            && let Ok(connector) = Connector::new(config.clone())
        {
            (self.connector, self.files.config) = (connector, config);
        }
        self
    }

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

/// What servers are shown that ask who we are, if anything is.
type Shown = Option<Arc<Identity>>;

/// What connectors are made of, again and again.
#[derive(Clone, Debug)]
pub(crate) struct ServerFiles {
    /// Whose certificates are believed, if a file says that.
    pub(crate) ca: Option<PathBuf>,
    /// What servers are shown that ask who we are.
    pub(crate) pair: Option<KeyPair>,
    /// What no file says, and what they held at first.
    pub(crate) config: ConnectorConfig,
}

impl ServerFiles {
    /// Every file that is read.
    pub(crate) fn paths<'a>(
        ca: Option<&'a PathBuf>,
        pair: Option<&'a KeyPair>,
    ) -> impl Iterator<Item = PathBuf> + use<'a> {
        let pair = pair.into_iter().flat_map(|it| [it.certificate.clone(), it.key.clone()]);
        ca.cloned().into_iter().chain(pair)
    }

    /// What makes sessions, by what the files hold now. Warnings are of a certificate that is not good
    /// now, or not for long.
    fn read(&self, warnings: &mut Vec<Wrong>) -> Result<(Connector, Shown), Wrong> {
        let mut config = self.config.clone();
        if let Some(path) = &self.ca {
            config.trust = Trust::Authorities(authorities(path)?);
        }
        if let Some(pair) = &self.pair {
            let identity = pair.load()?;
            warnings.extend(pair.doubt(&identity));
            config.identity = Some(Arc::new(identity));
        }
        let shown = config.identity.clone();
        let failed = |error| Wrong::new(Path::new(""), Part::Whole, error);
        let connector = Connector::new(config).map_err(failed)?;
        Ok((connector, shown))
    }
}

/// A group's files.
pub(super) struct WatchedServers {
    /// Its place among the groups.
    group: usize,
    files: ServerFiles,
    /// What is shown of the certificate.
    pub(super) ending: Option<Arc<Ending>>,
    pub(super) watch: Watch,
}

impl WatchedServers {
    /// Those of all groups that are secured by files.
    pub(super) fn of(settings: &Settings) -> Vec<Self> {
        let secured = settings.groups.iter().enumerate();
        let watched = |(group, it): (usize, &Group)| {
            let UpstreamTls { files, marks, .. } = it.tls.clone()?;
            let shown = files.pair.as_ref().zip(files.config.identity.as_ref());
            let ending = shown.map(|(pair, identity)| {
                Ending::new(Side::Upstream, it.name.to_string(), &pair.certificate, identity)
            });
            let watched = Self { group, files, ending, watch: Watch::new(marks) };
            (!watched.watch.marks.is_empty()).then_some(watched)
        };
        secured.filter_map(watched).collect()
    }

    /// Reads the files, and has connections to the group's servers go by them if they are good.
    pub(super) fn take_up(&mut self, ledger: &Ledger, crew: &mut Crew) {
        let mut warnings = Vec::new();
        let read = self.files.read(&mut warnings);
        let Some((connector, shown)) = self.watch.accept(read, ledger) else { return };
        if let (Some(ending), Some(identity)) = (&self.ending, shown) {
            ending.renew(&identity);
        }
        let paths = ServerFiles::paths(self.files.ca.as_ref(), self.files.pair.as_ref());
        let names: Vec<String> = paths.map(|path| path.display().to_string()).collect();
        log::note(format_args!("taken up anew for servers: {}", names.join(", ")));
        for warning in warnings {
            log::note(format_args!("warning: {warning}"));
        }
        crew.secure_servers(self.group, &connector);
    }
}

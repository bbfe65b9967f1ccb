//! Names of servers that may lead elsewhere while the process runs.

use base::id::ServerId;
use control::{Answer, Event, Job};
use driver::Address;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::crew::Crew;
use crate::log;
use crate::settings::{Server, Settings};

/// What the thread `control` says of the names of these settings' servers.
pub(crate) struct Names {
    told: UnboundedReceiver<Event>,
    tell: UnboundedSender<Event>,
}

impl Names {
    pub(crate) fn new() -> Self {
        let (tell, told) = unbounded_channel();
        Self { told, tell }
    }

    /// What watches them: jobs for the thread beside the data path. What was found at start is known
    /// already.
    pub(crate) fn jobs(&self, settings: &Settings) -> Vec<Job> {
        let servers = (0u32..).map(ServerId).zip(settings.servers());
        let names: Vec<_> = servers.filter_map(|(id, (_, server))| known(id, server)).collect();
        // Whoever hears no more has ended the process already.
        let tell = self.tell.clone();
        control::watch(&settings.resolver, names, &move |event| drop(tell.send(event)))
    }

    /// The next thing that becomes of a name.
    pub(crate) async fn next(&mut self) -> Event {
        match self.told.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Tells the workers, and the operator.
    pub(crate) fn hear(event: Event, crew: &mut Crew) {
        match event {
            Event::Changed { server, name, addresses } => {
                let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                log::note(format_args!("{name} is at {} now", shown.join(", ")));
                crew.readdress(server, &addresses);
            }
            Event::Failed { name, fault } => log::note(format_args!(
                "warning: {name} cannot be looked up again: {fault}; its old addresses hold"
            )),
            Event::Recovered { name } => {
                log::note(format_args!("{name} can be looked up again"));
            }
        }
    }
}

fn known(id: ServerId, server: &Server) -> Option<(ServerId, control::Name, Answer)> {
    let (name, lives) = server.name.clone()?;
    let ip = |address: &Address| match address {
        Address::Ip(ip) => Some(*ip),
        Address::Unix(_) => None,
    };
    let addresses = server.addresses.iter().filter_map(ip).collect();
    Some((id, name, Answer { addresses, lives }))
}

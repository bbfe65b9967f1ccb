//! The names of servers, looked up at start.

use std::time::Duration;

use control::{Answer, Fault, Name};
use driver::Address;

use super::complaint::{Complaints, Word};
use super::draft::{Draft, ServerDraft};
use crate::resolve::{Target, UNKNOWN};

/// Where a server is now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Its address, or those behind its name; none if that is unknown.
    pub(crate) addresses: Vec<Address>,
    /// Its name, and when it is to be looked up again.
    pub(crate) name: Option<(Name, Duration)>,
}

/// Looks up every name, all at once: for each group, for each of its servers, where it is.
pub(crate) fn look_up(draft: &Draft, complaints: &mut Complaints) -> Vec<Vec<Found>> {
    let name = |server: &ServerDraft| match &server.at.value {
        Target::Name(name) => Some(name.clone()),
        Target::Address(_) => None,
    };
    let servers = || draft.groups.iter().flat_map(|group| &group.servers);
    let names: Vec<Name> = servers().filter_map(name).collect();
    let mut answers = ask(draft, &names).into_iter();
    let mut find = |server: &ServerDraft| match &server.at.value {
        Target::Address(address) => Found { addresses: vec![address.clone()], name: None },
        Target::Name(name) => match answers.next() {
            Some(Ok(answer)) => Found {
                addresses: answer.addresses.into_iter().map(Address::Ip).collect(),
                name: Some((name.clone(), answer.lives)),
            },
            Some(Err(fault)) => {
                complaints.error(server.at.span.clone(), unknown(draft, server, &fault));
                Found::default()
            }
            None => Found::default(),
        },
    };
    draft.groups.iter().map(|group| group.servers.iter().map(&mut find).collect()).collect()
}

fn ask(draft: &Draft, names: &[Name]) -> Vec<Result<Answer, Fault>> {
    if cfg!(fuzzing) {
        // What an input names must not be asked for.
        return names.iter().map(|_| Err(Fault::Unknown)).collect();
    }
    control::look_up_all(&draft.resolver, names)
}

fn unknown(draft: &Draft, server: &ServerDraft, fault: &Fault) -> String {
    let (word, name) = (draft.tongue.name(Word::SERVER), &server.at.value);
    match fault {
        Fault::Unknown => format!("{word} {name}: {UNKNOWN}"),
        Fault::Unanswered(_) => format!(
            "{word} {name}: {fault}; check them (`resolver` names others), or give an IP address"
        ),
    }
}

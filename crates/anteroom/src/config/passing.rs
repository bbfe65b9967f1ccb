//! What a `[[listen]]` says of connections that are passed through.

use base::id::GroupId;
use exchange::{Names, Passing};

use super::fields::{Fields, or_list};
use super::proxies::Kind;
use crate::settings::{Complaints, Given, GroupDraft};

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Passed {
    first_byte: bool,
    /// Names and the groups they lead to.
    pub(super) routes: Vec<(String, GroupId)>,
}

impl Passed {
    /// What the worker goes by; `otherwise` takes whom no name leads elsewhere.
    pub(super) fn rules(&self, otherwise: Option<GroupId>) -> Passing {
        let routes = self.routes.iter().map(|(name, group)| (name.as_str(), *group));
        let names = (!self.routes.is_empty()).then(|| Names::new(routes, otherwise));
        Passing { first_byte: self.first_byte, names }
    }
}

/// What is of no use to what is passed through, and the other way round.
const OF_HTTP: [&str; 9] = [
    "request",
    "max_target",
    "max_body",
    "upgrade",
    "request_ids",
    "error_pages",
    "trusted_proxies",
    "remove_headers",
    "authorize",
];
const OF_PASS: [&str; 2] = ["connect", "sni"];

/// Whether the server is connected to only when the client has said something.
const CONNECT: [(&str, bool); 2] = [("at-once", false), ("first-byte", true)];

/// Complains of keys that are another proxy's.
pub(super) fn keys(kind: Option<Kind>, fields: &Fields<'_>, out: &mut Complaints) {
    let (others, remedy) = match kind {
        None => return,
        Some(Kind::Pass) => (
            &OF_HTTP[..],
            "says nothing of connections that are passed through unread: leave it out, or write \
             proxy = \"http\"",
        ),
        Some(Kind::Http) => {
            (&OF_PASS[..], "goes with connections that are passed through: write proxy = \"pass\"")
        }
    };
    for name in others {
        fields.misplaced(name, remedy, out);
    }
}

/// Reads `connect` and `sni`.
pub(super) fn read(fields: &Fields<'_>, groups: &[GroupDraft], out: &mut Complaints) -> Passed {
    let connect = fields.choice("connect", &CONNECT, out);
    if fields.has("tls") {
        let remedy = "asks for names that are inside what `tls` takes off: leave one of them out";
        fields.misplaced("sni", remedy, out);
    }
    let mut routes: Vec<(String, GroupId)> = Vec::new();
    for (pattern, named) in fields.names("sni", out) {
        if let Err(remedy) = check_pattern(pattern.value) {
            out.error(pattern.span.clone(), format!("`sni`: \"{}\": {remedy}", pattern.value));
        }
        let lower = pattern.value.to_ascii_lowercase();
        if routes.iter().any(|(before, _)| *before == lower) {
            let text = format!("`sni` names \"{lower}\" twice: leave one out");
            out.error(pattern.span.clone(), text);
        }
        routes.extend(group(&named, groups, out).map(|group| (lower, group)));
    }
    if let Some(given) = connect.as_ref().filter(|given| !given.value && fields.has("sni")) {
        let text = "`connect` = \"at-once\": who is asked for by name is known with the client's \
                    first bytes only: leave it out";
        out.error(given.span.clone(), text);
    }
    Passed { first_byte: connect.is_some_and(|given| given.value), routes }
}

fn group(named: &Given<&str>, groups: &[GroupDraft], out: &mut Complaints) -> Option<GroupId> {
    let place = groups.iter().position(|group| group.name.value == named.value);
    if place.is_none() {
        let names: Vec<&str> = groups.iter().map(|group| group.name.value.as_str()).collect();
        let remedy = or_list("there are", &names, named.value);
        let text = format!("no [[upstream]] is called \"{}\": {remedy}", named.value);
        out.error(named.span.clone(), text);
    }
    place.and_then(|place| u32::try_from(place).ok()).map(GroupId)
}

/// A name, or `*.` and the end of names.
fn check_pattern(pattern: &str) -> Result<(), &'static str> {
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(plain);
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(());
    }
    Err("write a host's name, as in \"a.example\", or the end of names, as in \"*.b.example\"")
}

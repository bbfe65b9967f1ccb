//! From the text of a file to a draft: tables, keys, and the names that join them.

use base::id::GroupId;
use base::limits;
use bus::Balance;
use toml::de::DeTable;
use wire::proxy_protocol::Version;
use worker::AtLimit;

use super::acme::{self, Sets};
use super::bounds::LIMITS;
use super::fields::{Fields, or_list};
use super::proxies::Kind;
use super::schema::{ERROR_PAGES, FILE, LISTEN, LOG, QUEUE, SPOOL, TIMEOUTS, UPSTREAM};
use super::{authorize, bounds, pages, passing, proxies, screening, servers, tls};
use crate::certificates::Clients;
use crate::cli::{Io, Timeout};
use crate::log::{self, Format};
use crate::resolve;
use crate::settings::{
    CLIENTS_MOST, CONNECTIONS_MOST, Complaints, Draft, Given, GroupDraft, ListenDraft, LogDraft,
    PINNED_MOST, QUEUE_MOST, SpoolDraft, Tongue,
};

/// Reads a file's text; the draft is whole only if nothing in it is an error.
pub(crate) fn read(text: &str) -> (Draft, Complaints) {
    let mut complaints = Complaints::default();
    let draft = match DeTable::parse(text) {
        Ok(table) => File { complaints: &mut complaints }.draft(table.get_ref()),
        Err(error) => {
            complaints.error(error.span(), remedy(error.message()));
            Draft::empty(Tongue::Keys)
        }
    };
    (draft, complaints)
}

/// What the parser says, with the remedy where it leaves that out.
fn remedy(message: &str) -> String {
    match message.lines().next().unwrap_or_default() {
        "duplicate key" => "duplicate key: it stands above already; leave one out (tables that \
                            may repeat have two brackets each time, as in [[listen]])"
            .to_owned(),
        other => format!("no TOML: {other}"),
    }
}

/// A file being read.
struct File<'c> {
    complaints: &'c mut Complaints,
}

impl File<'_> {
    fn draft(&mut self, table: &DeTable<'_>) -> Draft {
        let fields = Fields::open(table, &FILE, 0..0, self.complaints);
        let out = &mut *self.complaints;
        let draft = Draft {
            memory: fields.size("memory", out),
            buffer: fields.size("buffer", out),
            workers: fields.count("workers", 1..=limits::WORKERS_MAX, out),
            max_clients: fields.count("max_clients", 1..=CLIENTS_MOST, out),
            exchange_memory: fields.size("exchange_memory", out),
            io: fields.choice("io", &IO, out),
            reuse_port: fields.switch("reuse_port", out).unwrap_or(false),
            reclaim_parked: fields.switch("reclaim_parked", out).unwrap_or(false),
            admin: fields.parsed("admin", resolve::address, out),
            user: fields.text("user", out).map(|given| given.map(str::to_owned)),
            group: fields.text("group", out).map(|given| given.map(str::to_owned)),
            ..Draft::empty(Tongue::Keys)
        };
        let resolver = servers::resolver(&fields, self.complaints);
        let groups = self.groups(&fields);
        let mut sets = Sets::default();
        let timeouts = self.timeouts(&fields);
        let mut listeners = self.listeners(&fields, &groups, &mut sets);
        self.authorizations(&fields, timeouts.authorize, &mut listeners);
        let acme = acme::read(&fields, sets, &listeners, self.complaints);
        self.nobody_uses(&groups, &listeners);
        let spool = self.spool(&fields);
        let log = self.log(&fields);
        let bounds = fields.table("limits", &LIMITS, self.complaints);
        let bounds = bounds.map(|table| bounds::read(&table, self.complaints));
        let (limits, least_rate) = bounds.unwrap_or_default();
        let draft = Draft { limits, least_rate, ..draft };
        Draft { listeners, groups, spool, timeouts, resolver, log, acme, ..draft }
    }

    fn spool(&mut self, fields: &Fields<'_>) -> SpoolDraft {
        let out = &mut *self.complaints;
        if fields.is_off("spool") {
            return SpoolDraft { off: true, ..SpoolDraft::default() };
        }
        let Some(table) = fields.table("spool", &SPOOL, out) else { return SpoolDraft::default() };
        SpoolDraft {
            off: false,
            dir: table.text("dir", out).map(|given| given.map(Into::into)),
            size: table.size("size", out),
            per_exchange: table.size("per_exchange", out),
            per_address: table.size("per_address", out),
        }
    }

    fn timeouts(&mut self, fields: &Fields<'_>) -> worker::Timeouts {
        let mut timeouts = worker::Timeouts::default();
        if let Some(table) = fields.table("timeouts", &TIMEOUTS, self.complaints) {
            for (name, timeout) in Timeout::NAMED {
                if let Some(length) = table.duration(name, self.complaints) {
                    *timeout.of(&mut timeouts) = length;
                }
            }
        }
        timeouts
    }

    fn log(&mut self, fields: &Fields<'_>) -> LogDraft {
        let out = &mut *self.complaints;
        let Some(table) = fields.table("log", &LOG, out) else { return LogDraft::default() };
        LogDraft {
            access: table.parsed("access", log::destination, out),
            events: table.parsed("events", log::destination, out),
            format: table.choice("format", &FORMAT, out),
            buffer: table.size("buffer", out),
            line: table.size("line", out),
        }
    }

    fn groups(&mut self, fields: &Fields<'_>) -> Vec<GroupDraft> {
        let tables = fields.tables("upstream", &UPSTREAM, self.complaints);
        if tables.is_empty() && !fields.has("upstream") {
            let text =
                "no [[upstream]]: add one, as in [[upstream]] servers = [\"127.0.0.1:8000\"]";
            self.complaints.error(None, text);
        }
        let mut groups: Vec<GroupDraft> = Vec::new();
        for table in &tables {
            let group = self.group(table);
            if groups.iter().any(|before| before.name.value == group.name.value) {
                let text = format!(
                    "two [[upstream]] are called \"{}\": give each a name of its own",
                    group.name.value
                );
                self.complaints.error(group.name.span.clone(), text);
            }
            groups.push(group);
        }
        groups
    }

    fn group(&mut self, fields: &Fields<'_>) -> GroupDraft {
        let out = &mut *self.complaints;
        let name = fields.text("name", out).map(|given| given.map(str::to_owned));
        let name = name.unwrap_or_else(|| Given::at("upstream".to_owned(), fields.span()));
        if let Err(remedy) = check_name(&name.value) {
            let text = format!("`name` = \"{}\": {remedy}", name.value);
            out.error(name.span.clone(), text);
        }
        let servers = servers::read(fields, out);
        if !fields.has("servers") {
            fields.missing("servers", out);
        }
        let connections = fields.count("connections", 1..=CONNECTIONS_MOST, out);
        let pinned = fields.count("pinned", 0..=PINNED_MOST, out);
        let persistent = fields.given_switch("persistent", out);
        let queue = fields.table("queue", &QUEUE, out);
        let queue = queue.and_then(|queue| queue.count("length", 1..=QUEUE_MOST, out));
        let tls = tls::upstream(fields, &servers, out);
        let balance = fields.choice("balance", &BALANCE, out).map(|given| given.value);
        GroupDraft {
            name,
            servers,
            connections,
            pinned,
            queue,
            persistent,
            balance: balance.unwrap_or_default(),
            health: servers::health(fields, out),
            retries: servers::retries(fields, out),
            warm: fields.count("warm", 0..=CONNECTIONS_MOST, out),
            introduces: fields.choice("proxy_protocol", &VERSIONS, out),
            tls,
        }
    }

    fn listeners(
        &mut self,
        fields: &Fields<'_>,
        groups: &[GroupDraft],
        sets: &mut Sets,
    ) -> Vec<ListenDraft> {
        let tables = fields.tables("listen", &LISTEN, self.complaints);
        if tables.is_empty() && !fields.has("listen") {
            let text = "no [[listen]]: add one, as in [[listen]] address = \"127.0.0.1:8080\"";
            self.complaints.error(None, text);
        }
        tables.iter().filter_map(|table| self.listener(table, groups, sets)).collect()
    }

    fn listener(
        &mut self,
        fields: &Fields<'_>,
        groups: &[GroupDraft],
        sets: &mut Sets,
    ) -> Option<ListenDraft> {
        let out = &mut *self.complaints;
        let address = fields.parsed("address", resolve::address, out);
        if !fields.has("address") {
            fields.missing("address", out);
        }
        let proxy = fields.text("proxy", out);
        let known = address.as_ref().filter(|_| proxy.is_some() == fields.has("proxy"));
        // Where TLS is spoken, the port tells nothing of what is inside.
        let kind = if fields.has("tls") && !fields.has("proxy") {
            Some(Kind::Http)
        } else {
            known.and_then(|address| proxies::choose(address, proxy.as_ref(), out))
        };
        let tls = tls::read(fields, kind == Some(Kind::Pass), sets, out);
        let stream = fields.choice("request", &REQUEST, out).is_some_and(|given| given.value);
        let max_head = fields.size("max_head", out);
        let max_target = fields.size("max_target", out);
        let max_body = fields.size("max_body", out);
        let at_limit = fields.choice("at_limit", &AT_LIMIT, out);
        let request_ids = fields.switch("request_ids", out).unwrap_or(false);
        let upgrade = fields.switch("upgrade", out).unwrap_or(true);
        let error_pages = fields.table("error_pages", &ERROR_PAGES, out);
        let error_pages = error_pages.map(|table| pages::read(&table, out)).unwrap_or_default();
        let screened = screening::read(fields, address.as_ref(), out);
        passing::keys(kind, fields, out);
        let passed = if kind == Some(Kind::Pass) {
            passing::read(fields, groups, out)
        } else {
            passing::Passed::default()
        };
        let group = if fields.has("upstream") || passed.routes.is_empty() {
            self.group_of(fields, groups)
        } else {
            passed.routes.first().map(|(_, group)| *group)
        };
        let passing = (kind == Some(Kind::Pass)).then(|| {
            let otherwise = group.filter(|_| fields.has("upstream"));
            passed.rules(otherwise)
        });
        let others = passed.routes.iter().map(|(_, group)| *group).collect();
        Some(ListenDraft {
            address: address?,
            group: group?,
            max_head,
            max_target,
            max_body,
            at_limit,
            request_ids,
            error_pages,
            stream,
            upgrade,
            passing,
            tls,
            others,
            screened,
            authorize: None,
        })
    }

    /// What listeners ask of requests. One that could not be read is none: its complaints stand.
    fn authorizations(
        &mut self,
        fields: &Fields<'_>,
        patience: std::time::Duration,
        listeners: &mut [ListenDraft],
    ) {
        if self.complaints.has_errors() {
            return;
        }
        let tables = fields.tables("listen", &LISTEN, self.complaints);
        for (table, listener) in tables.iter().zip(listeners) {
            let tls = listener.tls.as_ref();
            let shown = tls.is_some_and(|tls| tls.files.clients != Clients::Off);
            listener.authorize = authorize::read(table, shown, patience, self.complaints);
            let own = listener.authorize.iter().flat_map(|it| &it.own_fields).map(String::as_str);
            let own: Vec<&str> =
                tls.and_then(|tls| tls.subject.as_deref()).into_iter().chain(own).collect();
            let stands = |(at, name): (usize, &&str)| {
                own[..at].iter().any(|other| other.eq_ignore_ascii_case(name))
            };
            if let Some(twice) = own.iter().enumerate().find(|&it| stands(it)).map(|it| it.1) {
                let text = format!("servers would be told `{twice}` twice: give one another name");
                self.complaints.error(Some(table.span()), text);
            }
        }
    }

    /// The group that a listener names, or the only one there is.
    fn group_of(&mut self, fields: &Fields<'_>, groups: &[GroupDraft]) -> Option<GroupId> {
        let Some(named) = fields.text("upstream", self.complaints) else {
            if groups.len() > 1 && !fields.has("upstream") {
                let names = names(groups).join(", ");
                let text = format!("[[listen]] has no `upstream`: name one of {names}");
                self.complaints.error(Some(fields.span()), text);
            }
            return (groups.len() == 1).then_some(GroupId(0));
        };
        let place = groups.iter().position(|group| group.name.value == named.value);
        if place.is_none() {
            let remedy = if groups.is_empty() {
                "there is no [[upstream]]".to_owned()
            } else {
                or_list("there are", &names(groups), named.value)
            };
            let text = format!("no [[upstream]] is called \"{}\": {remedy}", named.value);
            self.complaints.error(named.span, text);
        }
        place.and_then(|place| u32::try_from(place).ok()).map(GroupId)
    }

    fn nobody_uses(&mut self, groups: &[GroupDraft], listeners: &[ListenDraft]) {
        if self.complaints.has_errors() {
            return;
        }
        for (id, group) in (0u32..).map(GroupId).zip(groups) {
            if !listeners.iter().any(|listener| listener.leads_to(id)) {
                let text = format!(
                    "no [[listen]] leads to the upstream \"{}\": name it in one, or leave it out",
                    group.name.value
                );
                self.complaints.warning(group.name.span.clone(), text);
            }
        }
    }
}

const IO: [(&str, Io); 3] = [("auto", Io::Auto), ("epoll", Io::Epoll), ("uring", Io::Uring)];
const FORMAT: [(&str, Format); 2] = [("json", Format::Json), ("common", Format::Common)];
/// Whether the server is shown it as it arrives.
const REQUEST: [(&str, bool); 2] = [("complete", false), ("stream", true)];
const VERSIONS: [(&str, Version); 2] = [("v1", Version::V1), ("v2", Version::V2)];
const BALANCE: [(&str, Balance); 2] =
    [("least-leased", Balance::LeastLeased), ("round-robin", Balance::RoundRobin)];
const AT_LIMIT: [(&str, AtLimit); 2] = [("pause", AtLimit::Pause), ("answer", AtLimit::Answer)];

/// A name that can stand in metrics and messages.
fn check_name(text: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=64).contains(&text.len()) && text.chars().all(plain) {
        return Ok(());
    }
    Err("a name has 1 to 64 letters, digits, `-`, `_` and `.`")
}

fn names(groups: &[GroupDraft]) -> Vec<&str> {
    groups.iter().map(|group| group.name.value.as_str()).collect()
}

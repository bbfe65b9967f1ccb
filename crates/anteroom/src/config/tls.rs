//! `tls` of a `[[listen]]` and of an `[[upstream]]`: their files are read here, so that a wrong one is found before a client is.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::limits;
use control::FileSet;
use tls::{
    Authorities, Cipher, Connector, ConnectorConfig, Identity, Tickets, Trust, UnknownName,
    Versions,
};

use super::acme::{self, Sets};
use super::fields::{Entry, Fields, or_list, parsed};
use super::own_field::own_field;
use super::schema::Preset::{Default, Needed, Unset};
use super::schema::{Section, key, quoted, size};
use crate::certificates::{
    Clients, Issued, KeyPair, ListenTls, Part, ServerFiles, TlsFiles, UpstreamTls, Wrong,
    authorities, own_name,
};
use crate::quantity::Size;
use crate::settings::{Complaints, Given, ServerDraft};

const CLIENTS: [(&str, Clients); 3] =
    [("off", Clients::Off), ("optional", Clients::Optional), ("required", Clients::Required)];
const UNKNOWN: [(&str, UnknownName); 2] =
    [("first", UnknownName::First), ("refuse", UnknownName::Refuse)];

/// `tls` of a `[[listen]]`.
pub(crate) static LISTEN_TLS: Section = Section {
    title: "tls",
    keys: &[
        key(
            "certificates",
            Needed("[{ certificate = \"fullchain.pem\", key = \"key.pem\" }]"),
            "Certificates with their keys, chosen by the name that is asked for (SNI).",
        ),
        key(
            "acme",
            Unset {
                example: "[\"example.org\", \"www.example.org\"]",
                means: "all certificates are in files",
            },
            "Names to have certificates for: one each, or one for a list of names in brackets.",
        ),
        key(
            "unknown_names",
            Default(|| quoted("first")),
            "What who asks for another name gets: the first certificate, or refuse.",
        ),
        key(
            "versions",
            Default(|| "[\"1.2\", \"1.3\"]".to_owned()),
            "The versions of TLS that are spoken.",
        ),
        key(
            "ciphers",
            Unset {
                example: "[\"TLS_AES_128_GCM_SHA256\"]",
                means: "all that are built in, none of which is known to be weak",
            },
            "Cipher suites as IANA calls them, the ones preferred first, whatever clients prefer.",
        ),
        key(
            "alpn",
            Unset { example: "[\"http/1.1\"]", means: "`[\"http/1.1\"]`; none for what is passed" },
            "Protocols that clients may ask for (ALPN); who asks for others alone is refused; [] is none.",
        ),
        key(
            "client_certificates",
            Default(|| quoted("off")),
            "Whether clients show certificates: off, optional or required.",
        ),
        key(
            "client_ca",
            Unset { example: "\"clients-ca.pem\"", means: "nobody's" },
            "Whose certificates clients may show.",
        ),
        key(
            "max_client_chain",
            Default(|| size(limits::TLS_CLIENT_CHAIN.into())),
            "Longest certificate chain of a client; 256 bytes more count of each certificate.",
        ),
        key(
            "subject_header",
            Unset { example: "\"X-Client-Cert-Subject\"", means: "it is not passed on" },
            "The field that tells servers whom a client's certificate names; a client's own is removed.",
        ),
        key(
            "tickets",
            Default(|| true.to_string()),
            "Whether sessions can be resumed, by tickets whose keys rotate.",
        ),
    ],
};

/// `tls` of an `[[upstream]]`.
pub(crate) static UPSTREAM_TLS: Section = Section {
    title: "tls",
    keys: &[
        key(
            "ca",
            Unset { example: "\"app-ca.pem\"", means: "those that the system trusts" },
            "Whose certificates servers may show.",
        ),
        key(
            "name",
            Unset { example: "\"app.internal\"", means: "that of its address" },
            "Whom a server must be: the name in its certificate, and what it is asked for (SNI).",
        ),
        key("sni", Default(|| true.to_string()), "Whether servers are told the name (SNI)."),
        key(
            "verify",
            Default(|| true.to_string()),
            "Whether certificates are checked; without, anybody may stand between.",
        ),
        key(
            "max_chain",
            Default(|| size(limits::TLS_SERVER_CHAIN.into())),
            "Longest certificate chain of a server; 256 bytes more count of each certificate.",
        ),
        key(
            "certificate",
            Unset { example: "\"proxy.pem\"", means: "none" },
            "What servers are shown that ask who we are.",
        ),
        key("key", Unset { example: "\"proxy.key\"", means: "none" }, "Its private key."),
        key(
            "versions",
            Default(|| "[\"1.2\", \"1.3\"]".to_owned()),
            "The versions of TLS that are spoken.",
        ),
        key(
            "alpn",
            Unset { example: "[\"http/1.1\"]", means: "`[\"http/1.1\"]`; none for what is passed" },
            "Protocols that servers are offered (ALPN); [] is none.",
        ),
    ],
};

/// An entry of `certificates`.
pub(crate) static CERTIFICATE: Section = Section {
    title: "an entry of certificates",
    keys: &[
        key(
            "certificate",
            Needed("\"fullchain.pem\""),
            "The server's certificate first, then its chain.",
        ),
        key("key", Needed("\"key.pem\""), "The private key of the first."),
    ],
};

/// Where something stands in the configuration.
type Span = Option<Range<usize>>;

/// What is inside, if nobody says otherwise (RFC 7301 §6).
const HTTP: &[u8] = b"http/1.1";

/// Reads it, if it is there. `passed`: whether what is inside is passed through unread.
pub(super) fn read(
    listen: &Fields<'_>,
    passed: bool,
    sets: &mut Sets,
    out: &mut Complaints,
) -> Option<ListenTls> {
    let fields = listen.table("tls", &LISTEN_TLS, out)?;
    let pairs = pairs(&fields, out);
    let versions = versions(&fields, out);
    let clients = fields.choice("client_certificates", &CLIENTS, out);
    let client_ca = fields.text("client_ca", out);
    let clients = clients.map_or(Clients::Off, |given| given.value);
    match (clients, &client_ca) {
        (Clients::Off, Some(ca)) => out.error(
            ca.span.clone(),
            "`client_ca`: clients are not asked for certificates: add client_certificates = \
             \"optional\" or \"required\"",
        ),
        (Clients::Optional | Clients::Required, None) if !fields.has("client_ca") => {
            fields.missing("client_ca", out);
        }
        _ => {}
    }
    let max_client_chain = max_client_chain(&fields, clients, out);
    let files = TlsFiles {
        clients,
        max_client_chain,
        client_ca: client_ca.as_ref().map(|given| given.value.into()),
        unknown_name: fields
            .choice("unknown_names", &UNKNOWN, out)
            .map_or_else(UnknownName::default, |it| it.value),
        ciphers: ciphers(&fields, versions, out),
        alpn: alpn(&fields, passed, out).unwrap_or_else(|| by_default(passed)),
        tickets: tickets(&fields, out),
        versions,
        pairs: pairs.iter().map(|(pair, _)| pair.clone()).collect(),
        acme: acme::names(&fields, sets, out),
    };
    let subject = fields.text("subject_header", out).and_then(|given| subject(given, clients, out));
    if out.has_errors() {
        return None;
    }
    // Where a file was named, the complaint of it stands.
    let place = |wrong: &Wrong| match wrong.part {
        Part::Certificate(pair) => pairs[pair].1[0].clone(),
        Part::Key(pair) => pairs[pair].1[1].clone(),
        Part::Ca => client_ca.as_ref().and_then(|given| given.span.clone()),
        Part::Whole => Some(fields.span()),
    };
    let (marks, mut doubts) = (files.marks(), Vec::new());
    let content = files.read(&mut doubts);
    for doubt in &doubts {
        out.warning(place(doubt), doubt);
    }
    let made = content.and_then(|content| {
        let acceptor = files.acceptor(&content, &Issued::default())?;
        Ok((content, acceptor))
    });
    match made {
        Ok((content, acceptor)) => Some(ListenTls { files, marks, content, acceptor, subject }),
        Err(wrong) => {
            out.error(place(&wrong), wrong);
            None
        }
    }
}

/// Longest certificate chain of a client.
fn max_client_chain(fields: &Fields<'_>, clients: Clients, out: &mut Complaints) -> u32 {
    const NAME: &str = "max_client_chain";
    let given = fields.size(NAME, out);
    if let (Clients::Off, Some(given)) = (clients, &given) {
        let text = "`max_client_chain`: clients are not asked for certificates: add \
                    client_certificates = \"optional\" or \"required\"";
        out.error(given.span.clone(), text);
        return limits::TLS_CLIENT_CHAIN;
    }
    let max = chain(NAME, given, limits::TLS_CLIENT_CHAIN_RANGE, out);
    max.unwrap_or(limits::TLS_CLIENT_CHAIN)
}

/// Longest certificate chain of a peer, if it is given.
fn chain(
    name: &str,
    given: Option<Given<u64>>,
    [least, most]: [u32; 2],
    out: &mut Complaints,
) -> Option<u32> {
    let given = given?;
    let bytes = u32::try_from(given.value).ok().filter(|it| (least..=most).contains(it));
    if bytes.is_none() {
        let [least, most] = [least, most].map(|it| Size(it.into()));
        out.error(given.span, format_args!("`{name}` must be {least} to {most}"));
    }
    bytes
}

type Spans = [Option<std::ops::Range<usize>>; 2];

/// The entries of `certificates`, and where their files are named.
fn pairs(fields: &Fields<'_>, out: &mut Complaints) -> Vec<(KeyPair, Spans)> {
    if !fields.has("certificates") && !fields.has("acme") {
        fields.missing("certificates", out);
    }
    let mut pairs = Vec::new();
    for entry in fields.entries("certificates", &CERTIFICATE, out) {
        let table = match entry {
            Entry::Table(table) => table,
            Entry::Text(text) => {
                let remedy = "`certificates`: its key is missing: write { certificate = \"…\", key = \
                              \"…\" }";
                out.error(text.span, remedy);
                continue;
            }
        };
        let [certificate, key] = ["certificate", "key"].map(|name| {
            if !table.has(name) {
                table.missing(name, out);
            }
            table.text(name, out)
        });
        if let (Some(certificate), Some(key)) = (certificate, key) {
            let spans = [certificate.span, key.span];
            let pair = KeyPair {
                certificate: PathBuf::from(certificate.value),
                key: PathBuf::from(key.value),
            };
            pairs.push((pair, spans));
        }
    }
    pairs
}

fn versions(fields: &Fields<'_>, out: &mut Complaints) -> Versions {
    if !fields.has("versions") {
        return Versions::default();
    }
    let parse = |text: &str| match text {
        "1.2" => Ok(Versions { tls12: true, tls13: false }),
        "1.3" => Ok(Versions { tls12: false, tls13: true }),
        "1.0" | "1.1" => {
            Err("it is broken and not spoken any more (RFC 8996): leave it out".to_owned())
        }
        _ => Err("write \"1.2\" or \"1.3\"".to_owned()),
    };
    let given = fields.list("versions", parse, out);
    let none = Versions { tls12: false, tls13: false };
    given.iter().fold(none, |all, one| Versions {
        tls12: all.tls12 || one.value.tls12,
        tls13: all.tls13 || one.value.tls13,
    })
}

fn ciphers(fields: &Fields<'_>, versions: Versions, out: &mut Complaints) -> Vec<Cipher> {
    let names: Vec<String> = Cipher::all().map(Cipher::name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let parse = |text: &str| {
        let cipher = Cipher::named(text).ok_or_else(|| or_list("there are", &names, text))?;
        if cipher.is_of(versions) {
            return Ok(cipher);
        }
        Err("it is of a version that is not spoken: leave it out, or add that to `versions`"
            .to_owned())
    };
    fields.list("ciphers", parse, out).into_iter().map(|given| given.value).collect()
}

/// The protocols that are named, if any are; an empty list is one, too: none is spoken of then.
fn alpn(fields: &Fields<'_>, passed: bool, out: &mut Complaints) -> Option<Vec<Vec<u8>>> {
    if !fields.has("alpn") {
        return None;
    }
    let parse = |text: &str| match text {
        "h2" | "h3" if !passed => {
            Err("this version does not speak it: write \"http/1.1\"".to_owned())
        }
        _ if (1..=255).contains(&text.len()) => Ok(text.as_bytes().to_vec()),
        _ => Err("a protocol's name has 1 to 255 bytes".to_owned()),
    };
    Some(fields.any_list("alpn", parse, out).into_iter().map(|given| given.value).collect())
}

/// What is passed through may be anything: whoever offers its own protocol alone is not refused.
fn by_default(passed: bool) -> Vec<Vec<u8>> {
    if passed { Vec::new() } else { vec![HTTP.to_vec()] }
}

fn tickets(fields: &Fields<'_>, out: &mut Complaints) -> Option<Tickets> {
    if !fields.switch("tickets", out).unwrap_or(true) {
        return None;
    }
    match Tickets::new() {
        Ok(tickets) => Some(tickets),
        Err(error) => {
            out.error(Some(fields.span()), error);
            None
        }
    }
}

fn subject(given: Given<&str>, clients: Clients, out: &mut Complaints) -> Option<Arc<str>> {
    let own = |text: &str| own_field(text, "X-Client-Cert-Subject").map(Arc::from);
    let given = parsed("subject_header", given, own, out)?;
    if clients == Clients::Off {
        let text = "`subject_header`: clients are not asked for certificates: add \
                    client_certificates = \"optional\" or \"required\"";
        out.error(given.span, text);
        return None;
    }
    Some(given.value)
}

/// Reads `tls` of an `[[upstream]]`, if it is there.
pub(super) fn upstream(
    group: &Fields<'_>,
    servers: &[ServerDraft],
    out: &mut Complaints,
) -> Option<UpstreamTls> {
    let fields = group.table("tls", &UPSTREAM_TLS, out)?;
    let remedy = "cannot stand before TLS in this version: leave out one of `tls` and it";
    group.misplaced("proxy_protocol", remedy, out);
    let versions = versions(&fields, out);
    let name = fields.text("name", out);
    if let Some(given) = name.as_ref().filter(|given| !Connector::is_name(given.value)) {
        let text = format!("`name` = \"{}\": write a host's name or an IP address", given.value);
        out.error(given.span.clone(), text);
    }
    let verify = fields.switch("verify", out).unwrap_or(true);
    let nameless = servers.iter().find(|server| own_name(&server.at.value).is_none());
    if let Some(server) = nameless.filter(|_| name.is_none()) {
        let text = format!(
            "\"{}\" tells no name that a certificate could be for: add `name` to `tls`",
            server.at.value
        );
        out.error(server.at.span.clone(), text);
    }
    let ca = fields.text("ca", out);
    let pair = own_pair(&fields, out);
    // Whoever believes everybody reads no authorities, which is told below.
    let ca_path = ca.as_ref().filter(|_| verify).map(|given| PathBuf::from(given.value));
    let own = pair.as_ref().map(|(pair, _)| pair);
    let marks = FileSet::new(ServerFiles::paths(ca_path.as_ref(), own));
    // Not all listeners are known yet: what is passed through may be anything, h2, too.
    let alpn = alpn(&fields, true, out);
    let max_chain = fields.size("max_chain", out);
    let max_chain = chain("max_chain", max_chain, limits::TLS_SERVER_CHAIN_RANGE, out);
    let config = ConnectorConfig {
        trust: trust(ca, verify, &fields, out)?,
        max_chain: max_chain.unwrap_or(limits::TLS_SERVER_CHAIN),
        identity: pair.as_ref().and_then(|pair| own_identity(pair, out)),
        versions,
        sni: fields.switch("sni", out).unwrap_or(true),
        alpn: alpn.clone().unwrap_or_else(|| by_default(false)),
    };
    match Connector::new(config.clone()) {
        Ok(connector) => Some(UpstreamTls {
            connector,
            name: name.map(|given| given.value.into()),
            names_protocols: alpn.is_some(),
            files: ServerFiles { ca: ca_path, pair: pair.map(|(pair, _)| pair), config },
            marks,
        }),
        Err(error) => {
            out.error(Some(fields.span()), error);
            None
        }
    }
}

/// Whose certificates are believed.
fn trust(
    ca: Option<Given<&str>>,
    verify: bool,
    fields: &Fields<'_>,
    out: &mut Complaints,
) -> Option<Trust> {
    if !verify {
        if let Some(ca) = ca {
            let text = "`ca` is read by nobody where `verify` = false: leave out one of them";
            out.error(ca.span, text);
        }
        let text = "`verify` = false: whoever stands between may read and change everything: name \
                    the server's own certificate as `ca` instead";
        out.warning(Some(fields.span()), text);
        return Some(Trust::Anyone);
    }
    let Some(ca) = ca else {
        let of_system = Authorities::of_system();
        if of_system.is_empty() {
            let text = "`tls`: this system trusts nobody: install its certificates \
                        (ca-certificates), or name some as `ca`";
            out.error(Some(fields.span()), text);
        }
        return Some(Trust::Authorities(of_system));
    };
    match authorities(Path::new(ca.value)) {
        Ok(authorities) => Some(Trust::Authorities(authorities)),
        Err(wrong) => {
            out.error(ca.span, wrong);
            None
        }
    }
}

/// Files with what we show servers that ask who we are, and where they are named: certificate, key.
fn own_pair(fields: &Fields<'_>, out: &mut Complaints) -> Option<(KeyPair, [Span; 2])> {
    let [certificate, key] = ["certificate", "key"].map(|name| fields.text(name, out));
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let pair = KeyPair { certificate: certificate.value.into(), key: key.value.into() };
            Some((pair, [certificate.span, key.span]))
        }
        (None, None) => None,
        (Some(alone), None) => {
            out.error(alone.span, "`certificate`: its key is missing: add `key`");
            None
        }
        (None, Some(alone)) => {
            out.error(alone.span, "`key`: its certificate is missing: add `certificate`");
            None
        }
    }
}

/// What we show servers that ask who we are.
fn own_identity(
    (pair, spans): &(KeyPair, [Span; 2]),
    out: &mut Complaints,
) -> Option<Arc<Identity>> {
    match pair.load() {
        Ok(identity) => {
            if let Some(doubt) = pair.doubt(&identity) {
                out.warning(spans[0].clone(), doubt);
            }
            Some(Arc::new(identity))
        }
        Err(wrong) => {
            let place = usize::from(matches!(wrong.part, Part::Key(_)));
            out.error(spans[place].clone(), wrong);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_text;
    use crate::certificates::tests::Files;
    use crate::settings::{Machine, Settings};

    const MACHINE: Machine = Machine { descriptors: 20_000, cores: 2 };

    #[test]
    fn a_chain_is_as_long_as_is_said_within_bounds() {
        let files = Files::new("chains");
        let read = |listen: &str, upstream: &str| -> Result<Settings, String> {
            let content = format!(
                "[[listen]]\naddress = \":8080\"\n{}\n[[upstream]]\nservers = [\"127.0.0.1:9\"]\n\
                 tls = {{ verify = false{upstream} }}\n",
                files.tls(listen)
            );
            check_text("a.toml", &content, MACHINE).map(|configured| configured.settings)
        };
        let asked = ", client_certificates = \"optional\", client_ca = \"{ca}\"";
        let of = |chain: &str| format!("{asked}, max_client_chain = {chain}");
        for (listen, upstream, expected) in [
            (asked.to_owned(), "", [8 << 10, 16 << 10]),
            (of("\"1KiB\""), ", max_chain = 1024", [1 << 10, 1 << 10]),
            (of("\"15KiB\""), ", max_chain = \"64KiB\"", [15 << 10, 64 << 10]),
        ] {
            let settings = read(&listen, upstream).unwrap();
            let found = [
                settings.listeners[0].tls.as_ref().unwrap().files.max_client_chain,
                settings.groups[0].tls.as_ref().unwrap().files.config.max_chain,
            ];
            assert_eq!(found, expected, "{listen} {upstream}");
        }
        let bounds = "`max_client_chain` must be 1 KiB to 15 KiB";
        for (listen, upstream, says) in [
            (of("1023"), "", bounds),
            (of("\"16KiB\""), "", bounds),
            (of("\"8GiB\""), "", bounds),
            (of("\"8k\""), "", "`max_client_chain` = \"8k\": write a whole number and B, KiB"),
            (", max_client_chain = \"8KiB\"".to_owned(), "", "clients are not asked for"),
            (String::new(), ", max_chain = 1000", "`max_chain` must be 1 KiB to 64 KiB"),
            (String::new(), ", max_chain = \"65KiB\"", "`max_chain` must be 1 KiB to 64 KiB"),
            (String::new(), ", max_client_chain = \"8KiB\"", "unknown key `max_client_chain`"),
            (String::new(), ", ca = \"a.pem\"", "`ca` is read by nobody where `verify` = false"),
        ] {
            let said = read(&listen, upstream).unwrap_err();
            let line = if upstream.is_empty() { 3 } else { 6 };
            assert!(said.starts_with(&format!("a.toml:{line}:")) && said.contains(says), "{said}");
        }
    }

    /// One file may be named several times: the complaint stands where it is not what it should be.
    #[test]
    fn a_wrong_file_is_told_as_what_it_was_named() {
        let files = Files::new("wrong-files");
        let [a, key] = ["a.pem", "a.key"].map(|name| files.path(name));
        let der = files.write("der", b"\x30\x82\x01\xff\x30\x82\x01\xa5");
        let none = files.write("none", b"");
        for (pairs, ca, says) in [
            (
                [[&a, &key], [&a, &a]],
                &a,
                ":11:7: error: \"{}\": there is no private key in it, but a certificate",
            ),
            (
                [[&a, &key], [&der, &key]],
                &a,
                ":10:15: error: \"{}\": there is no certificate in it as text",
            ),
            (
                [[&key, &a], [&a, &key]],
                &a,
                ":7:15: error: \"{}\": there is no certificate in it, but a private key",
            ),
            (
                [[&a, &key], [&a, &key]],
                &key,
                ":5:13: error: \"{}\": there is no certificate in it, but a private key",
            ),
            (
                [[&a, &key], [&a, &key]],
                &none,
                ":5:13: error: \"{}\": there is no certificate in it: it must",
            ),
        ] {
            let pair = |[certificate, key]: [&String; 2]| {
                format!(
                    "[[listen.tls.certificates]]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"
                )
            };
            let content = format!(
                "[[listen]]\naddress = \":8443\"\n[listen.tls]\nclient_certificates = \"required\"\n\
                 client_ca = \"{ca}\"\n{}{}[[upstream]]\nservers = [\"127.0.0.1:9000\"]\n",
                pair(pairs[0]),
                pair(pairs[1])
            );
            let said = check_text("a.toml", &content, MACHINE).unwrap_err();
            let told =
                |(before, after): (&str, &str)| said.contains(before) && said.contains(after);
            assert!(told(says.split_once("{}").unwrap()), "{content}\n{said}");
        }
    }

    #[test]
    fn what_is_passed_through_is_offered_as_nothing_unless_that_is_named() {
        for (proxy, alpn, offered) in [
            ("http", "", &["http/1.1"][..]),
            ("http", ", alpn = []", &[]),
            ("pass", "", &[]),
            ("pass", ", alpn = []", &[]),
            ("pass", ", alpn = [\"mqtt\", \"h2\"]", &["mqtt", "h2"]),
        ] {
            let content = format!(
                "[[listen]]\naddress = \":8080\"\nproxy = \"{proxy}\"\n[[upstream]]\n\
                 servers = [\"127.0.0.1:9000\"]\ntls = {{ verify = false{alpn} }}\n"
            );
            let settings = check_text("a.toml", &content, MACHINE).unwrap().settings;
            let found = &settings.groups[0].tls.as_ref().unwrap().files.config.alpn;
            let offered: Vec<Vec<u8>> =
                offered.iter().map(|name| name.as_bytes().to_vec()).collect();
            assert_eq!(*found, offered, "{content}");
        }
    }
}

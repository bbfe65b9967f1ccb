//! `acme`: whom to ask for certificates; and `acme` of a listener's `tls`: the names they are for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::limits;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use control::acme::{Authority, External, Proof};

use super::fields::{Fields, Names};
use super::schema::Preset::{Default, Unset};
use super::schema::{Section, key, quoted, time};
use crate::acme::AcmeSettings;
use crate::quantity::Length;
use crate::settings::{Complaints, Given, ListenDraft};

/// Whom, unless told.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Where files are kept, unless told.
const DIR: &str = "/var/lib/anteroom/acme";

/// `acme`.
pub(crate) static ACME: Section = Section {
    title: "[acme]",
    keys: &[
        key(
            "directory",
            Default(|| quoted(DIRECTORY)),
            "The certificate authority: the address of its directory.",
        ),
        key(
            "terms_agreed",
            Default(|| false.to_string()),
            "Whether you agree to the authority's terms; without, it issues nothing.",
        ),
        key(
            "email",
            Unset { example: "\"you@example.org\"", means: "it cannot write to you" },
            "Where the authority may write to.",
        ),
        key("dir", Default(|| quoted(DIR)), "Where account, certificates and keys are kept."),
        key(
            "challenge",
            Unset {
                example: "\"http-01\"",
                means: "http-01 where plain HTTP is spoken, and tls-alpn-01 if that fails",
            },
            "How names are proved to be ours: http-01 (port 80) or tls-alpn-01 (port 443).",
        ),
        key(
            "ca",
            Unset { example: "\"ca.pem\"", means: "those of the system" },
            "Whom the authority's own certificate must come from.",
        ),
        key(
            "external_id",
            Unset { example: "\"kid-1\"", means: "none is needed" },
            "Your account with the authority, if it asks for one (external account binding).",
        ),
        key(
            "external_key",
            Unset { example: "\"external.key\"", means: "none is needed" },
            "A file with that account's key, in base64.",
        ),
        key(
            "retry_min",
            Default(|| time(limits::ACME_RETRY[0])),
            "The first pause after a failure; it doubles.",
        ),
        key("retry_max", Default(|| time(limits::ACME_RETRY[1])), "The longest."),
    ],
};

const PROOFS: [(&str, Proof); 2] = [("http-01", Proof::Http01), ("tls-alpn-01", Proof::TlsAlpn01)];

/// The certificates that listeners want: each a set of names. A set that two of them want is one.
#[derive(Debug, std::default::Default)]
pub(super) struct Sets {
    sets: Vec<Vec<String>>,
    /// Where the first of them stands.
    first: Option<Given<()>>,
}

/// Reads the names of a listener: the places of its certificates.
pub(super) fn names(tls: &Fields<'_>, sets: &mut Sets, out: &mut Complaints) -> Vec<usize> {
    let mut places = Vec::new();
    for entry in tls.sets("acme", out) {
        let place = set(entry, sets, out);
        places.extend(place.filter(|place| !places.contains(place)));
    }
    places
}

fn set(entry: Names<'_>, sets: &mut Sets, out: &mut Complaints) -> Option<usize> {
    if entry.names.len() > limits::ACME_NAMES_MAX {
        let most = limits::ACME_NAMES_MAX;
        let text = format!("`acme`: a certificate has at most {most} names: divide them");
        out.error(entry.span.clone(), text);
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    for given in entry.names {
        let name = given.value.to_ascii_lowercase();
        if let Err(remedy) = check_name(&name) {
            out.error(given.span, format!("`acme`: \"{}\": {remedy}", given.value));
            return None;
        }
        if names.contains(&name) {
            let text = format!("`acme` names \"{name}\" twice for one certificate: leave one out");
            out.error(given.span, text);
            return None;
        }
        names.push(name);
    }
    let same = |known: &Vec<String>| {
        known.len() == names.len() && names.iter().all(|name| known.contains(name))
    };
    if let Some(place) = sets.sets.iter().position(same) {
        return Some(place);
    }
    if sets.sets.len() == limits::ACME_CERTIFICATES_MAX {
        let most = limits::ACME_CERTIFICATES_MAX;
        let text = format!("`acme`: at most {most} certificates are kept: put names together");
        out.error(entry.span, text);
        return None;
    }
    sets.first.get_or_insert(Given { value: (), span: entry.span });
    sets.sets.push(names);
    Some(sets.sets.len() - 1)
}

/// A host's name that an authority can look at.
fn check_name(name: &str) -> Result<(), &'static str> {
    if name.starts_with("*.") {
        return Err("a name with * is proved in the DNS, which this version cannot do: name each \
                    host, or have the certificate from elsewhere");
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Err("this is an address: write a host's name, as in \"www.example.org\"");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(plain);
    if (1..=253).contains(&name.len()) && name.split('.').all(label) {
        return Ok(());
    }
    Err(
        "write a host's name, as in \"www.example.org\"; one with other letters in its ASCII form, \
         as in \"xn--bcher-kva.example\"",
    )
}

/// Reads `acme`; nothing, where no listener wants a certificate.
pub(super) fn read(
    file: &Fields<'_>,
    sets: Sets,
    listeners: &[ListenDraft],
    out: &mut Complaints,
) -> Option<AcmeSettings> {
    let table = file.table("acme", &ACME, out);
    let read = table.as_ref().map(|table| authority(table, out));
    let wanted = sets.first?;
    let Some((table, (authority, dir, challenge))) = table.zip(read) else {
        if !file.has("acme") {
            let text = "certificates are wanted, and nobody is told to be asked: read the terms of \
                        an authority (Let's Encrypt by default), then add acme = { terms_agreed = \
                        true, email = \"you@example.org\" } at the top of the file";
            out.error(wanted.span, text);
        }
        return None;
    };
    if table.switch("terms_agreed", out) != Some(true) {
        let text = "`acme`: an authority issues nothing unless you agree to its terms: read them, \
                    then write terms_agreed = true";
        out.error(Some(table.span()), text);
    }
    let plain = listeners.iter().any(|it| it.tls.is_none() && it.passing.is_none());
    let proofs = match challenge {
        Some(given) if given.value == Proof::Http01 && !plain => {
            let text = "`challenge` = \"http-01\": the authority comes by plain HTTP, and no \
                        [[listen]] speaks it: add one at port 80, or write \"tls-alpn-01\"";
            out.error(given.span, text);
            vec![given.value]
        }
        Some(given) => vec![given.value],
        None if plain => vec![Proof::Http01, Proof::TlsAlpn01],
        None => vec![Proof::TlsAlpn01],
    };
    Some(AcmeSettings { authority, dir, sets: sets.sets, proofs })
}

type Asked = (Authority, PathBuf, Option<Given<Proof>>);

fn authority(table: &Fields<'_>, out: &mut Complaints) -> Asked {
    let directory = table.parsed("directory", directory, out);
    let email = table.parsed("email", email, out);
    let ca = table.parsed("ca", ca, out);
    let retry = retry(table, out);
    let authority = Authority {
        directory: directory.map_or_else(|| DIRECTORY.to_owned(), |given| given.value),
        email: email.map(|given| given.value),
        ca: ca.map(|given| given.value),
        external: external(table, out),
        retry,
    };
    let dir = table.parsed("dir", dir, out).map_or_else(|| DIR.into(), |given| given.value);
    (authority, dir, table.choice("challenge", &PROOFS, out))
}

fn directory(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://");
    let whole = rest.is_some_and(|rest| {
        !rest.is_empty() && rest.len() <= 2048 && rest.bytes().all(|byte| byte.is_ascii_graphic())
    });
    if whole && text.parse::<hyper::Uri>().is_ok_and(|uri| uri.host().is_some()) {
        return Ok(text.to_owned());
    }
    Err(format!("write the https:// address of a directory, as in {DIRECTORY}"))
}

fn email(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '?' | '%' | ':' | '<' | '>');
    let parts = text.split_once('@').filter(|(user, host)| !user.is_empty() && !host.is_empty());
    if parts.is_some() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("write an address, as in you@example.org".to_owned())
}

fn dir(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err(format!("name a directory, as in {DIR}"));
    }
    Ok(text.into())
}

fn ca(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    // Said as it is of any file of certificates.
    crate::certificates::authorities(path).map_err(|wrong| wrong.why)?;
    Ok(path.to_owned())
}

fn retry(table: &Fields<'_>, out: &mut Complaints) -> [Duration; 2] {
    let [least, most] = limits::ACME_RETRY;
    let least_given = table.duration("retry_min", out);
    let most_given = table.duration("retry_max", out);
    let retry = [least_given.unwrap_or(least), most_given.unwrap_or(most)];
    if retry[0] > retry[1] {
        let text = format!(
            "`acme`: the pauses after failures cannot grow from {} to {}: lower `retry_min`, or raise \
             `retry_max`",
            Length(retry[0]),
            Length(retry[1])
        );
        out.error(Some(table.span()), text);
    }
    retry
}

/// The account that one has with the authority already.
fn external(table: &Fields<'_>, out: &mut Complaints) -> Option<External> {
    let id = table.text("external_id", out);
    let key = table.parsed("external_key", external_key, out);
    for (given, other) in [("external_id", "external_key"), ("external_key", "external_id")] {
        if table.has(given) && !table.has(other) {
            table.missing(other, out);
        }
    }
    Some(External { id: id?.value.to_owned(), key: key?.value })
}

fn external_key(path: &str) -> Result<Vec<u8>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let text = text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
    let key = BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|key| !key.is_empty());
    key.ok_or_else(|| "it does not hold a key in base64, as the authority gave it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check_text;
    use crate::settings::{Machine, Settings};

    /// A file with these lines in `acme` and in `tls`, in lines 2 and 6.
    fn checked(acme: &str, tls: &str, plain: bool) -> Result<Settings, String> {
        let plain = if plain { "[[listen]]\naddress = \":80\"\n" } else { "" };
        let text = format!(
            "[acme]\n{acme}\n[[listen]]\naddress = \":443\"\n[listen.tls]\n{tls}\n{plain}\
             [[upstream]]\nservers = [\"127.0.0.1:9000\"]\n"
        );
        let machine = Machine { descriptors: 20_000, cores: 2 };
        check_text("a.toml", &text, machine).map(|configured| configured.settings)
    }

    const AGREED: &str = "terms_agreed = true";

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let one = "acme = [\"a.example\"]";
        let many = format!("acme = [[{}]]", "\"a.example\", ".repeat(101));
        for (acme, tls, place, says) in [
            ("", one, "1:1", "terms_agreed = true"),
            ("terms_agreed = false", one, "1:1", "agree to its terms"),
            ("directory = \"http://ca.example/dir\"", one, "2:13", "https:// address"),
            ("directory = \"https://\"", one, "2:13", "https:// address"),
            ("directory = \"https://a b/\"", one, "2:13", "https:// address"),
            ("email = \"nobody\"", one, "2:9", "you@example.org"),
            ("email = \"a@b,c@d\"", one, "2:9", "you@example.org"),
            ("dir = \"\"", one, "2:7", "name a directory"),
            ("ca = \"/nowhere/ca.pem\"", one, "2:6", "no such file"),
            ("challenge = \"dns-01\"", one, "2:13", "http-01"),
            ("challenge = \"http-01\"\nterms_agreed = true", one, "2:13", "add one at port 80"),
            ("external_id = \"a\"", one, "1:1", "has no `external_key`"),
            ("external_key = \"/nowhere/key\"", one, "2:16", "cannot be read"),
            ("retry_min = \"2h\"\nretry_max = \"1h\"", one, "1:1", "raise `retry_max`"),
            (AGREED, "acme = \"a.example\"", "6:8", "a list of texts"),
            (AGREED, "acme = []", "6:8", "name at least one"),
            (AGREED, "acme = [[]]", "6:9", "name at least one"),
            (AGREED, "acme = [1]", "6:9", "texts in quotes"),
            (AGREED, "acme = [\"*.a.example\"]", "6:9", "proved in the DNS"),
            (AGREED, "acme = [\"127.0.0.1\"]", "6:9", "this is an address"),
            (AGREED, "acme = [\"b\u{fc}cher.example\"]", "6:9", "ASCII form"),
            (AGREED, "acme = [\"a..example\"]", "6:9", "write a host's name"),
            (AGREED, "acme = [[\"a.example\", \"A.example\"]]", "6:23", "twice"),
            (AGREED, &*many, "6:9", "at most 100 names"),
        ] {
            let said = checked(acme, tls, false).unwrap_err();
            assert!(said.contains(&format!("a.toml:{place}: error: ")), "{acme} {tls}: {said}");
            assert!(said.contains(says), "{acme} {tls}: {said}");
        }
    }

    #[test]
    fn who_is_to_be_asked_must_be_said() {
        let text = "[[listen]]\naddress = \":443\"\ntls = { acme = [\"a.example\"] }\n\
                    [[upstream]]\nservers = [\"127.0.0.1:9000\"]\n";
        let machine = Machine { descriptors: 20_000, cores: 2 };
        let said = check_text("a.toml", text, machine).unwrap_err();
        assert!(
            said.contains("a.toml:3:17: error: ") && said.contains("then add acme = "),
            "{said}"
        );
    }

    #[test]
    fn names_become_certificates_and_proofs_what_can_be_given() {
        let tls = "acme = [\"A.example\", [\"b.example\", \"www.b.example\"], \"a.example\"]";
        let both = vec![Proof::Http01, Proof::TlsAlpn01];
        for (acme, plain, proofs) in [
            ("", true, both),
            ("", false, vec![Proof::TlsAlpn01]),
            ("challenge = \"tls-alpn-01\"", true, vec![Proof::TlsAlpn01]),
            ("challenge = \"http-01\"", true, vec![Proof::Http01]),
        ] {
            let settings = checked(&format!("{AGREED}\n{acme}"), tls, plain).unwrap();
            let acme = settings.acme.unwrap();
            assert_eq!(acme.proofs, proofs);
            assert_eq!(acme.sets, [vec!["a.example"], vec!["b.example", "www.b.example"]]);
            let listens = settings.listeners.iter().find_map(|listen| listen.tls.as_ref());
            assert_eq!(listens.unwrap().files.acme, [0, 1]);
            assert_eq!(acme.authority.directory, DIRECTORY);
            assert_eq!(acme.dir, Path::new(DIR));
        }
    }

    #[test]
    fn nobody_is_asked_for_nothing() {
        let text = "[acme]\n[[listen]]\naddress = \":80\"\n[[upstream]]\n\
                    servers = [\"127.0.0.1:9000\"]\n";
        let machine = Machine { descriptors: 20_000, cores: 2 };
        assert!(check_text("a.toml", text, machine).unwrap().settings.acme.is_none());
    }
}

//! Entries of lists: addresses and networks, and files of them.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use base::limits;
use proxies::security::{IpNet, canonical};

use crate::content::{Unread, content};

/// What `all` stands for.
const ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// What some editors put before the first line of a file in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads one entry: an address, a network, or `all`.
///
/// # Errors
/// What would be right.
pub(crate) fn parse(text: &str, nets: &mut Vec<IpNet>) -> Result<(), String> {
    let wrong = || {
        "write an address or a network, as in 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32, or all"
            .to_owned()
    };
    if text == "all" {
        nets.extend(ALL.iter().filter_map(|net| net.parse::<IpNet>().ok()));
        return Ok(());
    }
    nets.push(canonical(network(text).ok_or_else(wrong)?));
    Ok(())
}

/// An address, with a prefix or without. An address is what the standard library takes for one: to
/// others, `010.0.0.0` is `8.0.0.0`.
fn network(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(it, of)| (it, Some(of)));
    let address: IpAddr = address.parse().ok()?;
    let Some(prefix) = prefix else { return Some(IpNet::from(address)) };
    let digits = prefix.len() <= 3 && prefix.bytes().all(|byte| byte.is_ascii_digit());
    IpNet::new(address, prefix.parse().ok().filter(|_| digits)?).ok()
}

/// Reads a file of entries, one a line; what stands behind `#` or `;` is a comment.
///
/// # Errors
/// With file, line and remedy.
pub(crate) fn read(path: &Path, nets: &mut Vec<IpNet>) -> Result<(), Unread> {
    let name = path.display();
    let wrong = |unread: Unread| Unread { why: format!("{name}: {unread}"), ..unread };
    let content = content(path, limits::LIST_FILE_BYTES).map_err(wrong)?;
    parse_all(&name, &content, nets)
}

/// Reads what stands in a file of that name.
///
/// # Errors
/// With file, line and remedy.
pub(crate) fn parse_all(
    name: &impl fmt::Display,
    content: &[u8],
    nets: &mut Vec<IpNet>,
) -> Result<(), Unread> {
    let content = content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content);
    for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        let entry = line.split(|byte| matches!(byte, b'#' | b';')).next().unwrap_or_default();
        let entry = String::from_utf8_lossy(entry.trim_ascii());
        if entry.is_empty() {
            continue;
        }
        if nets.len() >= limits::LIST_ENTRIES {
            let most = limits::LIST_ENTRIES;
            return Err(format!(
                "{name}:{number}: more than {most} entries: join networks beside each other"
            )
            .into());
        }
        parse(&entry, nets).map_err(|remedy| {
            // What cannot be seen is written as an escape: it may be what is wrong.
            let shown: String = entry.escape_debug().take(60).collect();
            Unread::from(format!("{name}:{number}: `{shown}`: {remedy}"))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<String>, String> {
        let mut nets = Vec::new();
        parse(text, &mut nets).map(|()| nets.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn entries_are_addresses_and_networks() {
        for (text, nets) in [
            ("192.0.2.1", &["192.0.2.1/32"][..]),
            ("10.0.0.0/8", &["10.0.0.0/8"]),
            ("10.1.2.3/8", &["10.0.0.0/8"]),
            ("::1", &["::1/128"]),
            ("2001:DB8::/32", &["2001:db8::/32"]),
            ("::ffff:10.0.0.0/104", &["10.0.0.0/8"]),
            ("all", &["0.0.0.0/0", "::/0"]),
        ] {
            assert_eq!(parsed(text).unwrap(), nets, "{text}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "010.0.0.0/8",
            "010.0.0.0",
            "1:2:3:4:5:6:7:00008/128",
            "::/129",
            "ALL",
            "a.example",
            "[::1]",
            "1.2.3.4 ",
        ] {
            assert!(parsed(text).unwrap_err().contains("10.0.0.0/8"), "{text}");
        }
    }

    #[test]
    fn a_file_has_an_entry_a_line_and_names_the_line_that_is_wrong() {
        let path = std::env::temp_dir().join(format!("anteroom-{}-entries", std::process::id()));
        let file = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            let mut nets = Vec::new();
            read(&path, &mut nets).map(|()| nets.len())
        };
        assert_eq!(file(b""), Ok(0));
        assert_eq!(file(b"# head\r\n\r\n10.0.0.0/8 ; SBL1\r\n\t::1\t# us\n192.0.2.1"), Ok(3));
        let error = file(b"10.0.0.0/8\n\ndeny 1.2.3.4;\n").unwrap_err().to_string();
        assert!(error.contains("-entries:3: `deny 1.2.3.4`: write"), "{error}");
        assert_eq!(file(b"\xef\xbb\xbf10.0.0.0/8\r\n"), Ok(1), "as an editor may save it");
        // Nothing goes to a terminal as it came, and nothing that is wrong stays unseen.
        for (content, shown) in [
            (&b"\xff\x1b[2J"[..], "`\u{fffd}\\u{1b}[2J`"),
            (b"10.0.0.1\0", "`10.0.0.1\\0`"),
            (b"10.0.0.1\xe2\x80\x8b", "`10.0.0.1\\u{200b}`"),
        ] {
            let error = file(content).unwrap_err().to_string();
            assert!(error.contains(&format!("-entries:1: {shown}: write")), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        let unread = |path: &str| read(Path::new(path), &mut Vec::new()).unwrap_err();
        let told = |path: &str| unread(path).to_string();
        assert!(told("/nowhere/at/all").contains("create it"));
        assert!(told("/").contains("no file") && told("/dev/zero").contains("no file"));
        // A file that is there, and cannot be read now.
        assert!(unread("/proc/self/mem").passes && !unread("/nowhere/at/all").passes);
    }
}

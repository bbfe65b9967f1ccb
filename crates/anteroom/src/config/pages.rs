//! Error pages: read at start, so that a missing file is found then and not by a client.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use exchange::{ErrorPages, PAGE_MAX, PageType};

use super::fields::Fields;
use super::schema::ERROR_PAGES;
use crate::quantity::Size;
use crate::settings::Complaints;

/// Reads every page that `fields` name.
pub(crate) fn read(fields: &Fields<'_>, complaints: &mut Complaints) -> ErrorPages {
    let mut pages = ErrorPages::default();
    for key in ERROR_PAGES.keys {
        let Some(given) = fields.text(key.name, complaints) else { continue };
        let status = key.name.parse().unwrap_or(0);
        let read = page(Path::new(given.value)).and_then(|(of, body)| {
            pages.set(status, of, body.as_bytes()).map_err(|error| error.to_string())
        });
        if let Err(remedy) = read {
            let text = format!("{} = \"{}\": {remedy}", key.name, given.value);
            complaints.error(given.span, text);
        }
    }
    pages
}

/// One page, or what is wrong with it and the remedy.
fn page(path: &Path) -> Result<(PageType, String), String> {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    let of = match ending.to_str() {
        Some("html" | "htm") => PageType::Html,
        Some("txt") => PageType::Plain,
        _ => return Err("name a file that ends in .html, .htm or .txt".to_owned()),
    };
    let body = content(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file: create it, or leave it out".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be read: change its mode".to_owned(),
        io::ErrorKind::IsADirectory => "this is no file: name one".to_owned(),
        _ => format!("it cannot be read: {error}"),
    })?;
    if body.len() > PAGE_MAX {
        let most = Size(PAGE_MAX as u64);
        return Err(format!("it is too long: at most {most} are sent; shorten it"));
    }
    let text = String::from_utf8(body).ok().filter(|text| !text.contains('\0'));
    text.map(|text| (of, text)).ok_or_else(|| "it is no text: save it in UTF-8".to_owned())
}

/// What stands in it, one byte beyond the bound at most.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would be waited for.
    if !path.metadata()?.is_file() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut body = Vec::new();
    File::open(path)?.take(PAGE_MAX as u64 + 1).read_to_end(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_ours_may_have_a_page_and_no_other() {
        let mut ours: Vec<String> = exchange::Refusal::ALL
            .iter()
            .map(|refusal| refusal.status())
            .filter(|status| *status >= 400)
            .map(|status| status.to_string())
            .collect();
        ours.sort();
        ours.dedup();
        let keys: Vec<&str> = ERROR_PAGES.keys.iter().map(|key| key.name).collect();
        assert_eq!(keys, ours);
    }

    #[test]
    fn a_page_is_text_of_bounded_length() {
        let folder = std::env::temp_dir().join(format!("anteroom-{}-pages", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, body: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, body).unwrap();
            page(&path)
        };
        assert_eq!(file("a.html", "<p>é".as_bytes()), Ok((PageType::Html, "<p>é".to_owned())));
        assert_eq!(file("a.HTM", b""), Ok((PageType::Html, String::new())));
        assert_eq!(file("a.txt", &vec![b'a'; PAGE_MAX]).unwrap().0, PageType::Plain);
        for (name, body, says) in [
            ("a.png", &b""[..], ".html, .htm or .txt"),
            ("b.html", &vec![b'a'; PAGE_MAX + 1], "at most 32 KiB"),
            ("c.html", b"\xff\xfe", "save it in UTF-8"),
            ("d.html", b"a\0b", "no text"),
        ] {
            let error = file(name, body).unwrap_err();
            assert!(error.contains(says), "{name}: {error}");
        }
        let error = page(&folder.join("none.html")).unwrap_err();
        assert!(error.contains("create it"), "{error}");
        std::fs::create_dir_all(folder.join("e.html")).unwrap();
        assert!(page(&folder.join("e.html")).unwrap_err().contains("no file"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}

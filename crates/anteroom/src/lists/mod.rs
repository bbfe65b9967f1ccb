//! Lists of addresses that may connect or may not: read from the configuration and from files, and
//! read again when those change.

mod entries;
mod watch;

use std::path::Path;
use std::sync::Arc;

use control::FileSet;
use proxies::security::{AccessList, IpNet, Verdict};
use worker::Balancers;

use crate::content::Unread;

pub(crate) use entries::{parse, parse_all};
pub(crate) use watch::Lists;

/// The lists of a listener as they are asked for. Without either, every address may connect; with
/// `allow` those in it alone, but for what `deny` takes out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) allow: Option<Sources>,
    pub(crate) deny: Option<Sources>,
}

/// What a listener asks of those who come, read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Screened {
    pub(crate) asked: Asked,
    /// The files they stand in, as they were when they were read.
    pub(crate) files: Option<FileSet>,
    /// The verdicts; none if every address may connect.
    pub(crate) list: Option<Arc<AccessList>>,
    /// Whose PROXY headers are believed.
    pub(crate) balancers: Option<Arc<Balancers>>,
    /// Whose word counts about whom requests are from.
    pub(crate) trusted: Option<Arc<Balancers>>,
    /// Fields that are removed from requests, with commas between them.
    pub(crate) removed: Arc<str>,
}

/// Where the entries of a list stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    pub(crate) nets: Vec<IpNet>,
    pub(crate) files: Vec<Arc<Path>>,
}

impl Asked {
    /// Whether anything is asked for.
    pub(crate) const fn is_nothing(&self) -> bool {
        self.allow.is_none() && self.deny.is_none()
    }

    /// The files it stands in, as they are now.
    pub(crate) fn files(&self) -> FileSet {
        let sources = [&self.allow, &self.deny].into_iter().flatten();
        FileSet::new(sources.flat_map(|it| &it.files).map(|path| path.to_path_buf()))
    }

    /// Reads the files.
    ///
    /// # Errors
    /// With file, line and remedy.
    pub(crate) fn read(&self) -> Result<AccessList, Unread> {
        let mut entries: Vec<(IpNet, Verdict)> = Vec::new();
        for (sources, verdict) in [(&self.allow, Verdict::Allow), (&self.deny, Verdict::Deny)] {
            let Some(sources) = sources else { continue };
            let mut nets = sources.nets.clone();
            for file in &sources.files {
                entries::read(file, &mut nets)?;
            }
            entries.extend(nets.into_iter().map(|net| (net, verdict)));
        }
        let most = base::limits::LIST_ENTRIES;
        if entries.len() > most {
            return Err(format!(
                "more than {most} entries in all: join networks beside each other"
            )
            .into());
        }
        let otherwise = if self.allow.is_some() { Verdict::Deny } else { Verdict::Allow };
        Ok(AccessList::new(&entries, otherwise))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(texts: &[&str]) -> Sources {
        let mut nets = Vec::new();
        for text in texts {
            parse(text, &mut nets).unwrap();
        }
        Sources { nets, files: Vec::new() }
    }

    #[test]
    fn with_allow_everybody_else_is_denied() {
        let (office, guest) = ("192.0.2.7".parse().unwrap(), "198.51.100.1".parse().unwrap());
        let asked = |allow, deny| Asked { allow, deny }.read().unwrap();
        let allowed = asked(Some(sources(&["192.0.2.0/24"])), None);
        assert_eq!(
            (allowed.verdict(office), allowed.verdict(guest)),
            (Verdict::Allow, Verdict::Deny)
        );
        let denied = asked(None, Some(sources(&["192.0.2.0/24"])));
        assert_eq!(
            (denied.verdict(office), denied.verdict(guest)),
            (Verdict::Deny, Verdict::Allow)
        );
        // As nginx's users write it.
        let both = asked(Some(sources(&["192.0.2.0/24"])), Some(sources(&["192.0.2.7", "all"])));
        assert_eq!((both.verdict(office), both.verdict(guest)), (Verdict::Deny, Verdict::Deny));
        assert_eq!(both.verdict("192.0.2.8".parse().unwrap()), Verdict::Allow);
    }

    #[test]
    fn files_are_read_each_time() {
        let path = std::env::temp_dir().join(format!("anteroom-{}-lists", std::process::id()));
        let files = vec![Arc::from(path.as_path())];
        let asked = Asked { deny: Some(Sources { files, ..Sources::default() }), allow: None };
        let address = "10.1.1.1".parse().unwrap();
        for (content, verdict) in [("", Verdict::Allow), ("10.0.0.0/8\n", Verdict::Deny)] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(asked.read().unwrap().verdict(address), verdict);
        }
        std::fs::write(&path, "10.0.0.0/8\n10.0.0.0/33\n").unwrap();
        let error = asked.read().unwrap_err().to_string();
        assert!(error.contains("-lists:2: `10.0.0.0/33`: "), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(asked.read().unwrap_err().to_string().contains("no such file"));
    }
}

//! What is wrong with what was asked for: where it was written, and the remedy.

use std::fmt;
use std::ops::Range;

/// How what is wanted was written: that is how it is spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    /// As flags of the command line.
    Flags,
    /// As keys of a file.
    Keys,
}

/// One thing that can be set, in both tongues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    flag: &'static str,
    key: &'static str,
}

impl Word {
    const fn new(flag: &'static str, key: &'static str) -> Self {
        Self { flag, key }
    }

    pub(crate) const LISTEN: Self = Self::new("--listen", "listen");
    pub(crate) const SERVER: Self = Self::new("--upstream", "servers");
    pub(crate) const CONNECTIONS: Self = Self::new("--connections", "connections");
    pub(crate) const MEMORY: Self = Self::new("--memory", "memory");
    pub(crate) const BUFFER: Self = Self::new("--buffer", "buffer");
    pub(crate) const MAX_CLIENTS: Self = Self::new("--max-clients", "max_clients");
    pub(crate) const WORKERS: Self = Self::new("--workers", "workers");
    pub(crate) const IO: Self = Self::new("--io", "io");
    pub(crate) const EXCHANGE_MEMORY: Self = Self::new("--exchange-memory", "exchange_memory");
    pub(crate) const MAX_HEAD: Self = Self::new("--max-head", "max_head");
    pub(crate) const MAX_BODY: Self = Self::new("--max-body", "max_body");
    pub(crate) const MAX_TARGET: Self = Self::new("--max-target", "max_target");
    pub(crate) const AT_LIMIT: Self = Self::new("--at-limit", "at_limit");
    pub(crate) const SPOOL_DIR: Self = Self::new("--spool", "spool.dir");
    pub(crate) const SPOOL_SIZE: Self = Self::new("--spool-size", "spool.size");
    pub(crate) const SPOOL_PER_EXCHANGE: Self =
        Self::new("--spool-per-exchange", "spool.per_exchange");
    pub(crate) const SPOOL_PER_ADDRESS: Self =
        Self::new("--spool-per-address", "spool.per_address");
    pub(crate) const USER: Self = Self::new("--user", "user");
    pub(crate) const GROUP: Self = Self::new("--group", "group");
    pub(crate) const ACCESS_LOG: Self = Self::new("--access-log", "log.access");
    pub(crate) const EVENTS: Self = Self::new("--events", "log.events");
    pub(crate) const LOG_BUFFER: Self = Self::new("--log-buffer", "log.buffer");
    pub(crate) const LOG_LINE: Self = Self::new("--log-line", "log.line");
}

impl Tongue {
    /// Names a thing.
    pub(crate) const fn name(self, word: Word) -> &'static str {
        match self {
            Self::Flags => word.flag,
            Self::Keys => word.key,
        }
    }

    /// A text as a value.
    pub(crate) fn quoted(self, text: impl fmt::Display) -> String {
        match self {
            Self::Flags => text.to_string(),
            Self::Keys => format!("\"{text}\""),
        }
    }

    /// A thing with a value, as one would write it.
    pub(crate) fn set(self, word: Word, value: impl fmt::Display) -> String {
        match self {
            Self::Flags => format!("{} {value}", word.flag),
            Self::Keys => format!("{} = {value}", word.key),
        }
    }
}

/// A value, and where it stands if it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given<T> {
    pub(crate) value: T,
    pub(crate) span: Option<Range<usize>>,
}

impl<T> Given<T> {
    /// A value of the command line.
    pub(crate) const fn by_flag(value: T) -> Self {
        Self { value, span: None }
    }

    /// A value of a file, its bytes there.
    pub(crate) const fn at(value: T, span: Range<usize>) -> Self {
        Self { value, span: Some(span) }
    }

    /// What `change` makes of the value, at the same place.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Given<U> {
        Given { value: change(self.value), span: self.span }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It cannot be done.
    Error,
    /// It can be done and is hardly what was meant.
    Warning,
}

impl Severity {
    /// The word before the text.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) severity: Severity,
    /// Where in the file, if it concerns a place there.
    pub(crate) span: Option<Range<usize>>,
    /// What is wrong, and the remedy.
    pub(crate) text: String,
}

/// Everything that is wrong, gathered so that all of it can be told at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaints(Vec<Complaint>);

impl Complaints {
    /// What cannot be done.
    pub(crate) fn error(&mut self, span: Option<Range<usize>>, text: impl fmt::Display) {
        self.add(Severity::Error, span, &text);
    }

    /// What is hardly meant.
    pub(crate) fn warning(&mut self, span: Option<Range<usize>>, text: impl fmt::Display) {
        self.add(Severity::Warning, span, &text);
    }

    fn add(&mut self, severity: Severity, span: Option<Range<usize>>, text: &dyn fmt::Display) {
        self.0.push(Complaint { severity, span, text: text.to_string() });
    }

    /// Takes over what another one gathered.
    pub(crate) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    /// Whether something cannot be done.
    pub(crate) fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many of a kind.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|complaint| complaint.severity == severity).count()
    }

    /// All of them: in the order of their places if they have any.
    pub(crate) fn sorted(mut self) -> Vec<Complaint> {
        self.0.sort_by_key(|complaint| complaint.span.as_ref().map_or(0, |span| span.start));
        self.0
    }
}

//! Bodies of the operator's own for our refusals.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use base::limits;
use wire::http1::Page;

use crate::refusal::Refusal;

/// Longest body of an error page, bytes.
pub const PAGE_MAX: usize = 32 << 10;

// A head and a page are written into the scratch space together.
const _: () = assert!(PAGE_MAX + 1024 <= limits::MAX_HEAD_LIMIT as usize);

/// What an error page is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageType {
    /// `text/html`.
    Html,
    /// `text/plain`.
    Plain,
}

impl PageType {
    /// What `Content-Type` says.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Plain => "text/plain; charset=utf-8",
        }
    }
}

/// The bodies of our refusals, by status; where there is none, the refusal says in two lines
/// what is wrong.
#[derive(Clone, Debug, Default)]
pub struct ErrorPages {
    pages: Vec<(u16, PageType, Box<[u8]>)>,
}

/// Why an error page cannot be used: the configuration's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageError {
    /// We never answer with this status.
    Status(u16),
    /// There is a page for this status already.
    Twice(u16),
    /// It has so many bytes, more than [`PAGE_MAX`].
    TooLong(usize),
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "no refusal has the status {status}"),
            Self::Twice(status) => write!(f, "two pages for the status {status}"),
            Self::TooLong(bytes) => write!(f, "a page of {bytes} bytes: at most {PAGE_MAX}"),
        }
    }
}

impl core::error::Error for PageError {}

impl ErrorPages {
    /// Sets the body for a status that some [`Refusal`] has.
    ///
    /// # Errors
    /// See [`PageError`]; nothing is changed then.
    pub fn set(&mut self, status: u16, of: PageType, body: &[u8]) -> Result<(), PageError> {
        if !Refusal::ALL.iter().any(|refusal| refusal.status() == status) {
            return Err(PageError::Status(status));
        }
        if self.get(status).is_some() {
            return Err(PageError::Twice(status));
        }
        if body.len() > PAGE_MAX {
            return Err(PageError::TooLong(body.len()));
        }
        self.pages.push((status, of, body.into()));
        Ok(())
    }

    /// The page for a status.
    pub fn get(&self, status: u16) -> Option<Page<'_>> {
        let (_, of, body) = self.pages.iter().find(|page| page.0 == status)?;
        Some(Page { content_type: of.content_type(), body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_ours_may_have_one_page() {
        let mut pages = ErrorPages::default();
        assert_eq!(pages.get(502), None);
        assert_eq!(pages.set(502, PageType::Html, b"<p>"), Ok(()));
        assert_eq!(pages.set(502, PageType::Plain, b"x"), Err(PageError::Twice(502)));
        let page = Page { content_type: "text/html; charset=utf-8", body: b"<p>" };
        assert_eq!(pages.get(502), Some(page));
        assert_eq!(pages.get(503), None);
        for status in [0, 200, 404, 499] {
            assert_eq!(pages.set(status, PageType::Plain, b""), Err(PageError::Status(status)));
        }
        let long = alloc::vec![b'a'; PAGE_MAX + 1];
        let error = pages.set(400, PageType::Plain, &long);
        assert_eq!(error, Err(PageError::TooLong(PAGE_MAX + 1)));
        assert_eq!(pages.set(400, PageType::Plain, &long[1..]), Ok(()));
    }
}

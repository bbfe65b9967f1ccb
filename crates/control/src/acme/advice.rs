//! When the authority would renew a certificate (ARI, RFC 9773): it knows when it is busy, and which of
//! its certificates must be replaced early.

use std::time::{Duration, SystemTime};

use base::limits;
use instant_acme::{Account, CertificateIdentifier};
use tls::IssuedAs;

/// When the authority would have it renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
}

/// What the authority calls a certificate.
pub(super) fn identifier(issued: &IssuedAs) -> CertificateIdentifier<'static> {
    let key = issued.authority_key.as_slice().into();
    CertificateIdentifier::new(key, issued.serial.as_slice().into()).into_owned()
}

/// Asks the authority, and when to ask again. Not every authority gives advice, and none is needed.
pub(super) async fn ask(account: &Account, issued: &IssuedAs) -> (Option<Window>, Duration) {
    let [least, most] = limits::ACME_ADVICE;
    match account.renewal_info(&identifier(issued)).await {
        Ok((info, again)) => {
            let window = info.suggested_window;
            let window = Window { start: window.start.into(), end: window.end.into() };
            (Some(window), again.clamp(least, most))
        }
        Err(_) => (None, most),
    }
}

//! What the two ends of a connection agreed on.

use rustls::CipherSuite;

/// A cipher suite; it tells the version, too, as none is of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed(CipherSuite);

impl Agreed {
    pub(crate) const fn on(suite: CipherSuite) -> Self {
        Self(suite)
    }

    /// The suite of this registered number.
    pub fn from_number(number: u16) -> Self {
        Self(CipherSuite::from(number))
    }

    /// The number that IANA registers; never 0, which is that of no encryption at all.
    pub fn number(self) -> u16 {
        self.0.into()
    }

    /// The version as OpenSSL writes it.
    pub fn version(self) -> &'static str {
        // RFC 8446 §B.4 numbers its own from there.
        if self.number() >> 8 == 0x13 { "TLSv1.3" } else { "TLSv1.2" }
    }

    /// The cipher suite as IANA registers it; empty for one that is not known.
    pub fn cipher(self) -> &'static str {
        // rustls tells TLS 1.3 suites apart by a prefix; the registry has one name for both.
        match self.0.as_str().unwrap_or_default() {
            "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
            "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
            "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
            other => other,
        }
    }
}

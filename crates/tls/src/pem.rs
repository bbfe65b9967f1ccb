//! What is wrong with a text that should hold certificates or a key in PEM (RFC 7468), and the remedy.

use core::fmt;

/// What is wrong with a text that should hold certificates or a key, and the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemError {
    /// There is no certificate in the first text.
    NoCertificate(Instead),
    /// A certificate is there and cannot be read.
    BadCertificate,
    /// There is no private key in the second text.
    NoKey(Instead),
    /// There is one, and it is encrypted.
    EncryptedKey,
    /// There is one, and it cannot be used.
    BadKey,
    /// There is one of RSA, and it has only so many bits.
    ShortKey(u32),
    /// The key is not that of the first certificate.
    OtherKey,
}

/// What a text holds that does not hold what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Nothing that is known.
    Unknown,
    /// A certificate.
    Certificate,
    /// A private key.
    Key,
    /// What a certificate is asked for with (PKCS #10).
    Request,
    /// What PEM would hold, not written as text (DER).
    Binary,
    /// Certificate and key in one (PKCS #12).
    Bundle,
    /// Text of another encoding than ASCII, or with a mark in front that says so.
    Encoded,
}

const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
const KEY: &[u8] = b"PRIVATE KEY-----";
const REQUEST: &[u8] = b"CERTIFICATE REQUEST-----";

impl Instead {
    pub(crate) fn of(text: &[u8]) -> Self {
        match text {
            // UTF-8 and UTF-16, as editors begin a file of these.
            [0xef, 0xbb, 0xbf, ..] | [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Self::Encoded,
            // A sequence of DER of more than 127 bytes; of PKCS #12, the version is the first of it.
            [0x30, 0x82, _, _, 2, 1, 3, ..] => Self::Bundle,
            [0x30, 0x81..=0x83, ..] | [0x30, _, 2, ..] => Self::Binary,
            _ if has(text, CERTIFICATE) => Self::Certificate,
            _ if has(text, KEY) => Self::Key,
            _ if has(text, REQUEST) => Self::Request,
            _ => Self::Unknown,
        }
    }
}

/// Whether a private key of a text is encrypted: of PKCS #8 (RFC 5958), or as OpenSSL did before.
pub(crate) fn is_encrypted(text: &[u8]) -> bool {
    has(text, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(text, b"Proc-Type: 4,ENCRYPTED")
}

fn has(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

impl PemError {
    /// Whether it is the key's text that is wrong.
    pub const fn is_of_key(self) -> bool {
        matches!(
            self,
            Self::NoKey(_) | Self::EncryptedKey | Self::BadKey | Self::ShortKey(_) | Self::OtherKey
        )
    }
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCertificate(instead) => return no_certificate(*instead, f),
            Self::NoKey(instead) => return no_key(*instead, f),
            Self::ShortKey(bits) => {
                return write!(
                    f,
                    "its key is of RSA with {bits} bits, which can be broken: make one with 2048 or \
                     more, or of ECDSA, and have a certificate issued for it"
                );
            }
            Self::BadCertificate => {
                "its certificate cannot be read, it may be cut off: copy it again as a whole, or have \
                 it issued anew"
            }
            Self::EncryptedKey => {
                "its key is encrypted: write it without a password (openssl pkey -in … -out …), and \
                 guard the file"
            }
            Self::BadKey => {
                "its key cannot be used: make one of RSA with 2048 to 8192 bits, of ECDSA with P-256, \
                 P-384 or P-521, or of Ed25519"
            }
            Self::OtherKey => "its key is not that of the certificate: name the one that belongs to it",
        })
    }
}

fn no_certificate(instead: Instead, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("there is no certificate in it")?;
    f.write_str(match instead {
        Instead::Key => {
            ", but a private key: name the certificate's file, certificate and key may have changed \
             places"
        }
        Instead::Request => {
            ", but a request for one: name what the authority made of it"
        }
        Instead::Binary => {
            " as text: write it as PEM (openssl x509 -inform DER -in … -out …)"
        }
        Instead::Bundle => {
            " as text, but PKCS #12: write it as PEM (openssl pkcs12 -in … -nokeys -out …)"
        }
        other => return otherwise(other, "CERTIFICATE-----", f),
    })
}

fn no_key(instead: Instead, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("there is no private key in it")?;
    f.write_str(match instead {
        Instead::Certificate => {
            ", but a certificate: name the key's file, certificate and key may have changed places"
        }
        Instead::Request => {
            ", but a request for a certificate: name the key that it was made with"
        }
        Instead::Binary => {
            " as text: write it as PEM (openssl pkey -inform DER -in … -out …), and guard the file"
        }
        Instead::Bundle => {
            " as text, but PKCS #12: write it as PEM (openssl pkcs12 -in … -nocerts -nodes -out …), and \
             guard the file"
        }
        other => return otherwise(other, "PRIVATE KEY-----, or EC or RSA PRIVATE KEY", f),
    })
}

fn otherwise(instead: Instead, begins: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match instead {
        Instead::Encoded => {
            f.write_str(", as it begins with a byte order mark: write it without, as ASCII")
        }
        _ => write!(f, ": it must hold -----BEGIN {begins}"),
    }
}

impl core::error::Error for PemError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::pems;

    #[test]
    fn what_stands_there_instead_is_told_with_the_remedy() {
        let (certificate, key) = pems(&["a.example"]);
        let (certificate, key) = (certificate.as_bytes(), key.as_bytes());
        let request = b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n";
        let marked = [b"\xef\xbb\xbf", certificate].concat();
        for (text, as_certificate, as_key) in [
            (
                &b""[..],
                "it must hold -----BEGIN CERTIFICATE",
                "it must hold -----BEGIN PRIVATE KEY",
            ),
            (b"30", "must hold", "must hold"),
            (key, "but a private key: name the certificate's file", ""),
            (certificate, "", "but a certificate: name the key's file"),
            (request, "but a request for one", "but a request for a certificate"),
            // As OpenSSL writes a certificate, keys (PKCS #8, RSA, EC, Ed25519), and both in one.
            (b"\x30\x82\x02\xff\x30\x82", "openssl x509 -inform DER", "-inform DER"),
            (b"\x30\x82\x04\xbe\x02\x01\x00", "-inform DER", "openssl pkey -inform DER"),
            (b"\x30\x77\x02\x01\x01", "-inform DER", "openssl pkey -inform DER"),
            (b"\x30\x2e\x02\x01\x00", "-inform DER", "openssl pkey -inform DER"),
            (b"\x30\x82\x09\x89\x02\x01\x03", "pkcs12 -in … -nokeys", "pkcs12 -in … -nocerts"),
            (&marked, "byte order mark", "byte order mark"),
            (b"\xff\xfe-\0-\0", "byte order mark", "byte order mark"),
        ] {
            let instead = Instead::of(text);
            for (error, says) in [
                (PemError::NoCertificate(instead), as_certificate),
                (PemError::NoKey(instead), as_key),
            ] {
                let told = error.to_string();
                assert!(told.contains(says), "{text:?}: {told}");
                assert_eq!(error.is_of_key(), matches!(error, PemError::NoKey(_)));
            }
        }
    }
}

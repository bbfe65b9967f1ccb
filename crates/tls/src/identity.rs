//! A certificate with its key, and the certificates of those who are trusted: from PEM (RFC 7468).

use core::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use base::limits::TLS_SUBJECT_MAX;
use rustls::pki_types::pem::{Error as BadPem, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectAltName};
use x509_cert::time::Time;

use crate::acceptor::provider;
use crate::pem::{Instead, PemError, is_encrypted};

/// A certificate chain and the private key of its first certificate.
#[derive(Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    /// DNS names in lower case, wildcards among them.
    names: Vec<Box<str>>,
    not_before: SystemTime,
    not_after: SystemTime,
    issued: Option<IssuedAs>,
}

/// How an authority knows a certificate that it issued (RFC 9773 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedAs {
    /// Which key of the authority's signed it.
    pub authority_key: Vec<u8>,
    /// Its serial number, as DER has it.
    pub serial: Vec<u8>,
}

impl IssuedAs {
    fn of(certificate: &Certificate) -> Option<Self> {
        let found = certificate.tbs_certificate().get_extension::<AuthorityKeyIdentifier>();
        let key = found.ok().flatten()?.1.key_identifier?;
        let serial = certificate.tbs_certificate().serial_number().as_bytes();
        // DER writes a number that begins with a one as if it were negative, unless a zero stands
        // before it.
        let sign = serial.first().is_some_and(|byte| byte & 0x80 != 0).then_some(0);
        let serial = sign.into_iter().chain(serial.iter().copied()).collect();
        Some(Self { authority_key: key.as_bytes().to_vec(), serial })
    }
}

impl Identity {
    /// Reads a chain, the server's own certificate first, and its key.
    ///
    /// # Errors
    /// See [`PemError`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PemError> {
        Self::read(chain, key, |chain, key| CertifiedKey::from_der(chain, key, provider()))
    }

    fn read(
        chain: &[u8],
        key: &[u8],
        join: impl FnOnce(
            Vec<CertificateDer<'static>>,
            PrivateKeyDer<'static>,
        ) -> Result<CertifiedKey, Error>,
    ) -> Result<Self, PemError> {
        let chain = certificates(chain)?;
        let leaf = chain.first().ok_or(PemError::NoCertificate(Instead::Unknown))?;
        let parsed = Certificate::from_der(leaf).map_err(|_| PemError::BadCertificate)?;
        let validity = parsed.tbs_certificate().validity();
        let moment = |time: &Time| SystemTime::UNIX_EPOCH + time.to_unix_duration();
        let (not_before, not_after) = (moment(&validity.not_before), moment(&validity.not_after));
        let names = names_of(&parsed);
        let certified = join(chain, private_key(key)?);
        let certified = certified.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => PemError::OtherKey,
            Error::InvalidCertificate(_) => PemError::BadCertificate,
            _ => rsa_bits(&parsed)
                .filter(|bits| *bits < RSA_LEAST)
                .map_or(PemError::BadKey, PemError::ShortKey),
        })?;
        let issued = IssuedAs::of(&parsed);
        Ok(Self { certified: Arc::new(certified), names, not_before, not_after, issued })
    }

    /// A certificate that we have just made with its key, to show an authority that a name is ours
    /// (RFC 8737 §3). What is critical in it is known to nobody else, so that rustls does not look
    /// whether the key fits.
    ///
    /// # Errors
    /// As [`Identity::from_pem`].
    pub fn of_challenge(chain: &[u8], key: &[u8]) -> Result<Self, PemError> {
        Self::read(chain, key, |chain, key| {
            let key = provider().key_provider.load_private_key(key)?;
            Ok(CertifiedKey::new(chain, key))
        })
    }

    /// The DNS names of the certificate, in lower case.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// From when on it is good.
    pub const fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Until when it is good.
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// How the authority knows it, if it says who that is.
    pub const fn issued_as(&self) -> Option<&IssuedAs> {
        self.issued.as_ref()
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

/// Whom certificates must come from to be trusted.
#[derive(Clone, Debug)]
pub struct Authorities(pub(crate) Arc<RootCertStore>);

impl Authorities {
    /// Reads one certificate or several.
    ///
    /// # Errors
    /// [`PemError::NoCertificate`] or [`PemError::BadCertificate`].
    pub fn from_pem(text: &[u8]) -> Result<Self, PemError> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(text)? {
            store.add(certificate).map_err(|_| PemError::BadCertificate)?;
        }
        Ok(Self(Arc::new(store)))
    }

    /// Those that the system trusts; what cannot be read is left out.
    pub fn of_system() -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self(Arc::new(store))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All certificates of a text, at least one.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let all: Result<Vec<_>, BadPem> = CertificateDer::pem_slice_iter(text).collect();
    let all = all.map_err(|_| PemError::BadCertificate)?;
    if all.is_empty() { Err(PemError::NoCertificate(Instead::of(text))) } else { Ok(all) }
}

/// The first private key of a text.
pub(crate) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    if is_encrypted(text) {
        return Err(PemError::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        BadPem::NoItemsFound => PemError::NoKey(Instead::of(text)),
        _ => PemError::BadKey,
    })
}

/// RSA keys (RFC 8017 A.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// Fewest bits of an RSA key that TLS is spoken with.
const RSA_LEAST: u32 = 2048;

/// How long the key of a certificate is, if that is one of RSA (RFC 8017 A.1.1).
fn rsa_bits(certificate: &Certificate) -> Option<u32> {
    let key = certificate.tbs_certificate().subject_public_key_info();
    if key.algorithm.oid != RSA {
        return None;
    }
    let mut reader = SliceReader::new(key.subject_public_key.as_bytes()?).ok()?;
    let modulus = reader.sequence(|reader| {
        let modulus = UintRef::decode(reader)?;
        UintRef::decode(reader)?;
        Ok::<_, x509_cert::der::Error>(modulus)
    });
    let bytes = modulus.ok()?.as_bytes();
    u32::try_from(bytes.len() * 8).ok()?.checked_sub(bytes.first()?.leading_zeros())
}

/// The DNS names of a certificate (RFC 5280 §4.2.1.6), in lower case.
fn names_of(certificate: &Certificate) -> Vec<Box<str>> {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
    let dns = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase().into()),
        _ => None,
    });
    dns.collect()
}

/// The subject of a certificate (RFC 4514), printable ASCII throughout, so that it can stand in a
/// field and in a log. None if it is longer than `TLS_SUBJECT_MAX`: half of it would name another.
pub fn subject_of(certificate: &[u8]) -> Option<Box<str>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let text = certificate.tbs_certificate().subject().to_string();
    let mut subject = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' => subject.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(subject, "\\{byte:02X}")),
        }
    }
    (1..=TLS_SUBJECT_MAX).contains(&subject.len()).then(|| subject.into())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pems(names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn identity(names: &[&str]) -> Identity {
        let (certificate, key) = pems(names);
        Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
    }

    #[test]
    fn a_certificate_tells_its_names_and_its_time() {
        let identity = identity(&["A.example", "*.b.example"]);
        assert_eq!(identity.names(), [Box::from("a.example"), Box::from("*.b.example")]);
        assert!(identity.not_before() < identity.not_after());
    }

    /// The example of RFC 9773 §4.1.
    #[test]
    fn a_certificate_tells_how_its_authority_knows_it() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        for (serial, der) in [
            (&[0x87, 0x65, 0x43, 0x21][..], &[0, 0x87, 0x65, 0x43, 0x21][..]),
            (&[0x17, 0x65], &[0x17, 0x65]),
        ] {
            params.serial_number = Some(rcgen::SerialNumber::from_slice(serial));
            params.use_authority_key_identifier_extension = true;
            let pem = params.self_signed(&key).unwrap().pem();
            let read = Identity::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
            let issued = read.issued_as().unwrap();
            assert_eq!((&*issued.serial, issued.authority_key.len()), (der, 20));
        }
        assert_eq!(identity(&["a.example"]).issued_as(), None);
    }

    /// A certificate for an RSA key of 1024 bits, which nobody here would make.
    const SHORT: &str = "\
-----BEGIN CERTIFICATE-----
MIIB9jCCAV+gAwIBAgIUR7hmU/68otKG8e9n4Fy4fFjoV6cwDQYJKoZIhvcNAQEL
BQAwDDEKMAgGA1UEAwwBYTAgFw0yNjExMjcxMzE5MzNaGA8yMTI2MTEwMzEzMTkz
M1owDDEKMAgGA1UEAwwBYTCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEA4cHc
g3C2xe7B4+/GxPj7Eaa85pzxIUx2KMRxSQZfGyitzeiGDl43DuaqLYg1BT0lLDFa
9rImrozBNE44zzEFFDOJqEXBBCWFjh+7UVyqX91ssw8epwJw2aC/8fmB8irohOh5
Tmd2fNLu/YwiLD03tNkkBA2qQAOnvfmCellG08ECAwEAAaNTMFEwHQYDVR0OBBYE
FLkaRcy5lqWhh6XG+a6vSm1GcHm7MB8GA1UdIwQYMBaAFLkaRcy5lqWhh6XG+a6v
Sm1GcHm7MA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADgYEAg94v7+U1
s5SbuDSC1QcxQ2FBMa9zyJ7cST6v+cpV4ekHupd2gIOR3OCvJBnglkAdYAGQefbI
hwANULHMuGeh2u4RPlAaLjRYEfK5Q+TgxF+fGqURj9S0rVee/XkEHWIyk84ZYKHn
l9DFQOXi3CDcTvZbUBFtSMPlCkYjLR4QqPY=
-----END CERTIFICATE-----
";

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let (certificate, key) = pems(&["a.example"]);
        let (_, other) = pems(&["a.example"]);
        let cut = certificate.replace("MII", "MIX");
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let unknown = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (chain, key, error) in [
            ("", key.as_str(), PemError::NoCertificate(Instead::Unknown)),
            (key.as_str(), certificate.as_str(), PemError::NoCertificate(Instead::Key)),
            (cut.as_str(), key.as_str(), PemError::BadCertificate),
            (certificate.as_str(), "", PemError::NoKey(Instead::Unknown)),
            (certificate.as_str(), certificate.as_str(), PemError::NoKey(Instead::Certificate)),
            (certificate.as_str(), unknown, PemError::BadKey),
            (SHORT, unknown, PemError::ShortKey(1024)),
            (certificate.as_str(), encrypted, PemError::EncryptedKey),
            (certificate.as_str(), other.as_str(), PemError::OtherKey),
        ] {
            let read = Identity::from_pem(chain.as_bytes(), key.as_bytes());
            assert_eq!(read.map(|_| ()).unwrap_err(), error, "{chain}{key}");
        }
    }

    #[test]
    fn one_may_be_trusted_or_several() {
        let (first, second) = (pems(&["a.example"]).0, pems(&["b.example"]).0);
        assert_eq!(Authorities::from_pem(first.as_bytes()).unwrap().len(), 1);
        assert_eq!(Authorities::from_pem((first.clone() + &second).as_bytes()).unwrap().len(), 2);
        let none = Authorities::from_pem(b"").unwrap_err();
        assert_eq!(none, PemError::NoCertificate(Instead::Unknown));
    }
}

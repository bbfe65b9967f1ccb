//! TLS 1.3 records sealed with keys that rest between two records.
//!
//! What a cipher makes of its key before it can work (AES's round keys, GHASH's table) is some 600
//! bytes for each direction, a third of a session. It is made in less time than a record is
//! copied, so that it is made when a record comes, and a parked client has its keys alone.

use std::sync::LazyLock;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, UnboundKey};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs as rustls_aws;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    Nonce, OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};

/// The provider of rustls over AWS-LC, its TLS 1.3 cipher suites with keys that rest.
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = rustls_aws::default_provider();
    for suite in &mut provider.cipher_suites {
        if let Some(resting) = SUITES.iter().find(|resting| resting.common.suite == suite.suite()) {
            *suite = SupportedCipherSuite::Tls13(resting);
        }
    }
    provider
}

/// Those that rest, each like rustls' own but for its keys.
static SUITES: LazyLock<Vec<Tls13CipherSuite>> = LazyLock::new(|| {
    let suites = rustls_aws::ALL_CIPHER_SUITES.iter().filter_map(SupportedCipherSuite::tls13);
    suites.filter_map(resting).collect()
});

fn resting(suite: &Tls13CipherSuite) -> Option<Tls13CipherSuite> {
    let aead_alg: &'static Resting = match suite.common.suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => &Resting(&aead::AES_128_GCM),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => &Resting(&aead::AES_256_GCM),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => &Resting(&aead::CHACHA20_POLY1305),
        _ => return None,
    };
    let CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit } = suite.common;
    Some(Tls13CipherSuite {
        common: CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit },
        hkdf_provider: suite.hkdf_provider,
        aead_alg,
        quic: None,
    })
}

/// A cipher whose keys rest.
struct Resting(&'static aead::Algorithm);

impl Tls13AeadAlgorithm for Resting {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Direction { algorithm: self.0, key, iv })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Direction { algorithm: self.0, key, iv })
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        _key: AeadKey,
        _iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

/// The key of one direction.
struct Direction {
    algorithm: &'static aead::Algorithm,
    /// Overwritten when it is dropped.
    key: AeadKey,
    iv: Iv,
}

impl Direction {
    /// The cipher, ready for a record.
    fn waken(&self) -> Option<LessSafeKey> {
        UnboundKey::new(self.algorithm, self.key.as_ref()).ok().map(LessSafeKey::new)
    }

    /// No number comes twice with one key: rustls counts them, and ends a session before they do.
    fn nonce(&self, number: u64) -> aead::Nonce {
        aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, number).0)
    }
}

impl MessageEncrypter for Direction {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let length = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_chunks(&message.payload);
        // The record's real type stands behind its content (RFC 8446 §5.2).
        payload.extend_from_slice(&[u8::from(message.typ)]);
        let key = self.waken().ok_or(Error::EncryptError)?;
        key.seal_in_place_append_tag(
            self.nonce(number),
            Aad::from(make_tls13_aad(length)),
            &mut payload,
        )
        .map_err(|_| Error::EncryptError)?;
        let (kind, version) = (ContentType::ApplicationData, ProtocolVersion::TLSv1_2);
        Ok(OutboundOpaqueMessage::new(kind, version, payload))
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        length + 1 + self.algorithm.tag_len()
    }
}

impl MessageDecrypter for Direction {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let payload = &mut message.payload;
        if payload.len() < self.algorithm.tag_len() {
            return Err(Error::DecryptError);
        }
        let key = self.waken().ok_or(Error::DecryptError)?;
        let aad = Aad::from(make_tls13_aad(payload.len()));
        let opened = key.open_in_place(self.nonce(number), aad, payload);
        let length = opened.map_err(|_| Error::DecryptError)?.len();
        payload.truncate(length);
        message.into_tls13_unpadded_message()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The three suites of RFC 8446 §B.4, in rustls' order, and no other one.
    #[test]
    fn every_suite_of_tls_1_3_rests() {
        let provider = provider();
        let theirs = rustls_aws::default_provider();
        let names = |suites: &[SupportedCipherSuite]| -> Vec<CipherSuite> {
            suites.iter().map(SupportedCipherSuite::suite).collect()
        };
        assert_eq!(names(&provider.cipher_suites), names(&theirs.cipher_suites));
        assert_eq!(SUITES.len(), 3);
        let rest = provider.cipher_suites.iter().filter_map(SupportedCipherSuite::tls13);
        assert!(rest.clone().count() == 3 && rest.into_iter().all(|suite| suite.quic.is_none()));
    }
}

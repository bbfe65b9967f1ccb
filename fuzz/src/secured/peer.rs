//! The other end of a session: it shakes hands as rustls has it, and says whatever it is told to from
//! then on, sealed with the keys of the session.

use std::sync::{Arc, LazyLock};

use rustls::client::{ClientConnectionData, Resumption, UnbufferedClientConnection};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use rustls::kernel::KernelConnection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    NoServerSessionStorage, ServerConnectionData, ServerSessionMemoryCache,
    UnbufferedServerConnection,
};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ConnectionTrafficSecrets, ContentType, ProtocolVersion, RootCertStore,
    ServerConfig, SupportedCipherSuite,
};

use super::end::{End, HOST, split};

const CERTIFICATE: &[u8] = include_bytes!("../../../crates/sim/keys/world.pem");
const KEY: &[u8] = include_bytes!("../../../crates/sim/keys/world.key");

/// Kinds of ciphers, one of which a peer has.
const CIPHERS: [&str; 3] = ["AES_128_GCM", "AES_256_GCM", "CHACHA20"];

/// What peers are made from.
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Configs {
    fn new(tls13: bool, cipher: &str) -> Self {
        let mut provider = default_provider();
        let fits = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite()).contains(cipher);
        provider.cipher_suites.retain(fits);
        let (provider, version) = (Arc::new(provider), if tls13 { &TLS13 } else { &TLS12 });
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE);
        let certificate = certificate.unwrap_or_else(|error| panic!("no certificate: {error}"));
        let key = PrivateKeyDer::from_pem_slice(KEY);
        let key = key.unwrap_or_else(|error| panic!("no key: {error}"));
        let mut roots = RootCertStore::empty();
        assert_eq!(roots.add(certificate.clone()), Ok(()));
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .map(|it| it.with_root_certificates(roots).with_no_client_auth());
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .and_then(|it| it.with_no_client_auth().with_single_cert(vec![certificate], key));
        let mut client = client.unwrap_or_else(|error| panic!("no client: {error}"));
        let mut server = server.unwrap_or_else(|error| panic!("no server: {error}"));
        // Nobody comes back.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        (client.enable_secret_extraction, server.enable_secret_extraction) = (true, true);
        (client.alpn_protocols, server.alpn_protocols) =
            (vec![b"http/1.1".to_vec()], vec![b"http/1.1".to_vec()]);
        Self { client: Arc::new(client), server: Arc::new(server) }
    }
}

/// By version, and by cipher.
static CONFIGS: LazyLock<[[Configs; 3]; 2]> =
    LazyLock::new(|| [false, true].map(|tls13| CIPHERS.map(|it| Configs::new(tls13, it))));

/// What a client is made from that was told by another server that it may send data ahead of the
/// handshake, and has a ticket of it.
pub(super) fn early(cipher: u8) -> Arc<ClientConfig> {
    let known = &CONFIGS[1][usize::from(cipher) % CIPHERS.len()];
    let mut client = ClientConfig::clone(&known.client);
    client.enable_early_data = true;
    client.resumption = Resumption::in_memory_sessions(4);
    let mut server = ServerConfig::clone(&known.server);
    server.session_storage = ServerSessionMemoryCache::new(4);
    server.send_tls13_tickets = 1;
    server.max_early_data_size = u32::MAX;
    let (client, server) = (Arc::new(client), Arc::new(server));
    let name = ServerName::try_from(HOST).unwrap_or_else(|error| panic!("{error}"));
    let mut calls =
        Shaking::Client(made(UnbufferedClientConnection::new(Arc::clone(&client), name)));
    let mut answers = Shaking::Server(made(UnbufferedServerConnection::new(server)));
    let mut said = calls.hear(Vec::new());
    while !said.is_empty() {
        let answer = answers.hear(said);
        said = calls.hear(answer);
    }
    client
}

/// The handshake.
enum Shaking {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What gives the next keys.
enum Schedule {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

/// What changes the keys on one's way.
#[derive(Clone, Copy)]
enum Way {
    Out,
    In,
}

/// One that has shaken hands.
pub(super) struct Peer {
    suite: SupportedCipherSuite,
    schedule: Schedule,
    seals: Box<dyn MessageEncrypter>,
    /// The number of the next record.
    number: u64,
    opens: Box<dyn MessageDecrypter>,
    heard: u64,
}

impl Peer {
    /// Shakes hands with a session, which is a server or a client; what is left of that to be said has
    /// been heard.
    pub(super) fn shake(end: &mut End, is_server: bool, tls13: bool, cipher: u8) -> Self {
        let configs = &CONFIGS[usize::from(tls13)][usize::from(cipher) % CIPHERS.len()];
        let mut shaking = if is_server {
            let name = ServerName::try_from(HOST).unwrap_or_else(|error| panic!("{error}"));
            Shaking::Client(made(UnbufferedClientConnection::new(
                Arc::clone(&configs.client),
                name,
            )))
        } else {
            end.begin();
            Shaking::Server(made(UnbufferedServerConnection::new(Arc::clone(&configs.server))))
        };
        loop {
            let said = std::mem::take(&mut end.said);
            let answer = shaking.hear(said);
            if answer.is_empty() {
                break;
            }
            end.receive(&answer, false);
            if end.said.is_empty() {
                break;
            }
        }
        assert!(!end.session.is_handshaking() && end.over.is_none(), "{:?}", end.over);
        let (secrets, schedule) = match shaking {
            Shaking::Client(it) => {
                let (secrets, it) = made(it.dangerous_into_kernel_connection());
                (secrets, Schedule::Client(it))
            }
            Shaking::Server(it) => {
                let (secrets, it) = made(it.dangerous_into_kernel_connection());
                (secrets, Schedule::Server(it))
            }
        };
        let suite = match &schedule {
            Schedule::Client(it) => it.negotiated_cipher_suite(),
            Schedule::Server(it) => it.negotiated_cipher_suite(),
        };
        assert_eq!(suite.tls13().is_some(), tls13);
        let mut peer = Self {
            suite,
            schedule,
            seals: sealing(suite, secrets.tx.1),
            number: secrets.tx.0,
            opens: opening(suite, secrets.rx.1),
            heard: secrets.rx.0,
        };
        if peer.number > 0 {
            // AWS-LC has the first nonce for that of the first record, and no other for less than that.
            let number = std::mem::take(&mut peer.number);
            peer.seal(0, b"");
            peer.number = number;
        }
        peer
    }

    /// A record of any type, sealed.
    pub(super) fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: ContentType::from(kind),
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(content),
        };
        let sealed = self.seals.encrypt(message, self.number);
        self.number += 1;
        made(sealed).encode()
    }

    /// The records that follow have new keys.
    pub(super) fn renew(&mut self) {
        (self.number, self.seals) = {
            let (number, secrets) = self.update(Way::Out);
            (number, sealing(self.suite, secrets))
        };
    }

    fn update(&mut self, way: Way) -> (u64, ConnectionTrafficSecrets) {
        made(match (&mut self.schedule, way) {
            (Schedule::Client(it), Way::Out) => it.update_tx_secret(),
            (Schedule::Client(it), Way::In) => it.update_rx_secret(),
            (Schedule::Server(it), Way::Out) => it.update_tx_secret(),
            (Schedule::Server(it), Way::In) => it.update_rx_secret(),
        })
    }

    /// What the other side said, record by record, as it was before it was sealed. New keys are taken as
    /// soon as they are told of.
    pub(super) fn open(&mut self, said: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut all = Vec::new();
        for (kind, body) in split(said) {
            let mut body = body.to_vec();
            let message = InboundOpaqueMessage::new(
                ContentType::from(kind),
                ProtocolVersion::TLSv1_2,
                &mut body,
            );
            let opened = made(self.opens.decrypt(message, self.heard));
            self.heard += 1;
            let record = (u8::from(opened.typ), opened.payload.to_vec());
            if self.suite.tls13().is_some() && record.0 == 22 {
                (self.heard, self.opens) = {
                    let (number, secrets) = self.update(Way::In);
                    (number, opening(self.suite, secrets))
                };
            }
            all.push(record);
        }
        all
    }
}

fn made<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("a peer of rustls' own fails: {error:?}"))
}

/// One and the same call of both ends.
trait Process {
    type Data;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Process for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

impl Process for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

impl Shaking {
    fn hear(&mut self, said: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Client(it) => hear(it, said),
            Self::Server(it) => hear(it, said),
        }
    }
}

/// What it answers to what was said.
fn hear<P: Process>(shaking: &mut P, mut said: Vec<u8>) -> Vec<u8> {
    let mut answer = Vec::new();
    loop {
        let UnbufferedStatus { discard, state } = shaking.process(&mut said);
        let goes_on = match made(state) {
            ConnectionState::EncodeTlsData(mut data) => {
                let mut space = vec![0; 32 << 10];
                let length = made(data.encode(&mut space));
                answer.extend_from_slice(&space[..length]);
                true
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                true
            }
            _ => false,
        };
        said.drain(..discard);
        if !goes_on {
            assert!(said.is_empty(), "a part of a handshake is not understood");
            return answer;
        }
    }
}

/// A key, an IV, and how many bytes of that TLS 1.2 has in each record.
fn parts(secrets: ConnectionTrafficSecrets) -> (AeadKey, Iv, usize) {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (key, iv, 8),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv, 0),
        _ => panic!("a cipher that is not known"),
    }
}

fn sealing(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Box<dyn MessageEncrypter> {
    let (key, iv, explicit) = parts(secrets);
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let (fixed, explicit) = iv.as_ref().split_at(iv.as_ref().len() - explicit);
            suite.aead_alg.encrypter(key, fixed, explicit)
        }
    }
}

fn opening(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Box<dyn MessageDecrypter> {
    let (key, iv, explicit) = parts(secrets);
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            suite.aead_alg.decrypter(key, &iv.as_ref()[..iv.as_ref().len() - explicit])
        }
    }
}

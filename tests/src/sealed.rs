//! A client's end of TLS, with rustls: to shake hands in pieces, or not to the end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::wait::PATIENCE;

/// The first certificate in a file (DER).
///
/// # Panics
/// When there is none.
pub fn certificate(file: &str) -> Vec<u8> {
    CertificateDer::from_pem_file(file).expect("a certificate").to_vec()
}

/// Whose certificates are believed, and for which name. Sessions are resumed where they can be.
#[derive(Debug)]
pub struct Trust {
    /// Of TLS 1.2 and 1.3.
    versions: [Arc<ClientConfig>; 2],
    name: ServerName<'static>,
}

impl Trust {
    /// Believes whoever issued certificates with the certificate in this file (PEM).
    ///
    /// # Panics
    /// When that is none, or `name` is no name.
    pub fn new(ca: &str, name: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(ca).expect("a certificate");
        roots.add(certificate).expect("an authority's certificate");
        let roots = Arc::new(roots);
        let versions = [&TLS12, &TLS13].map(|version| {
            let config = ClientConfig::builder_with_protocol_versions(&[version]);
            Arc::new(config.with_root_certificates(Arc::clone(&roots)).with_no_client_auth())
        });
        Self { versions, name: ServerName::try_from(name.to_owned()).expect("a name") }
    }

    /// A connection, not a byte said yet: with TLS 1.2 if it is `old`, else 1.3.
    ///
    /// # Errors
    /// What connecting says, or a text that is no address.
    pub fn connect(&self, address: &str, old: bool) -> io::Result<Sealed> {
        let address: SocketAddr =
            address.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let config = Arc::clone(&self.versions[usize::from(!old)]);
        let session = ClientConnection::new(config, self.name.clone()).map_err(io::Error::other)?;
        Ok(Sealed(StreamOwned::new(session, socket)))
    }
}

/// A connection that is secured, or about to be.
#[derive(Debug)]
pub struct Sealed(StreamOwned<ClientConnection, TcpStream>);

impl Sealed {
    /// The socket beneath.
    pub const fn socket(&self) -> &TcpStream {
        &self.0.sock
    }

    /// How long one read or write may take.
    ///
    /// # Errors
    /// What setting an option says.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.0.sock.set_read_timeout(Some(timeout))?;
        self.0.sock.set_write_timeout(Some(timeout))
    }

    /// Takes what the session would say next, unless it waits: whoever takes it has to say it.
    ///
    /// # Errors
    /// Never of a session that is sane.
    pub fn words(&mut self) -> io::Result<Vec<u8>> {
        let mut words = Vec::new();
        while self.0.conn.wants_write() {
            self.0.conn.write_tls(&mut words)?;
        }
        Ok(words)
    }

    /// Hears once from the other side, and says nothing.
    ///
    /// # Errors
    /// What reading says, and `InvalidData` for what is no TLS.
    pub fn hear(&mut self) -> io::Result<usize> {
        let heard = self.0.conn.read_tls(&mut self.0.sock)?;
        let bad = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        self.0.conn.process_new_packets().map_err(bad)?;
        Ok(heard)
    }

    /// Says these bytes beneath the session.
    ///
    /// # Errors
    /// What writing says.
    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.sock.write_all(bytes)
    }

    /// Shakes hands to the end.
    ///
    /// # Errors
    /// What the socket says, `InvalidData` for what the session does not believe.
    pub fn shake_hands(&mut self) -> io::Result<()> {
        while self.0.conn.is_handshaking() {
            self.0.conn.complete_io(&mut self.0.sock)?;
        }
        Ok(())
    }

    /// Whether the session has something to say.
    pub fn wants_to_speak(&self) -> bool {
        self.0.conn.wants_write()
    }

    /// The certificate that was shown (DER). One that resumes shows that of the session before.
    pub fn shown(&self) -> Option<Vec<u8>> {
        Some(self.0.conn.peer_certificates()?.first()?.to_vec())
    }

    /// Ends one direction or both.
    ///
    /// # Errors
    /// What the socket says.
    pub fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            self.0.conn.send_close_notify();
            let last = self.words()?;
            self.say(&last)?;
        }
        self.0.sock.shutdown(how)
    }

    /// Whether data, an end or a reset has come.
    pub fn has_news(&mut self) -> bool {
        loop {
            match self.0.conn.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
                _ => return true,
            }
            let now = Timespec::default();
            let mut wanted = [PollFd::new(&self.0.sock, PollFlags::IN | PollFlags::RDHUP)];
            if !poll(&mut wanted, Some(&now)).is_ok_and(|found| found > 0) {
                return false;
            }
            if !matches!(self.0.conn.read_tls(&mut self.0.sock), Ok(1..)) {
                return true;
            }
        }
    }
}

impl Read for Sealed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Sealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

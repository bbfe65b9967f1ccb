//! A blocking client that speaks TLS, as cheap to hold as may be.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;

use tls::{
    Connector, ConnectorConfig, Failure, Output, Record, Session, Trust, Versions, next_record,
};

/// What makes sessions that believe every certificate.
pub(crate) fn connector() -> Result<Connector> {
    let config = ConnectorConfig {
        trust: Trust::Anyone,
        max_chain: u32::MAX,
        identity: None,
        versions: Versions::default(),
        sni: true,
        alpn: Vec::new(),
    };
    Connector::new(config).map_err(Error::other)
}

/// A client's connection, plain or not.
pub(crate) enum Line {
    Plain(TcpStream),
    Secret(Box<Secret>),
}

/// A secured one.
pub(crate) struct Secret {
    stream: TcpStream,
    session: Session,
    /// Received, and not a whole record yet.
    part: Vec<u8>,
}

impl Secret {
    /// Shakes hands.
    pub(crate) fn new(stream: TcpStream, connector: &Connector) -> Result<Self> {
        let session = connector.connect("bench.example").map_err(broken)?;
        let mut secret = Self { stream, session, part: Vec::new() };
        let mut memory = [0; 4096];
        let mut output = Output::new(&mut memory);
        secret.session.begin(&mut output).map_err(broken)?;
        secret.stream.write_all(output.bytes())?;
        while secret.session.is_handshaking() {
            secret.hear(&mut [])?;
        }
        Ok(secret)
    }

    /// Receives once, and reads the records that are whole by then; what they hold goes into
    /// `room`, which must be large enough.
    fn hear(&mut self, room: &mut [u8]) -> Result<usize> {
        let mut bytes = [0; 16 << 10];
        let received = self.stream.read(&mut bytes)?;
        if received == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.part.extend_from_slice(bytes.get(..received).unwrap_or_default());
        let (mut taken, mut heard) = (0, 0);
        while let Record::Whole(whole) = next_record(self.part.get(taken..).unwrap_or_default()) {
            let mut memory = [0; 4096];
            let mut output = Output::new(&mut memory);
            let record = self.part.get_mut(taken..taken + whole).unwrap_or_default();
            let read = self.session.read(record, &mut output, |plain| {
                if let Some(place) = room.get_mut(heard..heard + plain.len()) {
                    place.copy_from_slice(plain);
                }
                heard += plain.len();
            });
            read.map_err(broken)?;
            self.stream.write_all(output.bytes())?;
            taken += whole;
        }
        self.part.drain(..taken);
        if self.part.is_empty() {
            self.part = Vec::new();
        }
        Ok(heard)
    }
}

impl Read for Line {
    fn read(&mut self, room: &mut [u8]) -> Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(room),
            Self::Secret(secret) => loop {
                // Tickets are nothing to whoever reads.
                let heard = secret.hear(room)?;
                if heard > 0 {
                    return Ok(heard);
                }
            },
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let secret = match self {
            Self::Plain(stream) => return stream.write(bytes),
            Self::Secret(secret) => secret,
        };
        let mut memory = [0; 4096];
        let mut output = Output::new(&mut memory);
        let now = bytes.get(..bytes.len().min(2048)).unwrap_or_default();
        secret.session.write(now, &mut output).map_err(broken)?;
        secret.stream.write_all(output.bytes())?;
        Ok(now.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

fn broken(failure: Failure) -> Error {
    Error::other(failure.label())
}

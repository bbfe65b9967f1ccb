//! Somebody who issues certificates for one test.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::folder::Folder;

/// Certificates, each in a file with its key.
#[derive(Debug)]
pub struct Certificates {
    folder: Folder,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    /// None yet.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().expect("a key");
        let folder = Folder::new();
        folder.write("ca.pem", params.self_signed(&key).expect("it signs itself").pem());
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// The file of whoever issues them.
    pub fn ca(&self) -> String {
        self.folder.file("ca.pem")
    }

    /// Where the files are.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A certificate and its key (PEM): of this common name, of these hosts, and changed so.
    ///
    /// # Panics
    /// When a host's name is none.
    pub fn sign(
        &self,
        subject: &str,
        hosts: &[&str],
        change: impl Fn(&mut CertificateParams),
    ) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, subject);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let issued = params.signed_by(&key, &self.issuer).expect("it is signed");
        (issued.pem(), key.serialize_pem())
    }

    /// A file with such a certificate and its key.
    ///
    /// # Panics
    /// When a host's name is none.
    pub fn issue(&self, subject: &str, hosts: &[&str]) -> String {
        let (certificate, key) = self.sign(subject, hosts, |_| ());
        self.folder.write(&format!("{subject}.pem"), certificate + &key)
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

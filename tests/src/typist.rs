//! OpenSSL's client with somebody at the keyboard: what it does in the middle of a session is told it there.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::{JoinHandle, spawn};

use crate::wait::pause;

/// OpenSSL's client, to which a line of one letter is a command.
#[derive(Debug)]
pub struct Typist {
    client: Child,
    keyboard: ChildStdin,
    /// What it was told, and what it says itself.
    outputs: [JoinHandle<String>; 2],
}

impl Typist {
    /// Shakes hands with whoever is at `IP:PORT`.
    ///
    /// # Panics
    /// When OpenSSL is not installed.
    pub fn begin(address: &str) -> Self {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", address, "-tls1_3", "-quiet"]);
        client.args(["-no_ign_eof", "-servername", "a.example"]);
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = client.spawn().expect("openssl is installed");
        let keyboard = client.stdin.take().expect("a pipe");
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(client.stdout.take().expect("a pipe")),
            Box::new(client.stderr.take().expect("a pipe")),
        ];
        let outputs = outputs.map(|mut output| {
            spawn(move || {
                let mut bytes = Vec::new();
                output.read_to_end(&mut bytes).expect("a pipe");
                String::from_utf8_lossy(&bytes).into_owned()
            })
        });
        pause(200);
        Self { client, keyboard, outputs }
    }

    /// Types something, and takes its hands away: a command begins what is read at once.
    pub fn types(&mut self, text: &str) {
        // Who was turned away reads nothing.
        let _ = self.keyboard.write_all(text.as_bytes());
        pause(20);
    }

    /// What it was told until its connection ended, and what it says of that.
    ///
    /// # Panics
    /// When what it writes cannot be read.
    pub fn ends(mut self) -> [String; 2] {
        self.client.wait().expect("it runs");
        self.outputs.map(|output| output.join().expect("it reads"))
    }
}

//! One certificate for everybody whose clients speak TLS: ECDSA on P-256, made once by OpenSSL.

use std::path::Path;
use std::time::Duration;

use crate::address::Address;
use crate::error::{Outcome, failure};
use crate::process::Process;
use crate::stand::Setup;
use crate::stand::folder::Folder;

/// The certificate, its key, and both in one file, in the folder.
pub(super) const CERTIFICATE: &str = "bench.pem";
pub(super) const KEY: &str = "bench.key";
pub(super) const BOTH: &str = "bench-both.pem";

/// Makes them, unless they are there.
pub(super) fn make(folder: &Folder) -> Outcome<()> {
    let path = |name| folder.path(name).display().to_string();
    if folder.path(BOTH).is_file() {
        return Ok(());
    }
    let line = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj \
         /CN=bench.example -keyout {} -out {}",
        path(KEY),
        path(CERTIFICATE)
    );
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    Process::start(Path::new("openssl"), &words, None)?.output(Duration::from_secs(20))?;
    let read = |name| std::fs::read_to_string(folder.path(name));
    let (Ok(certificate), Ok(key)) = (read(CERTIFICATE), read(KEY)) else {
        return Err(failure("openssl made no certificate"));
    };
    folder.write(BOTH, &format!("{certificate}{key}"))?;
    Ok(())
}

/// Starts ours from a file, since TLS is no flag.
pub(super) fn anteroom(
    program: &Path,
    folder: &Folder,
    listen: &Address,
    setup: &Setup,
) -> Outcome<Process> {
    let text = format!(
        "workers = 1\nmax_clients = {}\nspool = false\n\
         [[listen]]\naddress = \"{listen}\"\nproxy = \"http\"\n\
         tls = {{ certificates = [{{ certificate = \"{}\", key = \"{}\" }}] }}\n\
         [[upstream]]\nservers = [\"{}\"]\nconnections = {}\n",
        setup.clients,
        folder.path(CERTIFICATE).display(),
        folder.path(KEY).display(),
        setup.upstream,
        setup.connections
    );
    let file = folder.write(&format!("anteroom-{}.toml", listen.port()), &text)?;
    let arguments = ["run".to_owned(), file.display().to_string()];
    let mut process = Process::start(program, &arguments, setup.core)?;
    process.line("anteroom ready", Duration::from_secs(20))?;
    Ok(process)
}

//! anteroom from a file, with a list of networks that it denies, or a password that it asks for.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{Folder, Setup};
use crate::address::Address;
use crate::error::{Outcome, While};
use crate::process::Process;

/// [`CREDENTIALS`](super::CREDENTIALS) as bcrypt has them, at its least cost but one.
const HASHED: &str = "me:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";

/// Starts it with as many denied networks as the setup says, none of them a client's.
pub(super) fn start(
    program: &Path,
    folder: &Folder,
    listen: &Address,
    setup: &Setup,
) -> Outcome<Process> {
    let count = setup.denied.unwrap_or(0);
    let mut asked = String::new();
    if count > 0 {
        let file = folder.path(&format!("deny-{count}.txt"));
        let name = file.display().to_string();
        fs::write(&file, networks(count)).doing(&name)?;
        asked = format!("deny = [{{ file = \"{name}\" }}]\n");
    }
    if setup.credentials.is_some() {
        let file = folder.path("passwords");
        let name = file.display().to_string();
        fs::write(&file, HASHED).doing(&name)?;
        asked = format!("{asked}authorize = {{ basic = \"{name}\", cache = \"1h\" }}\n");
    }
    let Setup { upstream, clients, connections, .. } = setup;
    let content = format!(
        "workers = 1\nmax_clients = {clients}\n[[listen]]\naddress = \"{listen}\"\nproxy = \"http\"\n\
         {asked}[[upstream]]\nservers = [\"{upstream}\"]\nconnections = {connections}\n"
    );
    let file = folder.path(&format!("screened-{}.toml", listen.port()));
    let name = file.display().to_string();
    fs::write(&file, content).doing(&name)?;
    let mut process = Process::start(program, &["run".to_owned(), name], setup.core)?;
    process.line("anteroom ready", Duration::from_secs(20))?;
    Ok(process)
}

/// Networks apart from each other, on both sides of the clients'.
fn networks(count: u32) -> String {
    // Spread evenly, so that the search for a client ends in the middle of the table.
    let step = (0xdf00_0000_u32 - 0x1000_0000) / count.max(1);
    let network = |number: u32| {
        let [a, b, c, d] = ((0x1000_0000 + number * step) & 0xffff_ff80).to_be_bytes();
        (a != 127).then(|| format!("{a}.{b}.{c}.{d}/25\n"))
    };
    (0..count).filter_map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_surround_the_clients_own_and_hold_none_of_them() {
        let text = networks(100_000);
        assert!(text.lines().count() > 99_000);
        assert!(text.lines().any(|line| line.starts_with("126.")));
        assert!(text.lines().any(|line| line.starts_with("128.")));
        assert!(!text.lines().any(|line| line.starts_with("127.")));
    }
}

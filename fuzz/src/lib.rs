//! What must hold for any bytes: one check for each parser, for each stream and for each store.
//!
//! A check is given bytes, reads from them what happens, and panics when something does not hold.
//! `targets/` makes a program of each; `cargo xtask fuzz` builds them with libFuzzer, which looks
//! for bytes that reach code not reached before. Built in the ordinary way, such a program checks
//! the files that it is given. `corpus/` holds what they begin with.
//!
//! - [`control`]: what those answer whom the control thread asks;
//! - [`cuts`]: the pieces in which bytes arrive;
//! - [`reference`]: HTTP/1.1 read a second time, by other means;
//! - [`wire`]: the codecs;
//! - [`proxy`]: the HTTP proxy over chains;
//! - [`secured`]: sessions of TLS, and files of certificates;
//! - [`stage`]: the whole worker between a client and a server;
//! - [`store`]: the pool and the spool;
//! - [`text`]: configurations, lists, quantities, the access log, orders.
#![forbid(unsafe_code)]

pub mod control;
pub mod cuts;
pub mod proxy;
pub mod reference;
pub mod secured;
pub mod stage;
pub mod store;
pub mod text;
pub mod wire;

use std::path::Path;
use std::process::ExitCode;

/// Makes a program of a check.
#[macro_export]
macro_rules! target {
    ($check:path) => {
        #[cfg(feature = "libfuzzer")]
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $check(bytes));

        #[cfg(not(feature = "libfuzzer"))]
        fn main() -> std::process::ExitCode {
            $crate::replay($check)
        }
    };
}

/// Checks the files named on the command line, folders with all that is in them.
pub fn replay(check: fn(&[u8])) -> ExitCode {
    let mut files = 0;
    for path in std::env::args_os().skip(1) {
        if let Err(error) = replay_path(check, Path::new(&path), &mut files) {
            eprintln!("{}: {error}", Path::new(&path).display());
            return ExitCode::from(2);
        }
    }
    println!("{files} files hold");
    ExitCode::SUCCESS
}

fn replay_path(check: fn(&[u8]), path: &Path, files: &mut u32) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in path.read_dir()? {
            replay_path(check, &entry?.path(), files)?;
        }
        return Ok(());
    }
    check(&std::fs::read(path)?);
    *files += 1;
    Ok(())
}

//! The servers of a configuration, as `check` prints them: what is done with each, and where its
//! name leads.

use std::fmt;

use bus::{Balance, Policy};

use crate::quantity::{Length, counted};
use crate::settings::{Group, Server, Settings};

/// Every group with its servers.
pub(crate) struct Roster<'s>(pub(crate) &'s Settings);

impl fmt::Display for Roster<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in &self.0.groups {
            writeln!(f, "upstream {}: {}", group.name, Manner(group))?;
            for server in &group.servers {
                writeln!(f, "  {}", Line(server))?;
            }
        }
        writeln!(f)
    }
}

/// How a group treats its servers.
struct Manner<'g>(&'g Group);

impl fmt::Display for Manner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Policy { balance, health, retries, warm, passes } = self.0.policy;
        let balance = match balance {
            Balance::LeastLeased => "least-leased",
            Balance::RoundRobin => "round-robin",
        };
        if passes {
            return write!(
                f,
                "{balance}; left alone after {} for at most {}, given up after {}; passed through, \
                 at most {} to each",
                counted(u64::from(health.max_fails), "failure"),
                Length(health.fail_timeout),
                Length(health.grace),
                counted(u64::from(self.0.pinned), "connection"),
            );
        }
        write!(
            f,
            "{balance}; left alone after {} for at most {}, given up after {}; sent at most {}, \
             retries at most {} % of the requests; {} warm",
            counted(u64::from(health.max_fails), "failure"),
            Length(health.fail_timeout),
            Length(health.grace),
            counted(u64::from(retries.attempts), "time"),
            retries.budget,
            warm
        )
    }
}

/// A server.
struct Line<'s>(&'s Server);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.0;
        let connections = counted(u64::from(server.connections), "connection");
        write!(f, "{}: {connections}, weight {}", server.label, server.weight)?;
        if server.backup {
            f.write_str(", backup")?;
        }
        if server.name.is_some() {
            let addresses: Vec<String> = server.addresses.iter().map(ToString::to_string).collect();
            write!(f, ", now at {}", addresses.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    #[test]
    fn servers_are_shown_with_what_is_done_with_them() {
        let mut settings =
            settings("--listen :0 --upstream 127.0.0.1:9 --upstream localhost:10").unwrap();
        settings.groups[0].servers[0].backup = true;
        let shown = Roster(&settings).to_string();
        for part in [
            "upstream upstream: least-leased; left alone after 1 failure for at most 1s, ",
            "given up after 1s; sent at most 3 times, retries at most 20 % of the requests; 0 warm",
            "\n  127.0.0.1:9: 8 connections, weight 1, backup\n",
            "\n  localhost:10: 8 connections, weight 1, now at 127.0.0.1:10\n",
        ] {
            assert!(shown.contains(part), "no `{part}` in\n{shown}");
        }
    }
}

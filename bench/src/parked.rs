//! What a parked client costs: user memory by PSS, kernel memory by slab objects.

use std::thread;
use std::time::Duration;

use clap::Args;

use crate::address::Address;
use crate::error::{Outcome, failure};
use crate::process::Process;
use crate::slab::{Growth, Slabs};
use crate::stand::{Proxy, Running, Setup, Stand, role, upstream};
use crate::statistics::real;
use crate::table::Table;
use crate::usage::{Memory, memory};

/// What to measure.
#[derive(Args)]
pub(crate) struct Parked {
    /// Clients held.
    #[arg(long, default_value_t = 18_000)]
    clients: usize,
    /// Clients that exchange at the same time while the crowd comes in.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Upstream connections (anteroom: the most; nginx: those kept).
    #[arg(long, default_value_t = 64)]
    connections: usize,
}

/// How long everything rests before memory is read.
const REST: Duration = Duration::from_secs(2);

/// The memory of one proxy's processes at four moments.
struct Held {
    /// A table for one client, after two requests of that client.
    single: Memory,
    /// The full table, after a small crowd came and went.
    idle: Memory,
    /// All clients after one request each.
    once: Memory,
    /// All clients after two requests each.
    twice: Memory,
    /// The kernel's growth from idle to the clients after two requests.
    kernel: Vec<Growth>,
    /// Clients that were answered in a last round, after the memory was read.
    alive: usize,
}

impl Parked {
    /// Measures these proxies; prints the tables.
    pub(crate) fn run(&self, stand: &Stand, proxies: &[Proxy]) -> Outcome<()> {
        stand.patience.wait_for_quiet()?;
        let pair = self.pair()?;
        let mut user = Table::new(&[
            "user memory per parked client, B",
            "after 1 request",
            "after 2",
            "after 2, anonymous only",
            "after 2, against own idle",
            "idle, own table, MiB",
            "one client's table, MiB",
            "answered at last",
        ]);
        let mut kernel = Table::new(&[
            "kernel memory per parked client, B",
            "both sides",
            "proxy's side",
            "beyond a plain socket",
        ]);
        kernel.row(self.kernel_row("a pair of plain sockets", &pair, &pair));
        let mut objects = Table::new(&["objects per client", "size, B", "count"]);
        self.object_rows(&mut objects, "plain pair", &pair);
        // The floor would need two descriptors a client.
        for &proxy in proxies.iter().filter(|&&proxy| proxy != Proxy::Floor) {
            stand.patience.wait_for_quiet()?;
            let held = self.hold(stand, proxy)?;
            user.row(self.user_row(proxy, &held));
            kernel.row(self.kernel_row(&proxy.to_string(), &held.kernel, &pair));
            self.object_rows(&mut objects, &proxy.to_string(), &held.kernel);
        }
        println!("\n{user}\n{kernel}\n{objects}");
        Ok(())
    }

    fn hold(&self, stand: &Stand, proxy: Proxy) -> Outcome<Held> {
        let server = Address::free()?;
        let _server = upstream(&server, None)?;
        let setup = |clients| Setup {
            upstream: server.clone(),
            clients,
            connections: self.connections,
            core: None,
        };
        let single = {
            let running = stand.start(proxy, &setup(1))?;
            let mut one = self.crowd(&running, 1)?;
            round(&mut one, 1)?;
            round(&mut one, 1)?;
            thread::sleep(REST);
            memory(&running.process.family())?
        };
        let running = stand.start(proxy, &setup(self.clients))?;
        let processes = running.process.family();
        {
            let mut few = self.crowd(&running, self.batch)?;
            round(&mut few, self.batch)?;
            round(&mut few, self.batch)?;
        }
        let mut crowd = self.crowd(&running, self.clients)?;
        thread::sleep(REST);
        let (idle, before) = (memory(&processes)?, Slabs::now()?);
        round(&mut crowd, self.clients)?;
        thread::sleep(REST);
        let once = memory(&processes)?;
        round(&mut crowd, self.clients)?;
        thread::sleep(REST);
        let (twice, kernel) = (memory(&processes)?, Slabs::now()?.since(&before));
        let alive = answered(&mut crowd)?;
        Ok(Held { single, idle, once, twice, kernel, alive })
    }

    /// The kernel's growth for as many pairs of plain sockets, after two requests each.
    fn pair(&self) -> Outcome<Vec<Growth>> {
        let server = Address::free()?.to_string();
        let clients = self.clients.to_string();
        let _bare = role(&["bare", "--listen", &server, "--clients", &clients], None)?;
        let mut crowd = self.holder(&server, self.clients)?;
        thread::sleep(REST);
        let before = Slabs::now()?;
        round(&mut crowd, self.clients)?;
        round(&mut crowd, self.clients)?;
        thread::sleep(REST);
        Ok(Slabs::now()?.since(&before))
    }

    fn crowd(&self, running: &Running, clients: usize) -> Outcome<Process> {
        self.holder(&running.address.to_string(), clients)
    }

    fn holder(&self, target: &str, clients: usize) -> Outcome<Process> {
        let (clients, batch) = (clients.to_string(), self.batch.to_string());
        role(&["hold", "--target", target, "--clients", &clients, "--batch", &batch], None)
    }

    /// Bytes for each client.
    fn each(&self, bytes: i64) -> f64 {
        let amount = real(bytes.unsigned_abs()) / real(u64::try_from(self.clients).unwrap_or(1));
        if bytes < 0 { -amount } else { amount }
    }

    fn user_row(&self, proxy: Proxy, held: &Held) -> Vec<String> {
        let grown = |after: u64, before: u64| {
            format!("{:.0}", self.each(after.cast_signed() - before.cast_signed()))
        };
        let mebibytes = |bytes: u64| format!("{:.2}", real(bytes) / f64::from(1 << 20));
        vec![
            proxy.to_string(),
            grown(held.once.pss, held.single.pss),
            grown(held.twice.pss, held.single.pss),
            grown(held.twice.anonymous, held.single.anonymous),
            grown(held.twice.pss, held.idle.pss),
            mebibytes(held.idle.pss),
            mebibytes(held.single.pss),
            format!("{} of {}", held.alive, self.clients),
        ]
    }

    fn kernel_row(&self, name: &str, growth: &[Growth], pair: &[Growth]) -> Vec<String> {
        let both = self.each(sum(growth));
        let plain = self.each(socket(pair));
        let client = self.each(sum(pair)) - plain;
        let row = [both, both - client, both - client - plain];
        let cells = row.iter().map(|bytes| format!("{bytes:.0}"));
        std::iter::once(name.to_owned()).chain(cells).collect()
    }

    /// Caches of which a client uses at least a twentieth of an object.
    fn object_rows(&self, table: &mut Table, name: &str, growth: &[Growth]) {
        for grown in growth {
            let count = self.each(grown.objects);
            if grown.size > 1 && count.abs() >= 0.05 {
                let title = format!("{name}: {}", grown.cache);
                table.row(vec![title, grown.size.to_string(), format!("{count:.2}")]);
            }
        }
    }
}

fn sum(growth: &[Growth]) -> i64 {
    growth.iter().map(Growth::bytes).sum()
}

/// What one side of a pair of plain sockets costs: half of what both sides have alike. The
/// rest (the bound local port) is the connecting side's alone.
fn socket(pair: &[Growth]) -> i64 {
    const ALIKE: [&str; 6] =
        ["TCP", "sock_inode_cache", "filp", "dentry", "lsm_inode_cache", "lsm_file_cache"];
    let alike = pair.iter().filter(|grown| ALIKE.contains(&grown.cache.as_str()));
    alike.map(Growth::bytes).sum::<i64>() / 2
}

/// How many of a crowd were answered in one more round.
fn answered(crowd: &mut Process) -> Outcome<usize> {
    crowd.tell("round")?;
    Ok(crowd.line("round", Duration::from_mins(2))?.parse()?)
}

/// A round in which everybody must be answered.
fn round(crowd: &mut Process, clients: usize) -> Outcome<()> {
    match answered(crowd)? {
        all if all == clients => Ok(()),
        some => Err(failure(format!("only {some} of {clients} clients were answered"))),
    }
}

//! What a request costs in units that repeat: system calls, and instructions of our own. Times
//! move with the machine, these do not: they show what a change gained.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use crate::address::Address;
use crate::error::{Outcome, While, failure};
use crate::process::Process;
use crate::rows::{PROXY_CORE, Row, Work};
use crate::stand::{Proxy, Stand, anteroom_line, tcp};
use crate::statistics::real;
use crate::table::Table;

/// What to profile.
#[derive(Args)]
pub(crate) struct Profile {
    /// One of the rows of CPU per request.
    #[arg(long, value_enum, default_value = "keepalive")]
    row: Row,
    /// Whose system calls are counted; instructions are anteroom's alone.
    #[arg(long, value_enum, default_value = "anteroom")]
    proxy: Proxy,
    /// Requests, and one more for each client.
    #[arg(long, default_value_t = 10_000)]
    requests: u64,
    /// How many functions are shown.
    #[arg(long, default_value_t = 30)]
    functions: usize,
}

/// How long the tools may take to begin and to write down what they found.
const PATIENCE: Duration = Duration::from_mins(1);

impl Profile {
    /// Counts, and prints what was counted.
    pub(crate) fn run(&self, stand: &Stand) -> Outcome<()> {
        let work = Work::of(self.row)
            .ok_or_else(|| failure(format!("{} is no row of CPU per request", self.row.name())))?;
        let (server, _behind) = work.server(stand)?;
        println!("{}", self.system_calls(stand, work, &server)?);
        if self.proxy == Proxy::Anteroom {
            println!("{}", self.instructions(stand, work, &server)?);
        }
        Ok(())
    }

    /// Counts by `strace -c`, from before the clients come until after they have gone.
    fn system_calls(&self, stand: &Stand, work: &Work, server: &Address) -> Outcome<Table> {
        let running = stand.start(self.proxy, &work.setup(server))?;
        let file = stand.folder.path("strace.txt");
        let mut line = format!("-f -c -o {}", file.display());
        for process in running.process.family() {
            line = format!("{line} -p {process}");
        }
        let mut strace = Process::start(Path::new("strace"), &words(&line), None)?;
        strace.line("strace: Process", PATIENCE)?;
        let requests = work.clients() + self.requests;
        work.ask(running.address, requests)?;
        end(strace, Signal::INT)?;
        let text = fs::read_to_string(&file).doing("strace's report")?;
        let title = format!("system calls of {} per request, {}", self.proxy, self.row.name());
        let mut table = Table::new(&[&title, "calls", "of these in vain"]);
        for call in calls(&text) {
            let per_request = |count: u64| format!("{:.3}", real(count) / real(requests));
            table.row(vec![call.name, per_request(call.count), per_request(call.errors)]);
        }
        Ok(table)
    }

    /// Counts by callgrind: what so many requests more cost.
    fn instructions(&self, stand: &Stand, work: &Work, server: &Address) -> Outcome<String> {
        let (less, more) = (work.clients() + self.requests / 10, work.clients() + self.requests);
        let few = under_callgrind(stand, work, server, less)?;
        let many = under_callgrind(stand, work, server, more)?;
        let each = (summary(&many)? - summary(&few)?) / real(more - less);
        let annotate = words(&format!("--auto=no --show-percs=no {many}"));
        let annotate = Process::start(Path::new("callgrind_annotate"), &annotate, None)?;
        let text = annotate.output(PATIENCE)?;
        let functions = text.lines().skip_while(|line| !line.contains("file:function"));
        let functions: Vec<&str> = functions.take(self.functions + 2).collect();
        Ok(format!(
            "instructions of anteroom per request, {}: {each:.0}\n\n\
             all instructions of {more} requests, by function:\n{}",
            self.row.name(),
            functions.join("\n")
        ))
    }
}

/// Runs anteroom under callgrind for so many requests; gives the file of its counts.
fn under_callgrind(stand: &Stand, work: &Work, server: &Address, requests: u64) -> Outcome<String> {
    let listen = Address::free()?;
    let counts = stand.folder.path(&format!("callgrind-{requests}.out")).display().to_string();
    let line = format!(
        "--tool=callgrind --callgrind-out-file={counts} {} {} --io epoll",
        stand.anteroom.display(),
        anteroom_line(&listen, &work.setup(server))
    );
    let mut anteroom = Process::start(Path::new("valgrind"), &words(&line), Some(PROXY_CORE))?;
    anteroom.line("anteroom ready", PATIENCE)?;
    work.ask(tcp(&listen)?, requests)?;
    end(anteroom, Signal::TERM)?;
    Ok(counts)
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Asks a program to end, and waits until it has.
fn end(program: Process, signal: Signal) -> Outcome<()> {
    thread::sleep(Duration::from_millis(200));
    let id = i32::try_from(program.id()).ok().and_then(Pid::from_raw);
    kill_process(id.ok_or_else(|| failure("an odd process id"))?, signal)?;
    program.output(PATIENCE).map(drop)
}

/// A line of strace's report.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    name: String,
    count: u64,
    errors: u64,
}

/// The system calls of a report, most frequent first.
fn calls(report: &str) -> Vec<Call> {
    let lines = report.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (count, errors, name) = match words.as_slice() {
            [_, _, _, count, name] => (count, "0", name),
            [_, _, _, count, errors, name] => (count, *errors, name),
            _ => return None,
        };
        let (count, errors) = (count.parse().ok()?, errors.parse().ok()?);
        (*name != "total").then(|| Call { name: (*name).to_owned(), count, errors })
    });
    let mut calls: Vec<Call> = lines.collect();
    calls.sort_by_key(|call| std::cmp::Reverse(call.count));
    calls
}

/// The sum of a callgrind file.
fn summary(file: &str) -> Outcome<f64> {
    let text = fs::read_to_string(file).doing(file)?;
    let lines = text.lines();
    let mut sums = lines.filter_map(|line| {
        let rest = line.strip_prefix("summary:").or_else(|| line.strip_prefix("totals:"))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    });
    sums.next().map(real).ok_or_else(|| failure(format!("no sum in {file}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straces_report_is_understood() {
        let report = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            52.20    1.497537      374384         4           epoll_wait\n\
            12.10    0.059904          11      5064        64 accept4\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    2.868974          35     81290        65 total\n";
        let call = |name: &str, count, errors| Call { name: name.to_owned(), count, errors };
        assert_eq!(calls(report), [call("accept4", 5064, 64), call("epoll_wait", 4, 0)]);
    }
}

//! What processes use: memory and processor time, from /proc.

use std::fs;

use crate::error::{Outcome, While, failure};

/// Proportional set size of processes, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Everything: private memory and this process's share of what several map.
    pub(crate) pss: u64,
    /// Of that, memory no file stands behind: heap, stacks, tables, pools.
    pub(crate) anonymous: u64,
}

/// The sum over these processes, from `smaps_rollup`.
pub(crate) fn memory(processes: &[u32]) -> Outcome<Memory> {
    let mut sum = Memory::default();
    for process in processes {
        let path = format!("/proc/{process}/smaps_rollup");
        let text = fs::read_to_string(&path).doing(&path)?;
        sum.pss += kibibytes(&text, "Pss:")?;
        sum.anonymous += kibibytes(&text, "Pss_Anon:")?;
    }
    Ok(sum)
}

fn kibibytes(text: &str, key: &str) -> Outcome<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    number.map(|number| number * 1024).ok_or_else(|| failure(format!("no {key} in smaps_rollup")))
}

/// Ticks a second in /proc (`USER_HZ`, 100 on every Linux there is).
pub(crate) const TICKS: f64 = 100.0;

/// User and system time of these processes and all their threads so far, in seconds: what the
/// scheduler counts in nanoseconds. (The `utime` and `stime` of /proc/PID/stat share the same
/// sum out, rounded to ticks of 10 ms.)
pub(crate) fn processor_time(processes: &[u32]) -> Outcome<f64> {
    let mut nanoseconds = 0;
    for process in processes {
        let path = format!("/proc/{process}/task");
        for task in fs::read_dir(&path).doing(&path)? {
            let path = task?.path().join("schedstat");
            // A thread that has ended meanwhile has nothing left to tell.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let first = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            nanoseconds +=
                first.ok_or_else(|| failure(format!("{} is odd: {text}", path.display())))?;
        }
    }
    Ok(crate::statistics::real(nanoseconds) / 1e9)
}

/// User and system time of all programs this one started that have ended, in seconds.
pub(crate) fn time_of_the_ended() -> Outcome<f64> {
    let path = "/proc/self/stat";
    let text = fs::read_to_string(path).doing(path)?;
    let ticks = ended_ticks(&text).ok_or_else(|| failure(format!("{path} is odd: {text}")))?;
    Ok(crate::statistics::real(ticks) / TICKS)
}

/// Fields between a process's name and the times of its ended children, the 16th and 17th.
const BEFORE: usize = 13;

/// User plus system time of the children; the name may hold anything, parentheses too.
fn ended_ticks(text: &str) -> Option<u64> {
    let (_, behind) = text.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(BEFORE);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The process and all that descend from it.
pub(crate) fn family(process: u32) -> Vec<u32> {
    let mut members = vec![process];
    let mut next = 0;
    while let Some(&member) = members.get(next) {
        next += 1;
        members.extend(children(member));
    }
    members
}

fn children(process: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| {
        let list = fs::read_to_string(task.path().join("children")).ok()?;
        Some(list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
    });
    lists.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194560 99 0 0 0 123 45 6 7 20 0 1 0 100 0 0";
        assert_eq!(ended_ticks(text), Some(13));
    }

    #[test]
    fn this_process_uses_something() {
        let this = std::process::id();
        let memory = memory(&[this]).unwrap();
        assert!(memory.pss > 0 && memory.anonymous <= memory.pss);
        assert!(memory_of_nobody_fails());
        let before = processor_time(&[this]).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_millis(20) {}
        assert!(processor_time(&[this]).unwrap() > before);
    }

    fn memory_of_nobody_fails() -> bool {
        memory(&[u32::MAX]).is_err() && processor_time(&[u32::MAX]).is_err()
    }

    #[test]
    fn a_child_belongs_to_the_family() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = family(std::process::id()).contains(&child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}

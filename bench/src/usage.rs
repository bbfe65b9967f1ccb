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

/// User and system time of these processes and all their threads so far, in seconds.
pub(crate) fn processor_time(processes: &[u32]) -> Outcome<f64> {
    let mut seconds = 0.0;
    for process in processes {
        seconds += stat(&format!("/proc/{process}/stat"), OWN)?;
    }
    Ok(seconds)
}

/// User and system time of all programs this one started that have ended, in seconds.
pub(crate) fn time_of_the_ended() -> Outcome<f64> {
    stat("/proc/self/stat", ENDED_CHILDREN)
}

/// How many fields stand between a process's name and its own times (utime and stime, the 14th
/// and 15th field), or those of its ended children (the 16th and 17th).
const OWN: usize = 11;
const ENDED_CHILDREN: usize = 13;

fn stat(path: &str, skipped: usize) -> Outcome<f64> {
    let text = fs::read_to_string(path).doing(path)?;
    let ticks = stat_ticks(&text, skipped);
    let ticks = ticks.ok_or_else(|| failure(format!("{path} is odd: {text}")))?;
    Ok(crate::statistics::real(ticks) / TICKS)
}

/// User plus system time; the name may hold anything, parentheses too.
fn stat_ticks(text: &str, skipped: usize) -> Option<u64> {
    let (_, behind) = text.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(skipped);
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
        assert_eq!(stat_ticks(text, OWN), Some(168));
        assert_eq!(stat_ticks(text, ENDED_CHILDREN), Some(13));
    }

    #[test]
    fn this_process_uses_something() {
        let this = std::process::id();
        let memory = memory(&[this]).unwrap();
        assert!(memory.pss > 0 && memory.anonymous <= memory.pss);
        assert!(processor_time(&[this]).unwrap() >= 0.0);
        assert!(memory_of_nobody_fails());
    }

    fn memory_of_nobody_fails() -> bool {
        memory(&[u32::MAX]).is_err()
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

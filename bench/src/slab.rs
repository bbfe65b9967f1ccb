//! Kernel memory: objects in the slab caches, and pages of TCP buffers.
//!
//! What a cache keeps free for each core counts as used in `/proc/slabinfo`: some dozens of
//! objects in each, which for sockets of 2.4 KB are bytes per client. So every cache is shrunk
//! before it is counted: then its count is exact.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use crate::error::{Outcome, While, failure};
use crate::statistics::real;

/// Caches that grow with files, programs, address spaces and connections that are over, not with
/// open sockets: whatever else this machine does shows there, so they are left out. (Not
/// `anon_vma_chain`: caches of equal size are one, under the name of the first, and this one
/// holds epoll's wait queue entries.)
const UNRELATED: [&str; 19] = [
    "bio-",
    "buffer_head",
    "cred_jar",
    "debugfs_inode_cache",
    "ext4_",
    "inode_cache",
    "jbd2_",
    "maple_node",
    "mm_struct",
    "overlayfs_",
    "ovl_",
    "pid",
    "proc_inode_cache",
    "radix_tree_node",
    "shmem_inode_cache",
    "task_struct",
    "tw_sock_TCP",
    "vm_area_struct",
    "kmalloc-rcl-",
];

/// One moment of the kernel's memory.
pub(crate) struct Slabs {
    /// Name of a cache: objects in use, bytes of one.
    caches: BTreeMap<String, (u64, u64)>,
    /// Pages of TCP's buffers.
    buffers: u64,
}

/// How far one cache grew.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Growth {
    /// The cache's name; kinds of equal size share one.
    pub(crate) cache: String,
    /// Objects more.
    pub(crate) objects: i64,
    /// Bytes of one object.
    pub(crate) size: u64,
}

/// How long objects freed by RCU may take to be free indeed.
const GRACE: Duration = Duration::from_millis(500);

impl Growth {
    /// Bytes more.
    pub(crate) fn bytes(&self) -> f64 {
        let bytes = real(self.objects.unsigned_abs() * self.size);
        if self.objects < 0 { -bytes } else { bytes }
    }
}

impl Slabs {
    /// Waits a moment, shrinks the caches, and reads /proc/slabinfo (only root may) and
    /// /proc/net/sockstat.
    pub(crate) fn now() -> Outcome<Self> {
        thread::sleep(GRACE);
        for cache in fs::read_dir("/sys/kernel/slab").doing("/sys/kernel/slab")? {
            let cache = cache?;
            let name = cache.file_name().to_string_lossy().into_owned();
            if !is_unrelated(&name) && !name.starts_with(':') {
                let path = cache.path().join("shrink");
                fs::write(&path, "1").doing(&path.display().to_string())?;
            }
        }
        let text = fs::read_to_string("/proc/slabinfo").doing("/proc/slabinfo (root only)")?;
        let sockets = fs::read_to_string("/proc/net/sockstat").doing("/proc/net/sockstat")?;
        Ok(Self { caches: caches(&text), buffers: buffers(&sockets)? })
    }

    /// What grew since, the unrelated caches left out. Pages of TCP's buffers stand among them.
    pub(crate) fn since(&self, before: &Self) -> Vec<Growth> {
        let mut growth: Vec<Growth> = Vec::new();
        for (cache, &(objects, size)) in &self.caches {
            let (earlier, _) = before.caches.get(cache).copied().unwrap_or_default();
            let objects = objects.cast_signed() - earlier.cast_signed();
            growth.push(Growth { cache: cache.clone(), objects, size });
        }
        let objects = self.buffers.cast_signed() - before.buffers.cast_signed();
        growth.push(Growth { cache: "pages of TCP buffers".to_owned(), objects, size: PAGE });
        clamp(&mut growth);
        growth.retain(|growth| growth.objects != 0);
        growth
    }
}

/// A socket has one directory entry and one label. Whoever lists /proc/PID/fd meanwhile makes
/// the kernel keep another of each for every descriptor: those are not the connection's.
fn clamp(growth: &mut [Growth]) {
    let sockets = growth.iter().find(|grown| grown.cache == "sock_inode_cache");
    let Some(most) = sockets.map(|sockets| sockets.objects.max(0)) else { return };
    let alike = |cache: &str| cache == "dentry" || cache == "lsm_inode_cache";
    for grown in growth.iter_mut().filter(|grown| alike(&grown.cache)) {
        grown.objects = grown.objects.min(most);
    }
}

fn is_unrelated(cache: &str) -> bool {
    UNRELATED.iter().any(|start| cache.starts_with(start))
}

fn caches(text: &str) -> BTreeMap<String, (u64, u64)> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let objects: u64 = words.next()?.parse().ok()?;
        let _all = words.next()?;
        let size: u64 = words.next()?.parse().ok()?;
        (!is_unrelated(name)).then(|| (name.to_owned(), (objects, size)))
    });
    lines.collect()
}

const PAGE: u64 = 4096;

/// `TCP: inuse 3 orphan 0 tw 0 alloc 4 mem 1`: mem counts pages.
fn buffers(text: &str) -> Outcome<u64> {
    let line = text.lines().find(|line| line.starts_with("TCP:"));
    let pages = line.and_then(|line| {
        let mut words = line.split_whitespace().skip_while(|&word| word != "mem");
        words.nth(1)?.parse::<u64>().ok()
    });
    pages.ok_or_else(|| failure("no TCP memory in sockstat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n\
        TCP 10 26 2368 13 8 : tunables 0 0 0 : slabdata 2 2 0\n\
        ext4_inode_cache 5 5 1128 14 4 : tunables 0 0 0 : slabdata 1 1 0\n";

    #[test]
    fn growth_is_counted_in_objects() {
        let before = Slabs { caches: caches(TEXT), buffers: 1 };
        let after = TEXT.replace("TCP 10", "TCP 30").replace("cache 5", "cache 9");
        let after = Slabs { caches: caches(&after), buffers: 3 };
        let growth = after.since(&before);
        assert_eq!(growth.len(), 2, "{growth:?}");
        let found = growth.iter().map(|grown| (grown.cache.as_str(), grown.objects, grown.size));
        let wanted = [("TCP", 20, 2368), ("pages of TCP buffers", 2, PAGE)];
        assert_eq!(found.collect::<Vec<_>>(), wanted);
        let less = Growth { objects: -2, size: 8, cache: String::new() };
        assert!((less.bytes() + 16.0).abs() < 1e-9);
    }

    #[test]
    fn a_socket_has_one_directory_entry() {
        let grown = |cache: &str, objects| Growth { cache: cache.to_owned(), objects, size: 192 };
        let mut growth = [grown("dentry", 41), grown("sock_inode_cache", 20), grown("filp", 22)];
        clamp(&mut growth);
        assert_eq!(growth.map(|grown| grown.objects), [20, 20, 22]);
    }

    #[test]
    fn buffers_are_counted_in_pages() {
        let text = "sockets: used 9\nTCP: inuse 3 orphan 0 tw 0 alloc 4 mem 7\nUDP: mem 1\n";
        assert_eq!(buffers(text).unwrap(), 7);
        assert!(buffers("UDP: mem 1").is_err());
    }
}

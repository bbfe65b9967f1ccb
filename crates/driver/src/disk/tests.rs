//! A real file in a directory of the test's own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::limits::{SPOOL_ERRANDS, SPOOL_EXTENT};
use pool::{Chain, Pool, PoolConfig, Rank};
use spool::Piece;

use super::{Desk, Disk, SpoolError, SpoolFile};
use crate::sockets::Waker;
use crate::{Completion, SpoolDone, Ticket};

const E: u64 = SPOOL_EXTENT as u64;

fn dir() -> PathBuf {
    // On the disk that the sources are on: /tmp may be in memory.
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn desk(extents: u64) -> (Disk, Desk) {
    let file = SpoolFile::create(&dir(), extents * E).unwrap();
    let disk = Disk::start(file, 1).unwrap();
    let desk = Desk::new(&disk, Arc::new(Waker::new().unwrap()));
    (disk, desk)
}

const fn ticket(owner: u32) -> Ticket {
    Ticket { owner, generation: 7 }
}

#[expect(clippy::disallowed_methods, reason = "a test waits for a real disk")]
fn next(desk: &mut Desk) -> (Ticket, SpoolDone) {
    let began = Instant::now();
    loop {
        if let Some(Completion::Spooled { ticket, done }) = desk.next() {
            return (ticket, done);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the disk never answers");
        std::thread::yield_now();
    }
}

fn bytes(count: usize, salt: u8) -> Vec<u8> {
    (0..=250u8).cycle().map(|n| n ^ salt).take(count).collect()
}

#[test]
fn what_is_written_is_read_even_if_nobody_waited_in_between() {
    let (_disk, mut desk) = desk(4);
    let mut pool = Pool::new(PoolConfig::new(64, 1)).unwrap();
    let mut chain = Chain::new();
    let data = bytes(SPOOL_EXTENT as usize, 3);
    pool.append(&mut chain, &data, Rank::Send).unwrap();
    let piece = Piece { at: 2 * E, len: SPOOL_EXTENT };
    assert!(desk.write(&pool, &pool.cursor(&chain), piece, ticket(1)));
    pool.release(chain);
    let part = Piece { at: 2 * E + 1000, len: 5000 };
    assert!(desk.read(part, ticket(2)));
    assert_eq!(next(&mut desk), (ticket(1), SpoolDone::Written));
    let (owner, SpoolDone::Read(read)) = next(&mut desk) else { panic!("it was to be read") };
    assert_eq!(owner, ticket(2));
    let mut back = Chain::new();
    assert_eq!(desk.take(read, &mut pool, &mut back, &mut None), 5000);
    let mut out = vec![0; 5000];
    pool.copy_out(&back, &mut out);
    assert_eq!(out, data[1000..6000]);
    pool.release(back);
    pool.assert_whole();
}

#[test]
fn a_short_pool_takes_a_part_beginning_with_what_was_promised() {
    let (_disk, mut desk) = desk(1);
    // What is read ahead comes after new clients, for whom 4 of 8 buffers are not.
    let mut pool = Pool::new(PoolConfig::new(8, 1)).unwrap();
    let mut held = Chain::new();
    for _ in 0..2 {
        assert!(pool.extend(&mut held, Rank::Send, 0));
    }
    assert!(desk.read(Piece { at: 0, len: SPOOL_EXTENT }, ticket(0)));
    let (_, SpoolDone::Read(read)) = next(&mut desk) else { panic!("it was to be read") };
    let mut promise = pool.promise(Rank::Send);
    let mut back = Chain::new();
    assert_eq!(desk.take(read, &mut pool, &mut back, &mut promise), 2 * 2048);
    assert!(promise.is_none());
    pool.release(back);
    pool.release(held);
    pool.assert_whole();
}

#[test]
fn errands_are_bounded_and_memory_comes_back() {
    let (_disk, mut desk) = desk(1);
    for _ in 0..3 {
        for owner in 0..SPOOL_ERRANDS {
            assert!(desk.read(Piece { at: 0, len: 10 }, ticket(owner)));
        }
        assert!(!desk.read(Piece { at: 0, len: 10 }, ticket(99)), "all memory is out");
        for owner in 0..SPOOL_ERRANDS {
            let (of, SpoolDone::Read(read)) = next(&mut desk) else { panic!("it was to be read") };
            assert_eq!(of, ticket(owner), "in the order they were given");
            desk.forget(read);
        }
    }
}

#[test]
fn a_disk_that_fails_says_so() {
    let (_disk, mut desk) = desk(1);
    // Beyond the end nothing can be read.
    assert!(desk.read(Piece { at: 9 * E, len: 10 }, ticket(1)));
    assert_eq!(next(&mut desk), (ticket(1), SpoolDone::Failed));
    assert!(desk.read(Piece { at: 0, len: 10 }, ticket(2)), "its memory came back");
}

#[test]
fn a_desk_may_go_while_errands_are_under_way() {
    let (disk, mut desk) = desk(8);
    for owner in 0..SPOOL_ERRANDS {
        assert!(desk.read(Piece { at: 0, len: SPOOL_EXTENT }, ticket(owner)));
    }
    drop(desk);
    let mut other = Desk::new(&disk, Arc::new(Waker::new().unwrap()));
    assert!(other.read(Piece { at: 0, len: 10 }, ticket(50)));
    let (of, done) = next(&mut other);
    assert_eq!(of, ticket(50), "it hears of its own errands only");
    assert!(matches!(done, SpoolDone::Read(_)));
}

#[test]
fn a_desk_that_goes_takes_what_was_not_told_with_it() {
    let (_disk, mut desk) = desk(1);
    for owner in 0..3 {
        assert!(desk.read(Piece { at: 0, len: 10 }, ticket(owner)));
    }
    while desk.inbox().done.len() < 3 {
        std::thread::yield_now();
    }
    let inbox = Arc::downgrade(desk.inbox());
    drop(desk);
    assert!(inbox.upgrade().is_none(), "a worker that panics leaves no memory behind");
}

#[test]
fn a_directory_that_will_not_do_is_refused_with_the_reason() {
    let nowhere = SpoolFile::create(&dir().join("nowhere"), E).unwrap_err();
    assert!(nowhere.to_string().contains("nowhere"), "{nowhere}");
    let shared_memory = std::path::Path::new("/dev/shm");
    if shared_memory.is_dir() {
        let error = SpoolFile::create(shared_memory, E).unwrap_err();
        assert!(matches!(error, SpoolError::InMemory(_)), "{error}");
    }
    let too_much = SpoolFile::create(&dir(), 1 << 50).unwrap_err();
    let told = too_much.to_string();
    assert!(told.contains("1125899906842624 bytes"), "{told}");
}

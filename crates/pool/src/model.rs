//! The pool against a simple model: any sequence of operations, on small pools, with a grant
//! refused here and there.

mod ops;
mod world;

use crate::{BufferId, Chain, Pool, PoolConfig};
use ops::{Op, op};
use proptest::prelude::*;
use std::vec::Vec;
use world::World;

/// Tokens that wait are below this.
const TOKENS: u32 = 8;

/// A pool of small buffers.
pub(crate) fn pool(buffers: u32) -> Pool {
    Pool::new(PoolConfig { buffers, buffer_bytes: 512, waiters: TOKENS }).unwrap()
}

/// `n` bytes that do not repeat within a buffer's length.
#[expect(clippy::cast_possible_truncation, reason = "the low byte is wanted")]
pub(crate) fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|at| (at ^ (at >> 8).wrapping_mul(37)) as u8).collect()
}

/// All unread bytes of a chain.
pub(crate) fn contents(pool: &Pool, chain: &Chain) -> Vec<u8> {
    pool.peek(chain).collect::<Vec<_>>().concat()
}

/// Panics unless the chains are sound and hold all buffers that are in use.
pub(crate) fn check<'a>(pool: &Pool, chains: impl IntoIterator<Item = &'a Chain>) {
    let mut seen = vec_of_false(pool);
    chains.into_iter().for_each(|chain| check_chain(pool, chain, &mut seen));
    check_stock(pool, &seen);
}

fn vec_of_false(pool: &Pool) -> Vec<bool> {
    std::vec![false; pool.size() as usize]
}

/// Notes a buffer that is held; panics when it was held already, or is not allocated.
fn hold(pool: &Pool, seen: &mut [bool], id: BufferId) {
    assert!(pool.registers[id].is_allocated(), "held but not allocated");
    assert!(!core::mem::replace(&mut seen[id.index() as usize], true), "held twice");
}

fn check_chain(pool: &Pool, chain: &Chain, seen: &mut [bool]) {
    let (mut len, mut buffers, mut last, mut next) = (0, 0, None, chain.head);
    while let Some(id) = next {
        hold(pool, seen, id);
        let register = pool.registers[id];
        assert!(!register.is_shared() && register.read <= register.written);
        assert!(u32::from(register.written) <= pool.buffer_bytes());
        len += register.unread();
        buffers += 1;
        last = next;
        next = register.next();
    }
    assert_eq!((len, buffers, last), (chain.len(), chain.buffers(), chain.tail()));
}

/// The buffers not seen are on the free list or were never lent.
fn check_stock(pool: &Pool, seen: &[bool]) {
    let mut free = seen.to_vec();
    for id in pool.stock.returned(&pool.registers) {
        assert!(!pool.registers[id].is_allocated(), "free but allocated");
        assert!(!core::mem::replace(&mut free[id.index() as usize], true), "free and held");
    }
    assert!(free[..pool.registers.len() as usize].iter().all(|&known| known), "a buffer is lost");
    let used = seen.iter().filter(|&&held| held).count();
    assert_eq!(used, pool.used() as usize);
    assert!(pool.promised() <= pool.free() && pool.low_water() <= pool.free());
}

fn run(buffers: u32, ops: Vec<Op>) {
    let mut world = World::new(buffers);
    for op in ops {
        world.step(op);
        world.audit();
    }
    world.rest();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_agrees_with_the_model(
        buffers in prop_oneof![4..10_u32, 4..=64_u32],
        ops in prop::collection::vec(op(), 1..120),
    ) {
        run(buffers, ops);
    }

    /// Exhaustion at every point: the same sequence again and again, refused at its first grant,
    /// at its second, and so on.
    #[test]
    fn any_grant_may_be_refused(
        buffers in 4..=24_u32,
        ops in prop::collection::vec(op(), 1..40),
    ) {
        for refused in 0.. {
            let mut world = World::new(buffers);
            world.refuse_grant(refused);
            for op in ops.iter().filter(|op| !matches!(op, Op::RefuseGrant(_))) {
                world.step(op.clone());
                world.audit();
            }
            let reached = world.was_refused();
            world.rest();
            if !reached {
                break;
            }
        }
    }
}

//! The steps of a random sequence.

use super::TOKENS;
use crate::Rank;
use proptest::prelude::*;
use std::vec::Vec;

/// One step. The numbers choose among what there is, modulo how many there are.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Promise(Rank),
    Forgive(usize),
    Extend { chain: usize, rank: Rank, headroom: u16 },
    ExtendPromised { chain: usize, headroom: u16 },
    TakeBackPromise(usize),
    Fill { chain: usize, plan: (u16, Rank, u16), promised: bool, outcome: Option<usize> },
    Append { chain: usize, n: usize, rank: Rank },
    Prepend { chain: usize, n: usize, rank: Rank },
    Join { front: usize, back: usize },
    Split { chain: usize, at: usize, rank: Rank },
    Truncate { chain: usize, at: usize },
    Consume { chain: usize, n: usize, promise: bool },
    Read { chain: usize, from: usize, steps: Vec<u16> },
    Rewrite { chain: usize, n: usize, divisor: u8, fail_at: Option<u8> },
    Receive { chain: usize, n: usize, divisor: u8 },
    Replace { chain: usize, n: usize, by: usize },
    Release(usize),
    Share(usize),
    Reshare(usize),
    ReleaseShared(usize),
    Wait { token: u32, rank: Rank },
    Leave(u32),
    Serve,
    RefuseGrant(u8),
}

fn rank() -> impl Strategy<Value = Rank> {
    prop::sample::select(Rank::ALL.to_vec())
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let chain = || 0..4_usize;
    let n = || prop_oneof![0..40_usize, 0..1200_usize, Just(512), Just(1024), 0..6000_usize];
    let grants = prop_oneof![
        rank().prop_map(Op::Promise),
        any::<usize>().prop_map(Op::Forgive),
        (chain(), rank(), 0..512_u16).prop_map(|(chain, rank, headroom)| Op::Extend {
            chain,
            rank,
            headroom
        }),
        (chain(), 0..512_u16).prop_map(|(chain, headroom)| Op::ExtendPromised { chain, headroom }),
        chain().prop_map(Op::TakeBackPromise),
        (0..TOKENS, rank()).prop_map(|(token, rank)| Op::Wait { token, rank }),
        (0..TOKENS).prop_map(Op::Leave),
        Just(Op::Serve),
        Just(Op::Serve),
        (0..4_u8).prop_map(Op::RefuseGrant),
    ];
    let plan = (0..5_u16, rank(), 0..300_u16);
    let writes = prop_oneof![
        (chain(), plan, any::<bool>(), prop::option::weighted(0.9, n())).prop_map(
            |(chain, plan, promised, outcome)| Op::Fill { chain, plan, promised, outcome }
        ),
        (chain(), n(), rank()).prop_map(|(chain, n, rank)| Op::Append { chain, n, rank }),
        (chain(), n(), rank()).prop_map(|(chain, n, rank)| Op::Prepend { chain, n, rank }),
        (chain(), n(), 1..9_u8, prop::option::weighted(0.2, 0..4_u8))
            .prop_map(|(chain, n, divisor, fail_at)| Op::Rewrite { chain, n, divisor, fail_at }),
        (chain(), n(), 1..9_u8).prop_map(|(chain, n, divisor)| Op::Receive { chain, n, divisor }),
    ];
    let moves = prop_oneof![
        (chain(), chain()).prop_map(|(front, back)| Op::Join { front, back }),
        (chain(), any::<usize>(), rank()).prop_map(|(chain, at, rank)| Op::Split {
            chain,
            at,
            rank
        }),
        (chain(), any::<usize>()).prop_map(|(chain, at)| Op::Truncate { chain, at }),
        (chain(), n(), 0..700_usize).prop_map(|(chain, n, by)| Op::Replace { chain, n, by }),
        chain().prop_map(Op::Release),
        chain().prop_map(Op::Share),
        any::<usize>().prop_map(Op::Reshare),
        any::<usize>().prop_map(Op::ReleaseShared),
    ];
    let reads = prop_oneof![
        (chain(), n(), any::<bool>()).prop_map(|(chain, n, promise)| Op::Consume {
            chain,
            n,
            promise
        }),
        (chain(), any::<usize>(), prop::collection::vec(0..900_u16, 0..6))
            .prop_map(|(chain, from, steps)| Op::Read { chain, from, steps }),
    ];
    prop_oneof![3 => grants, 4 => writes, 2 => moves, 3 => reads]
}

//! What an exchange says of itself in each state: of this the worker decides who receives, who is
//! asked again, and who yields when buffers are short.

use alloc::vec::Vec;

use base::id::{ClientId, ConnectionId, GroupId, ListenerId};
use base::time::Instant;
use pool::{Chain, Pool, PoolConfig, Rank};
use spool::{Limits, Shared, Store};
use wire::http1::{ChunkReader, HeadScanner, Keep};

use crate::spooled::Spooled;
use crate::state::{Exchange, Lease, Reply, RequestBody, ResponseBody, State};

const CONNECTION: ConnectionId = ConnectionId(7);

fn pool() -> Pool {
    Pool::new(PoolConfig::new(16, 0)).unwrap()
}

/// One buffer with so many bytes.
fn chain(pool: &mut Pool, bytes: usize) -> Chain {
    let mut chain = Chain::new();
    assert!(pool.extend(&mut chain, Rank::Send, 0));
    pool.append(&mut chain, &[b'a'; 100][..bytes], Rank::Send).unwrap();
    chain
}

fn in_state(state: State) -> Exchange {
    let (client, listener, group) = (ClientId(0), ListenerId(0), GroupId(0));
    let mut exchange = Exchange::begin(client, listener, group, Instant(0), Chain::new());
    exchange.state = state;
    exchange
}

/// Ends an exchange; nothing may be left of it.
fn end(mut exchange: Exchange, pool: &mut Pool) {
    exchange.give_up(pool);
    pool.release(exchange.rest.take());
    if let Some(spooled) = exchange.spooled.take() {
        store().release(spooled.give_up(pool));
    }
    pool.assert_whole();
    assert_eq!(pool.used(), 0);
}

fn lease() -> Lease {
    Lease {
        connection: CONNECTION,
        fresh: false,
        kept: false,
        begun: true,
        reusable: true,
        pinned: false,
        since: Instant(0),
        promise: None,
    }
}

fn store() -> Store {
    let size = 1 << 20;
    Store::new(Shared::new(Limits { size, per_exchange: size, per_address: size }, 1))
}

fn spooled(front: Chain) -> Spooled {
    let mut spooled = Spooled::new(store().begin(None), 0);
    spooled.front = front;
    spooled
}

fn arriving(input: Chain, end: Option<u32>) -> State {
    State::Arriving { input, scanner: HeadScanner::request(), end }
}

fn authorizing(input: Chain) -> State {
    let scanner = HeadScanner::request();
    State::Authorizing { input, scanner, end: 1, bodiless: true, question: 0 }
}

fn collecting(head: Chain, body: Chain, reader: RequestBody) -> State {
    State::Collecting { head, body, reader }
}

fn leased(request: Chain, input: Chain, early: Chain, pool: &Pool) -> State {
    let unsent = pool.cursor(&request);
    State::Leased { lease: lease(), request, unsent, reply: Reply { input, early, ..Reply::new() } }
}

fn pending(request: Chain, input: Chain, early: Chain) -> State {
    State::Pending { lease: lease(), request, reply: Reply { input, early, ..Reply::new() } }
}

fn draining(output: Chain, reader: ResponseBody) -> State {
    State::Draining { lease: lease(), output, reader }
}

/// Each state with a chain at each of its places, the others empty.
fn with_one_chain(pool: &mut Pool) -> Vec<State> {
    let none = Chain::new;
    let body = || RequestBody::Length(1);
    let mut one = || chain(pool, 1);
    let mut states = Vec::from([
        arriving(one(), None),
        authorizing(one()),
        collecting(one(), none(), body()),
        collecting(none(), one(), body()),
        State::Ready { request: one() },
        pending(one(), none(), none()),
        pending(none(), one(), none()),
        pending(none(), none(), one()),
        draining(one(), ResponseBody::Length(1)),
        State::Delivering { output: one() },
    ]);
    let [request, input, early] = [one(), one(), one()];
    states.push(leased(request, none(), none(), pool));
    states.push(leased(none(), input, none(), pool));
    states.push(leased(none(), none(), early, pool));
    states
}

/// Each state with nothing in it.
fn empty(pool: &Pool) -> Vec<State> {
    let none = Chain::new;
    Vec::from([
        arriving(none(), None),
        authorizing(none()),
        collecting(none(), none(), RequestBody::Length(1)),
        State::Ready { request: none() },
        leased(none(), none(), none(), pool),
        pending(none(), none(), none()),
        draining(none(), ResponseBody::Length(1)),
        State::Delivering { output: none() },
        State::Over,
    ])
}

#[test]
fn it_holds_buffers_wherever_it_has_one() {
    let mut pool = pool();
    for state in with_one_chain(&mut pool) {
        let mut exchange = in_state(state);
        assert!(exchange.holds_buffers(), "{:?}", exchange.state);
        exchange.give_up(&mut pool);
    }
    for state in empty(&pool) {
        let mut exchange = in_state(state);
        assert!(!exchange.holds_buffers(), "{:?}", exchange.state);
        exchange.spooled = Some(spooled(Chain::new()));
        assert!(!exchange.holds_buffers(), "what lies on disk only");
        exchange.rest = chain(&mut pool, 1);
        assert!(exchange.holds_buffers(), "a pipelined request: {:?}", exchange.state);
        end(exchange, &mut pool);
    }
    for state in empty(&pool) {
        let mut exchange = in_state(state);
        exchange.spooled = Some(spooled(chain(&mut pool, 1)));
        assert!(exchange.holds_buffers(), "a copy of what lies on disk: {:?}", exchange.state);
        end(exchange, &mut pool);
    }
}

#[test]
fn a_client_was_given_part_of_a_message_or_was_not() {
    let mut pool = pool();
    let begun = |exchange: Exchange, pool: &mut Pool| {
        let begun = exchange.has_begun_to_deliver();
        end(exchange, pool);
        begun
    };
    for state in empty(&pool) {
        let answers = matches!(state, State::Draining { .. } | State::Delivering { .. });
        assert_eq!(begun(in_state(state), &mut pool), answers);
    }
    // Of interim responses, it is whether one of them is still under way.
    for (received, early, sending) in
        [(0, 0, false), (1, 0, false), (0, 1, false), (0, 0, true), (0, 1, true)]
    {
        let mut some = |bytes| if bytes > 0 { chain(&mut pool, bytes) } else { Chain::new() };
        let [to_lease, to_await] = [(); 2].map(|()| [some(received), some(early)]);
        let [input, hint] = to_lease;
        let lease = leased(Chain::new(), input, hint, &pool);
        let [input, hint] = to_await;
        for state in [lease, pending(Chain::new(), input, hint)] {
            let mut exchange = in_state(state);
            exchange.sending = sending;
            assert_eq!(exchange.has_begun_to_deliver(), early > 0 || sending);
            exchange.give_up(&mut pool);
        }
    }
}

#[test]
fn who_has_all_it_needs_to_read_awaits_room_and_receives_nothing() {
    let pool = pool();
    let none = Chain::new;
    for state in empty(&pool) {
        assert!(!in_state(state).awaits_room());
    }
    let ended = RequestBody::Ended { excess: 0, length: 3 };
    let reply = || Reply { end: Some(9), ..Reply::new() };
    let unsent = pool.cursor(&none());
    let chunks = || RequestBody::Chunked(ChunkReader::new(Keep::Data));
    for (state, awaits) in [
        (arriving(none(), Some(9)), true),
        (collecting(none(), none(), chunks()), false),
        (collecting(none(), none(), ended), true),
        (State::Leased { lease: lease(), request: none(), unsent, reply: reply() }, true),
        (State::Pending { lease: lease(), request: none(), reply: reply() }, true),
        (draining(none(), ResponseBody::UntilClose), false),
        (draining(none(), ResponseBody::Recoded { staged: none(), begun: true }), false),
        (draining(none(), ResponseBody::RecodedEnd { begun: true }), true),
    ] {
        assert_eq!(in_state(state).awaits_room(), awaits);
    }
}

#[test]
fn what_a_server_sends_goes_where_the_state_awaits_it() {
    let mut pool = pool();
    let recoded = ResponseBody::Recoded { staged: chain(&mut pool, 3), begun: true };
    // Which chain it is, told by its length.
    let mut one = |bytes| chain(&mut pool, bytes);
    let pending = pending(one(1), one(3), one(2));
    let until_close = draining(one(3), ResponseBody::UntilClose);
    let recoded = draining(one(1), recoded);
    let [request, input, early] = [one(1), one(3), one(2)];
    let leased = leased(request, input, early, &pool);
    for state in [leased, pending, until_close, recoded] {
        let mut exchange = in_state(state);
        exchange.lease_mut().unwrap().promise = pool.promise(Rank::Upstream);
        let (connection, chain, promise) = exchange.response_chain().unwrap();
        assert_eq!((connection, chain.len()), (CONNECTION, 3));
        assert!(promise.is_some(), "with the buffer promised for it");
        exchange.give_up(&mut pool);
    }
    let nothing_more = draining(Chain::new(), ResponseBody::RecodedEnd { begun: true });
    for state in empty(&pool).into_iter().chain([nothing_more]) {
        let awaits = match &state {
            State::Draining { reader, .. } => !matches!(reader, ResponseBody::RecodedEnd { .. }),
            state => matches!(state, State::Leased { .. } | State::Pending { .. }),
        };
        assert_eq!(in_state(state).response_chain().is_some(), awaits);
    }
    assert_eq!((pool.used(), pool.promised()), (0, 0));
}

#[test]
fn what_can_go_to_the_spool_without_harm() {
    let mut pool = pool();
    let none = Chain::new;
    let ended = |excess| RequestBody::Ended { excess, length: 1 };
    let mut one = |bytes| chain(&mut pool, bytes);
    // What came of a body, but not what stands behind it, and no head; what a client has not
    // taken, but not while it takes. A chain may hold a buffer and no byte.
    let cases = [
        (collecting(one(3), none(), RequestBody::Length(1)), [false, false]),
        (collecting(none(), one(0), RequestBody::Length(1)), [false, false]),
        (collecting(none(), one(3), RequestBody::Length(1)), [true, true]),
        (collecting(none(), one(3), ended(3)), [false, false]),
        (collecting(none(), one(4), ended(3)), [true, true]),
        (State::Ready { request: one(3) }, [false, false]),
        (pending(one(3), one(3), one(3)), [false, false]),
        (draining(one(0), ResponseBody::UntilClose), [false, false]),
        (draining(one(3), ResponseBody::UntilClose), [false, true]),
        (State::Delivering { output: one(0) }, [false, false]),
        (State::Delivering { output: one(3) }, [true, true]),
    ];
    for (state, spoolable) in cases {
        let mut exchange = in_state(state);
        for (sending, spoolable) in [false, true].into_iter().zip(spoolable) {
            exchange.sending = sending;
            assert_eq!(exchange.is_spoolable(), spoolable, "{sending}, {:?}", exchange.state);
        }
        exchange.give_up(&mut pool);
    }
    // A copy of what lies on disk is given up at any time.
    for state in empty(&pool) {
        let mut exchange = in_state(state);
        exchange.spooled = Some(spooled(none()));
        assert!(!exchange.is_spoolable(), "{:?}", exchange.state);
        exchange.spooled.as_mut().unwrap().front = chain(&mut pool, 1);
        assert!(exchange.is_spoolable(), "{:?}", exchange.state);
        end(exchange, &mut pool);
    }
}

#[test]
fn what_is_staged_goes_back_with_the_response_or_the_exchange() {
    let ends: [fn(&mut Exchange, &mut Pool) -> Option<Lease>; 2] =
        [Exchange::response_ends, Exchange::give_up];
    for end_it in ends {
        let mut pool = pool();
        let staged = chain(&mut pool, 3);
        let reader = ResponseBody::Recoded { staged, begun: true };
        let mut exchange = in_state(draining(Chain::new(), reader));
        assert!(end_it(&mut exchange, &mut pool).is_some());
        end(exchange, &mut pool);
    }
}

//! Sending: short sends, waiting for room, broken connections.

use std::io::Read;

use super::*;

/// A chain with `text`, and the cursor at its beginning.
fn chain_of(bench: &mut Bench, text: &[u8]) -> (Chain, Cursor) {
    let mut chain = Chain::new();
    bench.pool.append(&mut chain, text, Rank::Send).unwrap();
    let cursor = bench.pool.cursor(&chain);
    (chain, cursor)
}

/// A client whose socket takes little at a time.
fn slow_client(bench: &mut Bench) -> (TcpStream, Socket) {
    let (stream, socket) = bench.client(OWNER);
    let entry = bench.driver.table.get(socket).unwrap();
    sockopt::set_socket_send_buffer_size(entry.descriptor().unwrap(), 4096).unwrap();
    bench.settle();
    (stream, socket)
}

/// Sends until the transport has no room, then says how much it took.
fn send_until_full(bench: &mut Bench, socket: Socket, cursor: &mut Cursor) -> u32 {
    let before = cursor.left();
    loop {
        match bench.driver.send(socket, &bench.pool, cursor, false) {
            Sent::Now(sent) => bench.pool.advance(cursor, sent),
            Sent::Later => break before - cursor.left(),
            Sent::Failed(fault) => panic!("{fault:?}"),
        }
    }
}

#[test]
fn a_slow_reader_gets_every_byte_once() {
    let mut bench = Bench::new();
    let (stream, socket) = slow_client(&mut bench);
    let text = pattern(1_900_000);
    let (chain, mut cursor) = chain_of(&mut bench, &text);
    assert!(send_until_full(&mut bench, socket, &mut cursor) > 0);
    while !bench.settle().is_empty() {
        send_until_full(&mut bench, socket, &mut cursor);
    }
    assert!(cursor.left() > 0, "a reader who does not read stops the sending");
    send_the_rest(&mut bench, (stream, socket), cursor, &text);
    bench.pool.release(chain);
}

/// Its end is no reason to think that there is room, nor to forget that room is waited for.
#[test]
fn a_reader_that_has_ended_gets_every_byte_once() {
    let text = pattern(1_900_000);
    for ends_before in [true, false] {
        let mut bench = Bench::new();
        let (stream, socket) = slow_client(&mut bench);
        let (chain, mut cursor) = chain_of(&mut bench, &text);
        let end = || stream.shutdown(std::net::Shutdown::Write).unwrap();
        if ends_before {
            end();
            bench.settle();
        }
        assert!(send_until_full(&mut bench, socket, &mut cursor) > 0);
        if !ends_before {
            end();
        }
        while !bench.settle().is_empty() {
            send_until_full(&mut bench, socket, &mut cursor);
        }
        assert!(cursor.left() > 0, "a reader who does not read stops the sending");
        send_the_rest(&mut bench, (stream, socket), cursor, &text);
        bench.pool.release(chain);
    }
}

/// Sends whenever there is room, to a reader who reads `text` by now.
fn send_the_rest(
    bench: &mut Bench,
    (mut stream, socket): (TcpStream, Socket),
    mut cursor: Cursor,
    text: &[u8],
) {
    let expected = text.len();
    let reader = std::thread::spawn(move || {
        let mut read = vec![0; expected];
        stream.read_exact(&mut read).map(|()| read)
    });
    while cursor.left() > 0 {
        assert_eq!(bench.wait(), Completion::Sent { owner: OWNER, bytes: 0 });
        let sent = bench.driver.send(socket, &bench.pool, &cursor, false);
        let Sent::Now(sent) = sent else { panic!("{sent:?} though there is room") };
        bench.pool.advance(&mut cursor, sent);
        if cursor.left() > 0 {
            send_until_full(bench, socket, &mut cursor);
        }
    }
    assert!(reader.join().unwrap().unwrap() == text, "the bytes differ");
}

#[test]
fn a_long_chain_goes_by_several_sends() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    let text = pattern(100);
    let (mut chain, _) = chain_of(&mut bench, b"");
    let mut expected = Vec::new();
    for _ in 0..200 {
        let (piece, _) = chain_of(&mut bench, &text);
        bench.pool.join(&mut chain, piece);
        expected.extend_from_slice(&text);
    }
    let mut cursor = bench.pool.cursor(&chain);
    let mut sends = 0;
    while cursor.left() > 0 {
        let Sent::Now(sent) = bench.driver.send(socket, &bench.pool, &cursor, false) else {
            panic!("a loopback connection takes 20 kB");
        };
        bench.pool.advance(&mut cursor, sent);
        sends += 1;
    }
    assert_eq!(sends, 200usize.div_ceil(pool::MAX_SLICES));
    let mut read = vec![0; expected.len()];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(read, expected);
    bench.pool.release(chain);
}

#[test]
fn more_bytes_to_follow_hold_back_a_short_segment() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    let (chain, cursor) = chain_of(&mut bench, b"head");
    assert_eq!(bench.driver.send(socket, &bench.pool, &cursor, true), Sent::Now(4));
    stream.set_nonblocking(true).unwrap();
    let early = stream.read(&mut [0; 8]);
    assert!(early.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    stream.set_nonblocking(false).unwrap();
    assert_eq!(bench.driver.send(socket, &bench.pool, &cursor, false), Sent::Now(4));
    let mut read = [0; 8];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"headhead");
    bench.pool.release(chain);
}

#[test]
fn a_reset_ends_the_wait_for_room() {
    let mut bench = Bench::new();
    let (stream, socket) = slow_client(&mut bench);
    let (chain, mut cursor) = chain_of(&mut bench, &pattern(1_900_000));
    send_until_full(&mut bench, socket, &mut cursor);
    reset(stream);
    let happened = bench.settle();
    let failed = Completion::Failed { owner: OWNER, fault: PeerFault::Reset };
    assert_eq!(happened.iter().filter(|&&told| told == failed).count(), 1, "{happened:?}");
    let sent = bench.driver.send(socket, &bench.pool, &cursor, false);
    assert_eq!(sent, Sent::Failed(PeerFault::Reset));
    bench.pool.release(chain);
}

#[test]
fn what_arrived_before_a_failed_send_can_still_be_received() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    stream.write_all(b"early answer").unwrap();
    reset(stream);
    let sent = loop {
        // The driver has not polled: the send itself finds out.
        match bench.send(socket, b"request") {
            Sent::Now(_) => std::thread::yield_now(),
            sent => break sent,
        }
    };
    assert_eq!(sent, Sent::Failed(PeerFault::Reset));
    assert_eq!(bench.receive(socket), (Received::Bytes(12), b"early answer".to_vec()));
    assert_eq!(bench.receive(socket).0, Received::Failed(PeerFault::Reset));
    assert_eq!(bench.settle(), [], "told already");
}

#[test]
fn a_text_is_sent_as_far_as_there_is_room() {
    let mut bench = Bench::new();
    let (mut stream, socket) = slow_client(&mut bench);
    assert_eq!(bench.driver.send_text(socket, b"HTTP/1.1 100 Continue\r\n\r\n"), 25);
    let mut read = [0; 25];
    stream.read_exact(&mut read).unwrap();
    let (chain, mut cursor) = chain_of(&mut bench, &pattern(1_900_000));
    send_until_full(&mut bench, socket, &mut cursor);
    assert_eq!(bench.driver.send_text(socket, b"no room for this"), 0);
    bench.pool.release(chain);
}

#[test]
fn shutting_down_ends_our_direction_only() {
    let mut bench = Bench::new();
    let (mut stream, socket) = bench.client(OWNER);
    assert_eq!(bench.send(socket, b"bye"), Sent::Now(3));
    bench.driver.shutdown(socket);
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"bye");
    stream.write_all(b"but").unwrap();
    assert_eq!(bench.hear(socket, OWNER), (Received::Bytes(3), b"but".to_vec()));
}

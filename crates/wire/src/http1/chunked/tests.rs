use super::*;
use std::format;
use std::string::String;
use std::vec::Vec;

/// What is kept, and what follows the body; `None` when the body does not end.
type Read = Result<Option<(Vec<u8>, Vec<u8>)>, Fault>;

/// Reads a body that arrives in pieces.
fn read(keep: Keep, bytes: &[u8], piece: usize) -> Read {
    let mut reader = ChunkReader::new(keep);
    let mut kept = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let mut slice = bytes[start..bytes.len().min(start + piece)].to_vec();
        let advance = reader.advance(&mut slice)?;
        assert!(advance.kept <= advance.consumed && advance.consumed <= slice.len());
        kept.extend_from_slice(&slice[..advance.kept]);
        start += advance.consumed;
        if advance.done {
            return Ok(Some((kept, bytes[start..].to_vec())));
        }
        assert_eq!(advance.consumed, slice.len());
    }
    Ok(None)
}

fn check(bytes: &str, data: &str, framed: &str) {
    for piece in 1..=bytes.len() {
        // Without trailers: up to the last chunk, and the empty line.
        let last = framed.rfind("0\r\n").unwrap_or_default();
        let chunks = format!("{}\r\n", &framed[..last + 3]);
        let all = [(Keep::Data, data), (Keep::Framed, framed), (Keep::Chunks, &*chunks)];
        for (keep, expected) in all {
            let (kept, rest) = read(keep, bytes.as_bytes(), piece).unwrap().unwrap();
            assert_eq!(String::from_utf8(kept).unwrap(), expected, "{bytes:?} by {piece}");
            assert!(rest.is_empty());
        }
    }
}

#[test]
fn record_is_small() {
    assert!(size_of::<ChunkReader>() <= 32);
}

#[test]
fn bodies() {
    check("0\r\n\r\n", "", "0\r\n\r\n");
    check("5\r\nhello\r\n0\r\n\r\n", "hello", "5\r\nhello\r\n0\r\n\r\n");
    check("3\r\na\r\n\r\n0\r\n\r\n", "a\r\n", "3\r\na\r\n\r\n0\r\n\r\n");
    check(
        "1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\n",
        "a0123456789",
        "1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\n",
    );
    check("00005\r\nhello\r\n0000\r\n\r\n", "hello", "05\r\nhello\r\n0\r\n\r\n");
    check("0000000000000001\r\na\r\n00\r\n\r\n", "a", "01\r\na\r\n0\r\n\r\n");
    check(
        "10\r\n0123456789abcdef\r\n0\r\n\r\n",
        "0123456789abcdef",
        "10\r\n0123456789abcdef\r\n0\r\n\r\n",
    );
}

#[test]
fn extensions_are_dropped_and_trailers_kept_with_the_framing() {
    let framed = "2\r\nab\r\n0\r\n\r\n";
    check("2;a=b\r\nab\r\n0;c\r\n\r\n", "ab", framed);
    check("2 \t; a = \"x;y\\\"z\"\r\nab\r\n0\r\n\r\n", "ab", framed);
    let framed = "2\r\nab\r\n0\r\nA: b\r\nC:\r\n\r\n";
    check("2;\r\nab\r\n0\r\nA: b\r\nC:\r\n\r\n", "ab", framed);
    let framed = "2\r\nab\r\n0\r\nContent-Length:\t5 \r\n\r\n";
    check("2\r\nab\r\n0 ;x\r\nContent-Length:\t5 \r\n\r\n", "ab", framed);
}

/// What is held back is exactly what stands behind the last chunk's own line.
#[test]
fn trailers_are_held_until_the_body_has_ended() {
    for (body, section) in [
        ("1\r\na\r\n0\r\n", "\r\n"),
        ("0;x\r\n", "A: b\r\n\r\n"),
        ("2\r\nab\r\n00\r\n", "A: b\r\nCc:\r\n\r\n"),
    ] {
        let empty = section == "\r\n";
        for keep in [Keep::Data, Keep::Framed, Keep::Chunks] {
            let mut reader = ChunkReader::new(keep);
            let mut sent = format!("{body}{section}").into_bytes();
            for (at, byte) in sent.iter_mut().enumerate() {
                reader.advance(core::slice::from_mut(byte)).unwrap();
                let behind = (at + 1).saturating_sub(body.len());
                let held = if empty || keep != Keep::Framed { 0 } else { behind };
                assert_eq!(reader.trailer_held() as usize, held, "{section:?} {at}");
            }
        }
    }
}

#[test]
fn chunks_are_written_one_behind_the_other() {
    let mut room = [0; 64];
    let mut writer = Writer::new(&mut room);
    for (index, data) in [&b"ab"[..], b"0123456789abcdef", b"x"].into_iter().enumerate() {
        write_chunk_head(&mut writer, index == 0, data.len() as u64).unwrap();
        writer.push(data).unwrap();
    }
    writer.push(last_chunk(false)).unwrap();
    let written = writer.written();
    assert_eq!(written, b"2\r\nab\r\n10\r\n0123456789abcdef\r\n1\r\nx\r\n0\r\n\r\n");
    let read_again = read(Keep::Data, written, 5).unwrap().unwrap();
    assert_eq!(read_again, (b"ab0123456789abcdefx".to_vec(), Vec::new()));
    assert_eq!(read(Keep::Data, last_chunk(true), 1), Ok(Some((Vec::new(), Vec::new()))));

    let mut room = [0; CHUNK_HEAD_MAX as usize];
    write_chunk_head(&mut Writer::new(&mut room), false, u64::MAX).unwrap();
    assert_eq!(&room, b"\r\nffffffffffffffff\r\n");
    assert!(write_chunk_head(&mut Writer::new(&mut room[1..]), false, u64::MAX).is_err());
}

#[test]
fn body_ends_at_its_last_byte() {
    let (kept, rest) = read(Keep::Data, b"1\r\na\r\n0\r\n\r\nGET /", 100).unwrap().unwrap();
    assert_eq!((&kept[..], &rest[..]), (&b"a"[..], &b"GET /"[..]));
    let mut reader = ChunkReader::new(Keep::Data);
    assert!(reader.advance(&mut b"0\r\n\r\n".to_vec()).unwrap().done);
    let after = reader.advance(&mut b"GET".to_vec()).unwrap();
    assert_eq!(after, Advance { kept: 0, consumed: 0, done: true });
}

#[test]
fn counts() {
    let mut reader = ChunkReader::new(Keep::Data);
    reader.advance(&mut b"5\r".to_vec()).unwrap();
    assert_eq!((reader.data_len(), reader.remaining_in_chunk()), (0, 0));
    reader.advance(&mut b"\nhe".to_vec()).unwrap();
    assert_eq!((reader.data_len(), reader.remaining_in_chunk()), (2, 3));
    reader.advance(&mut b"llo\r\n0\r\nA: b\r\n".to_vec()).unwrap();
    assert_eq!((reader.data_len(), reader.remaining_in_chunk()), (5, 0));
    assert_eq!(reader.trailer_bytes(), 6);
}

#[test]
fn refused() {
    let table: [(&[u8], Fault); 35] = [
        (b"\r\n", Fault::ChunkSize),
        (b"g\r\n", Fault::ChunkSize),
        (b" 5\r\n", Fault::ChunkSize),
        (b"+5\r\n", Fault::ChunkSize),
        (b"-5\r\n", Fault::ChunkSize),
        (b"0x5\r\n", Fault::ChunkSize),
        (b";a\r\n", Fault::ChunkSize),
        (b"5,\r\n", Fault::ChunkSize),
        (b"5_0\r\n", Fault::ChunkSize),
        (b"10000000000000000\r\n", Fault::ChunkSize),
        (b"00000000000000001\r\n", Fault::ChunkSize),
        (b"1\r\na\r\nffffffffffffffff\r\n", Fault::ChunkSize),
        (b"5\n", Fault::BareLf),
        (b"5\rhello", Fault::BareCr),
        (b"5 \r\n", Fault::ChunkExtension),
        (b"5 5\r\n", Fault::ChunkExtension),
        (b"5;a\n", Fault::BareLf),
        (b"5;a\rb", Fault::BareCr),
        (b"5;a\0", Fault::ChunkExtension),
        (b"5;a=\"b\r\n\"", Fault::ChunkExtension),
        (b"5;a=\"\\\r\n\"", Fault::ChunkExtension),
        (b"5;a=\"b\n", Fault::BareLf),
        (b"5;(\r\n", Fault::ChunkExtension),
        (b"5;\xff\r\n", Fault::ChunkExtension),
        (b"1\r\nab\r\n", Fault::ChunkEnd),
        (b"1\r\na\n", Fault::ChunkEnd),
        (b"1\r\na\r0", Fault::ChunkEnd),
        (b"0\r\n\n", Fault::BareLf),
        (b"0\r\n\rx", Fault::BareCr),
        (b"0\r\nA: b\n", Fault::BareLf),
        (b"0\r\nA: b\rc", Fault::BareCr),
        (b"0\r\nA\r\n", Fault::BadTrailer),
        (b"0\r\nA : b\r\n", Fault::BadTrailer),
        (b"0\r\n A: b\r\n", Fault::BadTrailer),
        (b"0\r\nA: b\0\r\n", Fault::BadTrailer),
    ];
    for (bytes, fault) in table {
        for piece in 1..=bytes.len() {
            let got = read(Keep::Framed, bytes, piece);
            assert_eq!(got, Err(fault), "{} by {piece}", bytes.escape_ascii());
        }
    }
}

#[test]
fn largest_size_is_read() {
    let mut reader = ChunkReader::new(Keep::Data);
    reader.advance(&mut b"fFfFffffffffffff\r\nab".to_vec()).unwrap();
    assert_eq!(reader.remaining_in_chunk(), u64::MAX - 2);
}

#[test]
fn extensions_are_bounded() {
    let chunk = |length: usize| format!("1;{}\r\nx\r\n", "a".repeat(length - 1));
    let end = "0\r\n\r\n";
    let most = chunk(usize::from(CHUNK_EXTENSION_MAX)) + end;
    assert!(read(Keep::Data, most.as_bytes(), 7).is_ok());
    let more = chunk(usize::from(CHUNK_EXTENSION_MAX) + 1) + end;
    assert_eq!(read(Keep::Data, more.as_bytes(), 7), Err(Fault::ChunkExtension));

    let all = chunk(256).repeat(EXTENSIONS_MAX as usize / 256);
    assert!(read(Keep::Data, (all.clone() + end).as_bytes(), 1000).unwrap().is_some());
    assert_eq!(read(Keep::Data, (all + "0;\r\n\r\n").as_bytes(), 1000), Err(Fault::ChunkExtension));
}

#[test]
fn trailers_are_bounded() {
    let body = |length: usize| format!("0\r\nA:{}\r\n\r\n", "a".repeat(length - 4));
    let most = TRAILER_MAX as usize;
    assert!(read(Keep::Data, body(most).as_bytes(), 100).unwrap().is_some());
    let got = read(Keep::Data, body(most + 1).as_bytes(), 100);
    assert_eq!(got, Err(Fault::TrailerTooLarge));
}

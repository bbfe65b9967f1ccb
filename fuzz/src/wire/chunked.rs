//! The chunked coding, against a reader of whole bodies.

use wire::http1::{ChunkReader, Fault, Keep};

use crate::cuts::ways;
use crate::reference;

/// What is left of a body, and the counts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    kept: Vec<u8>,
    consumed: usize,
    done: bool,
    data: u64,
    missing: u64,
    trailer: u32,
    held: u32,
}

/// Any cut gives the same; the data and the end are those of the other reader; what is kept with
/// its framing reads the same again.
pub fn check(bytes: &[u8]) {
    let data = whole(Keep::Data, bytes);
    let framed = whole(Keep::Framed, bytes);
    let chunks = whole(Keep::Chunks, bytes);
    assert_eq!(data.as_ref().err(), framed.as_ref().err());
    assert_eq!(data.as_ref().err(), chunks.as_ref().err());
    match (&data, reference::chunked(bytes)) {
        (Ok(read), Ok(Some(body))) => {
            assert!(read.done, "it has ended: {}", bytes.escape_ascii());
            assert_eq!((&read.kept, read.consumed), (&body.data, body.length));
            assert_eq!(read.data, body.data.len() as u64);
            assert_eq!(read.trailer as usize, body.trailers.len());
        }
        (Ok(read), Ok(None)) => {
            assert!(!read.done, "it has not ended: {}", bytes.escape_ascii());
            assert_eq!(read.consumed, bytes.len());
        }
        (Ok(_), Err(why)) => panic!("{why}: {}", bytes.escape_ascii()),
        (Err(fault), Ok(Some(_))) => panic!("{fault:?}: {}", bytes.escape_ascii()),
        (Err(_), _) => {}
    }
    let (Ok(data), Ok(framed), Ok(chunks)) = (data, framed, chunks) else { return };
    assert_eq!(framed.consumed, data.consumed);
    assert!(framed.kept.len() <= framed.consumed && chunks.kept.len() <= framed.kept.len());
    if data.done {
        again(Keep::Framed, &framed, &data);
        again(Keep::Chunks, &chunks, &data);
        let section = framed.kept.len() - framed.held as usize;
        assert_eq!(framed.held as usize, framed.kept[section..].len());
        assert!(framed.held == 0 || framed.held == data.trailer + 2);
    }
}

/// What was kept is itself a body, in a form that is not changed by a second reading.
fn again(keep: Keep, kept: &Read, data: &Read) {
    let Ok(second) = whole(keep, &kept.kept) else { panic!("{:?}", kept.kept.escape_ascii()) };
    assert!(second.done && second.kept == kept.kept);
    let Ok(Some(body)) = reference::chunked(&kept.kept) else { panic!("no body") };
    assert_eq!((body.data, body.length), (data.kept.clone(), kept.kept.len()));
    assert!(keep == Keep::Framed || body.trailers.is_empty());
}

/// The same for every way in which the bytes come.
fn whole(keep: Keep, bytes: &[u8]) -> Result<Read, Fault> {
    let [whole, others @ ..] = ways(bytes).map(|pieces| read(keep, &pieces));
    for other in others {
        assert_eq!(other, whole, "the cuts decide");
    }
    whole
}

fn read(keep: Keep, pieces: &[&[u8]]) -> Result<Read, Fault> {
    let mut reader = ChunkReader::new(keep);
    let (mut kept, mut consumed, mut done) = (Vec::new(), 0, false);
    for piece in pieces {
        let mut space = piece.to_vec();
        let advance = reader.advance(&mut space)?;
        assert!(advance.kept <= advance.consumed && advance.consumed <= space.len());
        assert!(advance.done || advance.consumed == space.len());
        kept.extend_from_slice(&space[..advance.kept]);
        consumed += advance.consumed;
        done = advance.done;
    }
    Ok(Read {
        kept,
        consumed,
        done,
        data: reader.data_len(),
        missing: reader.remaining_in_chunk(),
        trailer: reader.trailer_bytes(),
        held: reader.trailer_held(),
    })
}

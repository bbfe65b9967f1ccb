//! The first message of a TLS client: in whatever pieces it comes, and as rustls has it.

use rustls::server::Acceptor;
use wire::hello::{Hello, read_hello};

/// Every cut of the first so many bytes is tried.
const CUTS: usize = 700;

/// What is left of a [`Hello`] when its bytes are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Incomplete(usize),
    Whole(Option<String>),
    Malformed,
}

/// The bytes are the first of a connection.
pub fn check(bytes: &[u8]) {
    let whole = read(bytes);
    // Where a cut may end at the earliest, by what was said to be missing so far.
    let mut least = 0;
    let mut decided = false;
    for cut in (0..bytes.len().min(CUTS)).chain([bytes.len()]) {
        match read(&bytes[..cut]) {
            Told::Incomplete(missing) => {
                assert!(!decided, "it changed its mind after {cut} bytes");
                assert!((1..1 << 25).contains(&missing), "{missing} bytes");
                least = least.max(cut + missing);
            }
            told => {
                // What is malformed may be told before all of it is there.
                assert!(told == Told::Malformed || cut >= least, "{least} was overstated: {cut}");
                assert_eq!(told, whole, "{cut} bytes");
                decided = true;
            }
        }
    }
    if let Told::Whole(Some(name)) = &whole {
        assert!((1..=255).contains(&name.len()) && !name.ends_with('.'));
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
    }
    // rustls wants much more of a hello than a name.
    let Some(name) = rustls_name(bytes) else { return };
    match (name, whole) {
        (Some(name), Told::Whole(Some(own))) => assert!(own.eq_ignore_ascii_case(&name), "{own}"),
        // The address of a host is no name to rustls; of IPv6 it is none to us either.
        (None, Told::Whole(Some(own))) => {
            assert!(own.parse::<std::net::Ipv4Addr>().is_ok(), "{own}");
        }
        (None, Told::Whole(None) | Told::Malformed) => {}
        // What stands behind the first name is nothing to rustls, and more than there may be to us.
        (Some(name), Told::Malformed) if !stands_alone(&name, bytes) => {}
        (name, whole) => panic!("rustls reads {name:?}, and we {whole:?}"),
    }
}

/// Whether a `server_name` extension with this name and nothing else is there, in one record.
fn stands_alone(name: &str, bytes: &[u8]) -> bool {
    let short = |length: usize| u16::try_from(length).expect("a name is short").to_be_bytes();
    let [content, list, own] = [5, 3, 0].map(|more| short(name.len() + more));
    let before = [&[0, 0][..], &content, &list, &[0], &own].concat();
    let mut places = bytes.windows(before.len() + name.len());
    places.any(|place| {
        place.strip_prefix(&*before).is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()))
    })
}

fn read(bytes: &[u8]) -> Told {
    match read_hello(&mut bytes.to_vec()) {
        Hello::Incomplete(missing) => Told::Incomplete(missing),
        Hello::Whole(name) => Told::Whole(name.map(str::to_owned)),
        Hello::Malformed => Told::Malformed,
    }
}

/// The name that rustls finds, if it takes the bytes for a hello.
#[expect(clippy::option_option, reason = "the inner one is whether a name is asked for")]
fn rustls_name(mut bytes: &[u8]) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted.client_hello().server_name().map(str::to_owned));
        }
    }
    None
}

//! What others do with the hostile requests: the table of docs/smuggling.md, measured by hand.
//!
//! `cargo test -p blackbox --test peers -- --ignored --nocapture`

use std::io;
use std::thread;
use std::time::Duration;

use blackbox::client::Client;
use blackbox::corpus::{Case, Expected, load};
use blackbox::proxy::{Anteroom, Setup};
use blackbox::servers::Server;
use blackbox::witness::{
    Reading, Witness, answer, gunicorn, haproxy, haproxy_before, hyper, nginx, nginx_before, node,
    plain,
};

/// Who reads behind a proxy.
const BEHIND: [fn() -> Witness; 4] = [plain, hyper, node, gunicorn];

/// How long somebody may be silent before a case is over.
const SILENCE: Duration = Duration::from_millis(80);

/// What became of one case: what a server read, and whether the next client got its own answer.
type Seen = (Vec<Reading>, bool);

/// A proxy in front of a server, kept for as long as it is asked.
enum Front {
    Bare,
    Peer(Server),
    Ours(Anteroom),
}

impl Front {
    fn before(name: &str, upstream: &str) -> Self {
        match name {
            "nginx" => Self::Peer(nginx_before(upstream)),
            "HAProxy" => Self::Peer(haproxy_before(upstream)),
            "anteroom" => Self::Ours(Setup::new(upstream).with("--connections", 1).start()),
            _ => Self::Bare,
        }
    }

    fn address<'f>(&'f self, upstream: &'f str) -> &'f str {
        match self {
            Self::Bare => upstream,
            Self::Peer(server) => server.address(),
            Self::Ours(proxy) => proxy.address(),
        }
    }
}

/// Sends every case through a front to a witness.
fn look(front: &str, start: fn() -> Witness, cases: &[Case]) -> (&'static str, Vec<Seen>) {
    let mut witness = start();
    let upstream = witness.address().to_owned();
    let front = Front::before(front, &upstream);
    let address = front.address(&upstream);
    witness.read(0, Duration::ZERO);
    let seen = (0..).zip(cases).map(|(number, case)| one(address, &mut witness, case, number));
    let seen = seen.collect();
    (witness.name(), seen)
}

fn one(address: &str, witness: &mut Witness, case: &Case, number: usize) -> Seen {
    let mut client = Client::new(address);
    client.patience(SILENCE);
    for (index, piece) in case.pieces.iter().enumerate() {
        if index > 0 {
            blackbox::wait::pause(10);
        }
        // It may have refused already.
        let _ = client.try_send(piece);
    }
    // Until it closes or has nothing more to say.
    let _: io::Result<Vec<u8>> = client.reader().rest();
    drop(client);
    let target = format!("/next?{number}");
    let mut next = Client::new(address);
    next.patience(Duration::from_secs(2));
    // A server that is still busy with the case is late, not wrong.
    let own = next
        .try_get(&target)
        .map_or(true, |response| response.status == 200 && response.text() == answer(&target));
    let mut readings = witness.read(1, Duration::from_millis(500));
    readings.retain(|reading| reading.target != target);
    (readings, own)
}

/// The cases in which one reads a request that another, who reads more, does not. (That a server
/// refuses what another takes is no disagreement about what was sent.)
fn disagreements(seen: &[(&str, Vec<Seen>)], cases: &[Case]) -> Vec<String> {
    let differ = |place: usize| {
        let read = || seen.iter().map(|(_, seen)| seen[place].0.as_slice());
        let most = read().max_by_key(|readings| readings.len()).unwrap_or_default();
        !read().all(|readings| is_part_of(readings, most))
    };
    let places = (0..cases.len()).filter(|&place| differ(place));
    places.map(|place| cases[place].name.clone()).collect()
}

/// Whether all of `few` are among `many`, in the same order.
fn is_part_of(few: &[Reading], many: &[Reading]) -> bool {
    let mut rest = many.iter();
    few.iter().all(|reading| rest.any(|other| other == reading))
}

#[test]
#[ignore = "takes minutes and tells of others"]
fn what_peers_do() {
    let cases = load("hostile");
    let hostile = cases.as_slice();
    let must_refuse: Vec<bool> = cases
        .iter()
        .map(|case| matches!(case.expected.first(), Some(Expected::Refused(_))))
        .collect();
    let taken = |seen: &[Seen]| {
        let taken = |(refused, seen): &(&bool, &Seen)| **refused && !seen.0.is_empty();
        must_refuse.iter().zip(seen).filter(taken).count()
    };
    let refusable = must_refuse.iter().filter(|refused| **refused).count();
    println!("{} cases, of which {refusable} must be refused\n", cases.len());
    println!("| reader | takes |\n|---|---|");
    let servers: [fn() -> Witness; 5] = [nginx, haproxy, node, gunicorn, hyper];
    let direct: Vec<_> = thread::scope(|scope| {
        let looks = servers.map(|start| scope.spawn(move || look("", start, hostile)));
        looks.into_iter().map(|look| look.join().expect("a look ends")).collect()
    });
    for (name, seen) in &direct {
        println!("| {name} | {} |", taken(seen));
    }
    println!("\nread differently by two of the five: {}\n", disagreements(&direct, hostile).len());
    println!(
        "| proxy | passes on | read differently behind | next client spoiled |\n|---|---|---|---|"
    );
    for front in ["nginx", "HAProxy", "anteroom"] {
        let behind: Vec<_> = thread::scope(|scope| {
            let looks = BEHIND.map(|start| scope.spawn(move || look(front, start, hostile)));
            looks.into_iter().map(|look| look.join().expect("a look ends")).collect()
        });
        let passed = behind.iter().map(|(_, seen)| taken(seen)).max().unwrap_or(0);
        let differ = disagreements(&behind, hostile);
        let is_spoiled = |place: &usize| !behind.iter().all(|(_, seen)| seen[*place].1);
        let spoiled: Vec<&str> =
            (0..cases.len()).filter(is_spoiled).map(|place| cases[place].name.as_str()).collect();
        println!("| {front} | {passed} | {} | {} |", differ.len(), spoiled.len());
        println!("<!-- {differ:?} {spoiled:?} -->");
        if front == "anteroom" {
            assert_eq!((passed, differ.len(), spoiled.len()), (0, 0, 0), "ours");
        }
    }
}

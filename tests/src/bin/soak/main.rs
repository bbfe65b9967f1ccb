//! `cargo xtask soak`: the release binary, real servers and a crowd of clients of every kind,
//! with random faults over minutes. When the faults stop, whatever the process holds must be back
//! where it was: memory, descriptors, buffers, exchanges, leases, the spool. Every response that
//! came whole must have been the right one for the client that asked.
//!
//! - `stage`: what runs, and how it is configured;
//! - `server`: a server that can be told to misbehave, in a process of its own; `endless`: its side
//!   of tunnels and event streams;
//! - `scene`: where guests come in, what they ask, and whether the answer is right;
//! - `clients`: the crowd; what they do is in `visits`, `tunnels`, `streams` and `handshakes`;
//! - `faults`: what is done to it;
//! - `holdings`: what the process has, and whether that is what it had.
#![forbid(unsafe_code)]

mod clients;
mod endless;
mod faults;
mod handshakes;
mod holdings;
mod scene;
mod server;
mod stage;
mod streams;
mod tunnels;
mod visits;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blackbox::random::Random;

use clients::Crowd;
use holdings::Holdings;
use stage::Stage;

const USAGE: &str = "soak [--minutes N] [--seed S] [--io epoll|uring]";

/// What is asked for.
struct Wish {
    minutes: u64,
    seed: u64,
    io: String,
}

impl Wish {
    fn parse(arguments: &[String]) -> Option<Self> {
        let mut wish = Self { minutes: 10, seed: 0, io: "epoll".to_owned() };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let value = words.next()?;
            match word.as_str() {
                "--minutes" => wish.minutes = value.parse().ok().filter(|&n| n > 0)?,
                "--seed" => wish.seed = value.parse().ok()?,
                "--io" => wish.io.clone_from(value),
                _ => return None,
            }
        }
        if wish.seed == 0 {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
            wish.seed = now.as_millis().try_into().ok()?;
        }
        Some(wish)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, address] = &arguments[..]
        && role == "server"
    {
        return server::serve(address);
    }
    let Some(wish) = Wish::parse(&arguments) else {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(2);
    };
    blackbox::crowd::allow_descriptors();
    let violations = soak(&wish);
    for violation in &violations {
        println!("VIOLATION: {violation}");
    }
    let verdict = if violations.is_empty() { "held" } else { "FAILED" };
    println!("soak {verdict}: {} for {} min, seed {}", wish.io, wish.minutes, wish.seed);
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Warms up, takes stock, lets everything go wrong, lets it calm down, and takes stock again.
fn soak(wish: &Wish) -> Vec<String> {
    println!("soak: {} for {} min, seed {}", wish.io, wish.minutes, wish.seed);
    let all = Duration::from_secs(60 * wish.minutes);
    let mut random = Random::new(wish.seed);
    let mut stage = Stage::set(&wish.io);
    // The same crowd, and a server that is gone for a moment: what is made once is made now.
    let warm = all / 5;
    let crowd = Crowd::start(&stage, &mut random);
    std::thread::sleep(warm / 2);
    faults::one_of_each(&mut stage, &mut random);
    std::thread::sleep(warm / 2);
    println!("warm-up: {}", crowd.stop());
    let mut violations = Vec::new();
    let before = Holdings::at_rest(&stage, &mut violations);
    println!("before: {before}");

    let crowd = Crowd::start(&stage, &mut random);
    let ends = Instant::now() + all.saturating_sub(warm);
    let calm = Arc::new(AtomicBool::new(false));
    crowd.is_calm_when(&calm);
    let done = faults::until(&mut stage, &mut random, ends);
    println!("faults: {done}");
    stage.heal();
    // From here on every polite client must be served.
    std::thread::sleep(stage::CALMING);
    calm.store(true, Ordering::SeqCst);
    std::thread::sleep(Duration::from_secs(10));
    let (told, wrong) = crowd.end();
    println!("crowd: {told}");
    violations.extend(wrong);
    violations.extend(stage.serves_the_held());
    violations.extend(stage.shows_its_certificate());

    let after = Holdings::at_rest(&stage, &mut violations);
    println!("after: {after}");
    violations.extend(after.against(&before));
    violations.extend(stage.log_agrees());
    violations.extend(stage.finish());
    violations
}

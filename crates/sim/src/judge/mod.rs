//! The judge: real workers in a world that does everything, and checkers that forgive nothing.
//!
//! A run is a function of its tape ([`crate::dice`]): the settings, what clients ask, how servers
//! answer and fail, when the network, the disk and the operator do what. An independent oracle says
//! what each client and each server may see. Whatever fails once fails again.
//!
//! - `setting`: what differs from seed to seed;
//! - `ask`, `malformed`, `reply`, `pattern`: requests and responses, each byte of which tells whose
//!   it is; `outbox`: how they are written;
//! - `message`, `reading`: a strict reader that is not `wire`'s;
//! - `channel`: a connection, secured or not; `keys` and `papers`: certificates of both ends, and `renewal`, their
//!   change; `bounds`: what TLS may keep;
//! - `client` and its `line`, `expecting`, `server`, `operator`: the actors;
//! - `tunnel`, and `talking`, a client's part in it, `answering`, a server's; `parting`, what either end may see of its end;
//! - `front`: a proxy that is trusted to say whom its requests are from;
//! - `door`: who may come in, and how often; `gate`: who is let in, and `desk`: those who decide;
//! - `book`, `oracle`: what was asked, what happened, and what may follow from it;
//! - `house`, `run`: the workers, and the turns that all take; `happens`: what happens to
//!   everybody; `calm`: how a run ends;
//! - `checks`, `duties`: what must hold after each round, at rest, and at the end;
//! - `shrink`: how a failing run is cut down.

mod answering;
mod ask;
mod book;
mod bounds;
mod calm;
mod channel;
mod checks;
mod client;
mod deaf;
mod desk;
mod door;
mod duties;
mod expecting;
mod front;
mod gate;
mod happens;
mod house;
mod keys;
mod line;
mod malformed;
mod message;
mod operator;
mod oracle;
mod outbox;
mod papers;
mod parting;
mod pattern;
mod reading;
mod renewal;
mod reply;
mod room;
mod run;
mod server;
mod setting;
mod shrink;
mod stage;
mod talking;
mod tally;
mod tunnel;

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

use crate::dice::{Dice, Origin, Recorder};
use run::Run;

pub use setting::Setting;
pub use shrink::Failure;
pub use stage::Violation;
pub use tally::Tally;

/// What is wanted beside the verdict.
#[derive(Clone, Copy, Default)]
pub struct Wishes<'w> {
    /// Everything that happens is written to standard output.
    pub trace: bool,
    /// What is drawn is kept here.
    pub recorder: Option<&'w Recorder>,
}

/// What only some worlds have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// TLS is spoken.
    Tls,
    /// Clients are let in, or not.
    Gate,
    /// A proxy in front is trusted.
    Front,
    /// Clients are asked for certificates, or ask for one of several.
    Papers,
}

/// Whether the world of this run has that part.
pub fn has(origin: &Origin, part: Part) -> bool {
    let setting = Setting::draw(&mut Dice::new(origin, run::SETTING, None));
    match part {
        Part::Tls => setting.door.secured.iter().flatten().any(|secured| *secured),
        Part::Gate => setting.gate.is_there(),
        Part::Front => setting.trusts,
        Part::Papers => setting.papers.are_there(),
    }
}

/// One run: what it came to, and the first violation, if there was one.
pub fn judge(origin: &Origin, wishes: Wishes<'_>) -> (Tally, Option<Violation>) {
    let Wishes { trace, recorder } = wishes;
    let (mut tally, mut verdict) = (Tally::default(), Ok(()));
    let judged = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut run = Run::new(origin, recorder, trace);
        verdict = run.play();
        run.tell();
        tally = run.came_to();
        // What a run that was broken off holds is missed when it is dropped: that is no news.
    }));
    let violation = match (verdict, judged) {
        (Err(violation), _) => Some(violation),
        (Ok(()), Ok(())) => None,
        (Ok(()), Err(panicked)) => {
            Some(Violation { checker: "assertion", text: words(&*panicked) })
        }
    };
    (tally, violation)
}

/// What a panic says.
fn words(panicked: &(dyn Any + Send)) -> String {
    let text = panicked.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panicked.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic".to_owned())
}

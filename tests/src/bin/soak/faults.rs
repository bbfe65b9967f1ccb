//! What goes wrong, at random.

use std::fmt;
use std::time::{Duration, Instant};

use blackbox::client::Client;
use blackbox::random::Random;
use rustix::process::Signal;

use crate::scene::Way;
use crate::stage::Stage;

/// How often each was done.
#[derive(Debug, Default)]
pub(crate) struct Done([u32; Fault::ALL.len()]);

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = Fault::ALL.iter().zip(self.0);
        let parts: Vec<String> = parts.map(|(fault, times)| format!("{times} {fault:?}")).collect();
        f.write_str(&parts.join(", "))
    }
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A server is killed, and comes back after a while.
    Kill,
    /// A server stands still, and goes on.
    Stall,
    /// All connections of a server are reset.
    Reset,
    /// A server misbehaves now and then.
    Misbehave,
    /// All servers are gone at once, for longer than they are waited for.
    Blackout,
    /// gunicorn stands still.
    StallPython,
    /// gunicorn's workers are replaced.
    ReplacePython,
    /// The log file is renamed and opened anew.
    TurnLog,
    /// The log goes where no room is.
    FillLog,
    /// Many come at once, ask, and are gone.
    Rush,
    /// Another certificate is to be shown, at times after one that is none.
    Renew,
    /// A network is banned for a while.
    Ban,
    /// A network is on the list of the denied for a while.
    Deny,
}

impl Fault {
    const ALL: [Self; 13] = [
        Self::Kill,
        Self::Stall,
        Self::Reset,
        Self::Misbehave,
        Self::Blackout,
        Self::StallPython,
        Self::ReplacePython,
        Self::TurnLog,
        Self::FillLog,
        Self::Rush,
        Self::Renew,
        Self::Ban,
        Self::Deny,
    ];

    fn happen(self, stage: &mut Stage, random: &mut Random) {
        let which = random.below(2);
        let while_it_lasts = |random: &mut Random, most: usize| {
            std::thread::sleep(Duration::from_millis(50 + random.below(most) as u64));
        };
        match self {
            Self::Kill => {
                stage.own[which].kill();
                while_it_lasts(random, 3000);
                stage.own[which].revive();
            }
            Self::Stall => {
                stage.own[which].signal(Signal::STOP);
                while_it_lasts(random, 7000);
                stage.own[which].signal(Signal::CONT);
            }
            Self::Reset => stage.own[which].tell("reset"),
            Self::Misbehave => {
                let one_in = 2 + random.below(20);
                stage.own[which].tell(&format!("faults {one_in}"));
                while_it_lasts(random, 5000);
                stage.own[which].tell("faults 0");
            }
            Self::Blackout => {
                stage.own.iter_mut().for_each(crate::stage::Own::kill);
                while_it_lasts(random, 3000);
                stage.own.iter_mut().for_each(crate::stage::Own::revive);
            }
            Self::StallPython => {
                stage.python.process().signal(Signal::STOP);
                while_it_lasts(random, 2000);
                stage.python.process().signal(Signal::CONT);
            }
            Self::ReplacePython => stage.python.process().signal(Signal::HUP),
            Self::TurnLog => stage.turn_log(false),
            Self::FillLog => {
                stage.turn_log(true);
                while_it_lasts(random, 2000);
                stage.turn_log(false);
            }
            Self::Rush => rush(stage, random),
            Self::Renew => {
                let bad = random.once_in(2);
                stage.renew_certificate(bad);
            }
            Self::Ban => stage.ban(random),
            Self::Deny => stage.deny(random),
        }
    }
}

/// A few hundred at once, some of them over TLS; each asks for something, some stay for the answer.
fn rush(stage: &Stage, random: &mut Random) {
    let doors = stage.doors();
    let mut all: Vec<Client> = Vec::new();
    for _ in 0..300 {
        let way = if random.once_in(3) { Way::Sealed } else { Way::Plain };
        all.extend(doors.enter(way, "", random).ok());
    }
    for client in &mut all {
        let length = random.length(20_000);
        let request = format!("GET /bytes/{length}/1 HTTP/1.1\r\nHost: soak\r\n\r\n");
        let _ = client.try_send(request);
    }
    for mut client in all {
        match random.below(3) {
            0 => drop(client.try_response()),
            1 => client.reset(),
            _ => drop(client),
        }
    }
}

/// Each fault once, so that whatever it makes the process set up is there.
pub(crate) fn one_of_each(stage: &mut Stage, random: &mut Random) {
    for fault in Fault::ALL {
        fault.happen(stage, random);
    }
    stage.heal();
}

/// One fault after the other until then.
pub(crate) fn until(stage: &mut Stage, random: &mut Random, ends: Instant) -> Done {
    let mut done = Done::default();
    while Instant::now() < ends {
        let fault = Fault::ALL[random.below(Fault::ALL.len())];
        fault.happen(stage, random);
        done.0[fault as usize] += 1;
        std::thread::sleep(Duration::from_millis(random.below(2000) as u64));
    }
    done
}

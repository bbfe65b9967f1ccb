//! Letters: none is lost, and one that finds the mailbox full loses nothing, as its worker is
//! woken and looks at everything anew.

use std::sync::Arc;

use base::id::{GroupId, WorkerId};
use base::sync::atomic::{AtomicU32, Ordering::Relaxed};
use base::sync::explore::Explore;
use base::sync::thread;
use driver::Wake;

use super::bell::Bell;
use crate::office::{Letter, Office};

/// Two workers free something and tell a third, whose mailbox has room for one letter. `looks`:
/// it looks at everything anew when it wakes, not just at its letters.
fn tell(looks: bool) {
    Explore { preemptions: Some(2) }.run(move || {
        let bell = Arc::new(Bell::default());
        let waker: Arc<dyn Wake> = bell.clone();
        let office: Arc<Office<()>> = Office::new(vec![waker], 1, 1, 0);
        let freed = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let senders = [0, 1].map(|number: usize| {
            let (office, freed) = (Arc::clone(&office), Arc::clone(&freed));
            thread::spawn(move || {
                freed[number].fetch_add(1, Relaxed);
                let _ = office.post(WorkerId(0), Letter::Nudge(GroupId(0)));
            })
        });
        let mut seen = 0;
        let mut wake = || {
            let mut letters = 0;
            while office.collect(WorkerId(0)).is_some() {
                letters += 1;
            }
            // A letter that was lost is as good as all of them.
            let missed = office.missed(WorkerId(0));
            let told = letters > 0 || missed;
            let free = || freed.iter().map(|freed| freed.swap(0, Relaxed)).sum();
            seen += match looks {
                true if told => free(),
                true => 0,
                false => letters,
            };
        };
        if bell.is_heard() {
            wake();
        }
        for sender in senders {
            sender.join().unwrap();
        }
        while bell.is_heard() {
            wake();
        }
        assert_eq!(seen, 2, "something is free, and nobody is told");
    });
}

#[test]
fn what_was_freed_is_seen_even_if_the_mailbox_was_full() {
    tell(true);
}

#[test]
#[should_panic(expected = "nobody is told")]
fn counting_letters_would_miss_some() {
    tell(false);
}

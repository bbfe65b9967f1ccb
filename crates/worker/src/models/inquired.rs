//! Questions and verdicts: each question is heard by those who decide, each verdict by the worker that
//! asked, and every inquiry is idle again in the end.

use std::sync::Arc;

use base::id::{ExchangeId, WorkerId};
use base::sync::explore::Explore;
use base::sync::thread;
use driver::Wake;
use exchange::{Asks, Refusal};

use super::bell::Bell;
use crate::authorize::{AuthorizerPlan, Inquiries, Verdict};

const QUESTIONS: [&[u8]; 2] = [b"one", b"two"];

/// Two workers ask; whoever decides wakes when the bell rings. `late`: it takes the questions first, and
/// says then that it was woken.
fn ask(questions: u32, late: bool) {
    Explore { preemptions: Some(2) }.run(move || {
        let bells = [(); 3].map(|()| Arc::new(Bell::default()));
        let wake = |bell: &Arc<Bell>| Arc::clone(bell) as Arc<dyn Wake>;
        let plan = AuthorizerPlan { asks: Asks::Passwords, questions, remembers: false };
        let wakers = bells[..2].iter().map(wake).collect();
        let inquiries = Inquiries::new(&[plan], wakers, wake(&bells[2]), [1, 2]);
        let workers = [0u32, 1].map(|worker| {
            let inquiries = Arc::clone(&inquiries);
            thread::spawn(move || {
                let whose = (WorkerId(worker), ExchangeId(worker), 7);
                inquiries.ask(whose, 0, QUESTIONS[worker as usize])
            })
        });
        let serve = || {
            let rang = if late { bells[2].has_rung() } else { bells[2].is_heard() };
            while rang && let Some(inquiry) = inquiries.next() {
                inquiries.answer(inquiry, Verdict::Refused(Refusal::Forbidden));
            }
            if rang && late {
                bells[2].answer();
            }
            rang
        };
        serve();
        let asked = workers.map(|worker| worker.join().unwrap());
        while serve() {}
        let room = asked.iter().filter(|asked| **asked).count();
        assert!(room >= questions.min(2) as usize, "there was room");
        for (worker, bell) in (0u32..).zip(&bells[..2]).filter(|(n, _)| asked[*n as usize]) {
            assert!(bell.is_heard(), "a question waits, and nobody is told");
            let inquiry = inquiries.hear(WorkerId(worker)).unwrap();
            assert_eq!((inquiry.exchange, inquiry.number), (ExchangeId(worker), 7));
            assert_eq!(inquiry.question(), QUESTIONS[worker as usize], "it is its own");
            inquiries.give_back(inquiry);
        }
        assert_eq!(inquiries.under_way(), 0);
    });
}

#[test]
fn each_question_is_heard_and_each_verdict() {
    ask(2, false);
}

#[test]
fn who_finds_no_room_asks_nothing() {
    ask(1, false);
}

#[test]
#[should_panic(expected = "nobody is told")]
fn who_says_late_that_it_was_woken_misses_some() {
    ask(2, true);
}

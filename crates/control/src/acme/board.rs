//! What authorities are shown at the moment: one table for all orders.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::limits;
use exchange::Challenges;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep};

use super::Event;
use super::challenge::Answer;
use super::fault::Fault;
use crate::thread::Job;

/// How often it is looked whether every worker goes by a new table.
const LOOK: Duration = Duration::from_millis(5);

/// Where orders have their answers shown.
#[derive(Clone, Debug)]
pub(super) struct Board {
    // Each order has two of these under way at most.
    wishes: UnboundedSender<Wish>,
}

#[derive(Debug)]
enum Wish {
    Show(Vec<Answer>, oneshot::Sender<Shown>),
    Remove(u64),
}

/// What the board's job goes by, in whichever of its lives.
struct Table {
    heard: UnboundedReceiver<Wish>,
    /// By the numbers of what is shown.
    all: BTreeMap<u64, Vec<Answer>>,
    next: u64,
}

/// What is shown for an order: as long as this lives.
#[derive(Debug)]
pub(super) struct Shown {
    number: u64,
    wishes: UnboundedSender<Wish>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        // A board that is gone shows nothing.
        let _ = self.wishes.send(Wish::Remove(self.number));
    }
}

impl Board {
    /// The board, and the job that keeps it.
    pub(super) fn new(
        workers: u32,
        tell: impl Fn(Event) + Clone + Send + Sync + 'static,
    ) -> (Self, Job) {
        let (wishes, heard) = unbounded_channel();
        let table = Arc::new(Mutex::new(Table { heard, all: BTreeMap::new(), next: 0 }));
        let board = Self { wishes };
        let own = board.clone();
        let life = move || work(workers, Arc::clone(&table), own.wishes.clone(), tell.clone());
        (board, Box::new(move || Box::pin(life())))
    }

    /// Has these shown; returns when every worker does so, or none is known to lag for long.
    pub(super) async fn show(&self, answers: Vec<Answer>) -> Result<Shown, Fault> {
        let (done, shown) = oneshot::channel();
        let nobody = "what the authority comes for is not shown, as whoever shows it failed";
        let sent = self.wishes.send(Wish::Show(answers, done));
        sent.map_err(|_| Fault::new(nobody))?;
        shown.await.map_err(|_| Fault::new(nobody))
    }
}

async fn work(
    workers: u32,
    table: Arc<Mutex<Table>>,
    wishes: UnboundedSender<Wish>,
    tell: impl Fn(Event),
) {
    let mut table = table.lock().await;
    let Table { heard, all, next } = &mut *table;
    while let Some(wish) = heard.recv().await {
        match wish {
            Wish::Show(answers, done) => {
                *next += 1;
                all.insert(*next, answers);
                let shown = Shown { number: *next, wishes: wishes.clone() };
                let texts = publish(all, &tell);
                everybody_goes_by(&texts, workers).await;
                // If the order is over by now, what comes back is dropped, and removed.
                let _ = done.send(shown);
            }
            Wish::Remove(number) => {
                all.remove(&number);
                publish(all, &tell);
            }
        }
    }
}

fn publish(all: &BTreeMap<u64, Vec<Answer>>, tell: &impl Fn(Event)) -> Arc<Challenges> {
    let (mut texts, mut certificates) = (Vec::new(), Vec::new());
    for answer in all.values().flatten() {
        match answer {
            Answer::Text { token, text } => texts.push((token.clone(), text.clone())),
            Answer::Certificate(identity) => certificates.push(Arc::clone(identity)),
        }
    }
    let texts = Arc::new(Challenges::new(texts));
    tell(Event::Show { texts: Arc::clone(&texts), certificates });
    texts
}

/// A worker that is being started anew begins with the newest table, and is not waited for.
async fn everybody_goes_by(table: &Challenges, workers: u32) {
    let until = Instant::now() + limits::ACME_SHOWN;
    while table.holders() < workers && Instant::now() < until {
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(token: &str) -> Vec<Answer> {
        vec![Answer::Text { token: token.into(), text: b"x".as_slice().into() }]
    }

    #[tokio::test]
    async fn what_is_shown_is_in_force_until_it_is_dropped() {
        let (events, mut told) = unbounded_channel();
        let (board, mut job) = Board::new(2, move |event| drop(events.send(event)));
        tokio::spawn(job());
        let showing = tokio::spawn({
            let board = board.clone();
            async move { board.show(text("a")).await }
        });
        let Some(Event::Show { texts, .. }) = told.recv().await else { panic!() };
        assert!(texts.find("/.well-known/acme-challenge/a").is_some());
        texts.taken();
        sleep(4 * LOOK).await;
        assert!(!showing.is_finished(), "one worker lags");
        texts.taken();
        let shown = showing.await.unwrap().unwrap();
        drop(shown);
        let Some(Event::Show { texts, certificates }) = told.recv().await else { panic!() };
        assert!(texts.find("/.well-known/acme-challenge/a").is_none() && certificates.is_empty());
    }

    #[tokio::test]
    async fn orders_are_shown_beside_each_other() {
        let (events, mut told) = unbounded_channel();
        let (board, mut job) = Board::new(0, move |event| drop(events.send(event)));
        tokio::spawn(job());
        let first = board.show(text("a")).await.unwrap();
        let _second = board.show(text("b")).await.unwrap();
        drop(first);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let Some(Event::Show { texts, .. }) = told.recv().await else { panic!() };
            let has = |token| texts.find(&format!("/.well-known/acme-challenge/{token}")).is_some();
            seen.push([has("a"), has("b")]);
        }
        assert_eq!(seen, [[true, false], [true, true], [false, true]]);
    }

    #[tokio::test]
    async fn a_board_that_failed_is_a_fault_of_one_order_and_shows_the_next() {
        let (events, mut told) = unbounded_channel();
        let (board, mut job) = Board::new(0, move |event: Event| {
            let Event::Show { texts, .. } = event else { panic!() };
            assert!(texts.find("/.well-known/acme-challenge/bad").is_none(), "it fails");
            let _ = events.send(texts);
        });
        let life = tokio::spawn(job());
        let shown = board.show(text("a")).await.unwrap();
        let fault = board.show(text("bad")).await.unwrap_err();
        assert!(fault.why.contains("not shown"), "{fault:?}");
        assert!(life.await.unwrap_err().is_panic());
        tokio::spawn(job());
        let _other = board.show(text("b")).await.unwrap();
        let has = |texts: &Challenges, token| {
            texts.find(&format!("/.well-known/acme-challenge/{token}")).is_some()
        };
        let mut last = None;
        while let Ok(texts) = told.try_recv() {
            last = Some(texts);
        }
        let last = last.unwrap();
        assert!(has(&last, "a") && has(&last, "b"), "what was shown before is");
        drop(shown);
        let texts = told.recv().await.unwrap();
        assert!(!has(&texts, "a") && has(&texts, "b"));
    }
}

//! What authorities are shown at the moment: one table for all orders.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base::limits;
use exchange::Challenges;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::Event;
use super::challenge::Answer;

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
        tell: impl Fn(Event) + Send + 'static,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (wishes, heard) = unbounded_channel();
        let own = wishes.clone();
        (Self { wishes }, work(workers, heard, own, tell))
    }

    /// Has these shown; returns when every worker does so, or none is known to lag for long.
    pub(super) async fn show(&self, answers: Vec<Answer>) -> Option<Shown> {
        let (done, shown) = oneshot::channel();
        self.wishes.send(Wish::Show(answers, done)).ok()?;
        shown.await.ok()
    }
}

async fn work(
    workers: u32,
    mut heard: UnboundedReceiver<Wish>,
    wishes: UnboundedSender<Wish>,
    tell: impl Fn(Event),
) {
    let mut all: BTreeMap<u64, Vec<Answer>> = BTreeMap::new();
    let mut next = 0;
    while let Some(wish) = heard.recv().await {
        match wish {
            Wish::Show(answers, done) => {
                next += 1;
                all.insert(next, answers);
                let table = publish(&all, &tell);
                everybody_goes_by(&table, workers).await;
                // If the order is over by now, what comes back is dropped, and removed.
                let _ = done.send(Shown { number: next, wishes: wishes.clone() });
            }
            Wish::Remove(number) => {
                all.remove(&number);
                publish(&all, &tell);
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
        let (board, job) = Board::new(2, move |event| drop(events.send(event)));
        tokio::spawn(job);
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
        let (board, job) = Board::new(0, move |event| drop(events.send(event)));
        tokio::spawn(job);
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
}

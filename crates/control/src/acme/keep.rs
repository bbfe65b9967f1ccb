//! One certificate, for ever.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::limits;
use tls::IssuedAs;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::account::Registrar;
use super::advice::{self, Window};
use super::board::Board;
use super::fault::Fault;
use super::order::{self, Circumstances, Issued};
use super::schedule::{advised, pause, renewal};
use super::store::{Store, StoreError};
use super::{Event, Held, Proof, Wanted};

/// Keeps one certificate good.
pub(super) struct Keeper {
    pub(super) place: usize,
    pub(super) wanted: Wanted,
    pub(super) retry: [Duration; 2],
    pub(super) board: Board,
    pub(super) registrar: Arc<Registrar>,
    /// How many may order at one time.
    pub(super) turns: Arc<Semaphore>,
    pub(super) store: Store,
    /// Whether the authority said when it would renew.
    pub(super) advised: bool,
    /// What was issued and is not in its file yet: its chain, and its key.
    pub(super) unkept: Option<[String; 2]>,
}

impl Keeper {
    pub(super) async fn keep(mut self, tell: impl Fn(Event)) {
        // There may be another by now than when it was wanted.
        if let Ok(Some(identity)) = self.store.certificate(&self.wanted.names) {
            self.wanted.held = Some(Held::of(&identity));
        }
        let mut failures: u32 = 0;
        loop {
            if failures == 0 {
                self.await_renewal(&tell).await;
            }
            let place = self.place;
            match self.order(failures).await {
                Ok(Issued { identity, chain, key }) => {
                    failures = 0;
                    self.wanted.tally.issued.increment();
                    self.wanted.held = Some(Held::of(&identity));
                    self.unkept = Some([chain, key]);
                    // It serves all the same.
                    let unkept = self.write().err().map(|error| error.to_string());
                    tell(Event::Issued { place, identity: Arc::new(identity), unkept });
                }
                Err(fault) => {
                    failures = failures.saturating_add(1);
                    self.wanted.tally.failed.increment();
                    let again = pause(failures, self.retry, fault.rest, luck());
                    tell(Event::Failed { place, why: fault.why, again });
                    sleep(again).await;
                }
            }
        }
    }

    /// Returns when a certificate is needed: at once without one. Notes whether the authority gives
    /// advice, and keeps what could not be kept.
    async fn await_renewal(&mut self, tell: &impl Fn(Event)) {
        let Some(held) = self.wanted.held.clone() else { return };
        let luck = luck();
        let mut due = renewal(&held, luck);
        // One that was just issued is not asked about: whatever the authority says, it is not asked for
        // one after another.
        let fresh = self.wanted.tally.issued.get() > 0;
        let mut ask = now() + if fresh { limits::ACME_ADVICE[1] } else { Duration::ZERO };
        // Nor is another ordered at once, however short a time this one is good for.
        let least = now() + if fresh { self.retry[0] } else { Duration::ZERO };
        // By the calendar, which may be set: the machine may have slept, too.
        loop {
            let now = now();
            if now >= ask && self.registrar.rest().left().is_none() {
                let (window, again) = self.ask(&held).await;
                self.advised = window.is_some();
                due = window.map_or(due, |window| advised(&held, window, luck));
                ask = now + again;
            }
            let left = due.max(least).duration_since(now).unwrap_or_default();
            if left.is_zero() {
                return;
            }
            let look = if self.unkept.is_some() { self.retry[0] } else { limits::ACME_LOOK };
            sleep(left.min(look).min(limits::ACME_LOOK)).await;
            if self.unkept.is_some() && self.write().is_ok() {
                tell(Event::Kept { place: self.place });
            }
        }
    }

    /// Writes what was issued to its file.
    fn write(&mut self) -> Result<(), StoreError> {
        if let Some([chain, key]) = &self.unkept {
            self.store.keep_certificate(&self.wanted.names, chain, key)?;
        }
        self.unkept = None;
        Ok(())
    }

    /// Asks when the authority would renew it.
    async fn ask(&self, held: &Held) -> (Option<Window>, Duration) {
        let most = limits::ACME_ADVICE[1];
        let Some(issued) = &held.issued_as else { return (None, most) };
        match self.registrar.account().await {
            Ok(account) => advice::ask(&account, issued).await,
            // That is told when something is needed of it.
            Err(_) => (None, most),
        }
    }

    /// One order, when it is its turn and the authority may be asked.
    async fn order(&self, failures: u32) -> Result<Issued, Fault> {
        let _turn = self.turns.acquire().await.map_err(Fault::own)?;
        let rest = self.registrar.rest();
        rest.over().await;
        let at = Circumstances {
            names: &self.wanted.names,
            proof: self.proof(failures),
            board: &self.board,
            replaces: self.replaced(failures),
        };
        let ordered = async {
            let account = self.registrar.account().await?;
            let ended = order::certificate(&account, &at).await;
            match &ended {
                Ok(_) => {}
                Err(fault) if fault.is_unknown_account() => {
                    self.registrar.forget(account.id()).await?;
                }
                Err(_) => self.registrar.look_again().await,
            }
            ended
        };
        let late = |_| Fault::new("the authority takes too long");
        let ended = timeout(limits::ACME_ORDER, ordered).await.map_err(late).flatten();
        ended.map_err(|fault| Fault { rest: rest.left(), ..fault })
    }

    /// What the authority is told that the new certificate replaces, if it cares (RFC 9773 §5); not
    /// after a failure, which may be for that.
    fn replaced(&self, failures: u32) -> Option<&IssuedAs> {
        let held = self.wanted.held.as_ref().filter(|_| self.advised && failures == 0);
        held?.issued_as.as_ref()
    }

    /// After a failure the next proof is tried, if there is another.
    fn proof(&self, failures: u32) -> Proof {
        let proofs = &self.wanted.proofs;
        let count = u32::try_from(proofs.len()).unwrap_or(1).max(1);
        proofs.get((failures % count) as usize).copied().unwrap_or(Proof::TlsAlpn01)
    }
}

/// What spreads those who would come at once; nothing depends on its being secret.
fn luck() -> u32 {
    getrandom::u32().unwrap_or(0)
}

#[expect(clippy::disallowed_methods, reason = "certificates are good by the calendar")]
fn now() -> SystemTime {
    SystemTime::now()
}

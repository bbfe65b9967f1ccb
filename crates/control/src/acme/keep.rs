//! One certificate, for ever.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::limits;
use tls::{Identity, IssuedAs};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::account::Registrar;
use super::advice::{self, Window};
use super::board::Board;
use super::fault::Fault;
use super::order::{self, Circumstances};
use super::schedule::{advised, pause, renewal};
use super::store::Store;
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
}

impl Keeper {
    pub(super) async fn keep(mut self, tell: impl Fn(Event)) {
        let mut failures: u32 = 0;
        loop {
            if failures == 0 {
                self.await_renewal().await;
            }
            let place = self.place;
            match self.order(failures).await {
                Ok(identity) => {
                    failures = 0;
                    self.wanted.tally.issued.increment();
                    self.wanted.held = Some(Held::of(&identity));
                    tell(Event::Issued { place, identity });
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
    /// advice.
    async fn await_renewal(&mut self) {
        let Some(held) = self.wanted.held.clone() else { return };
        let luck = luck();
        let mut due = renewal(&held, luck);
        // One that was just issued is not asked about: whatever the authority says, it is not asked for
        // one after another.
        let fresh = self.wanted.tally.issued.get() > 0;
        let mut ask = now() + if fresh { limits::ACME_ADVICE[1] } else { Duration::ZERO };
        // By the calendar, which may be set: the machine may have slept, too.
        loop {
            let now = now();
            if now >= ask {
                let (window, again) = self.ask(&held).await;
                self.advised = window.is_some();
                due = window.map_or(due, |window| advised(&held, window, luck));
                ask = now + again;
            }
            let left = due.duration_since(now).unwrap_or_default();
            if left.is_zero() {
                return;
            }
            sleep(left.min(limits::ACME_LOOK)).await;
        }
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

    /// One order, when it is its turn.
    async fn order(&self, failures: u32) -> Result<Arc<Identity>, Fault> {
        let _turn = self.turns.acquire().await.map_err(Fault::own)?;
        let at = Circumstances {
            names: &self.wanted.names,
            proof: self.proof(failures),
            board: &self.board,
            store: &self.store,
            replaces: self.replaced(failures),
        };
        let ordered = async {
            let account = self.registrar.account().await?;
            let ended = order::certificate(&account, &at).await;
            if ended.as_ref().is_err_and(|fault| fault.unknown_account) {
                self.registrar.forget(account.id()).await?;
            }
            ended
        };
        let late = |_| Fault::new("the authority takes too long");
        let ended = timeout(limits::ACME_ORDER, ordered).await.map_err(late).flatten();
        ended.map_err(|fault| Fault { rest: self.registrar.rest(), ..fault })
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

//! Questions on their way: from a worker to those who decide whether a client may, and back.
//!
//! An inquiry is a piece of memory that is set aside at start and goes round: idle, asked, answered,
//! idle. Each authorizer has as many as questions to it may be under way at one time, and each queue has
//! room for all of them, so that nothing ever waits for room.

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use base::id::{ExchangeId, WorkerId};
use base::sync::ArrayQueue;
use base::sync::atomic::{AtomicU32, Ordering::Relaxed};
use driver::Wake;
use exchange::{Asks, Grant, Refusal};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::remembered::Remembered;

/// One question, and what was found.
pub struct Inquiry {
    /// Whose it is.
    pub(crate) worker: WorkerId,
    pub(crate) exchange: ExchangeId,
    /// What tells it from earlier questions of an exchange with the same number.
    pub(crate) number: u32,
    authorizer: u16,
    question: Box<[u8]>,
    length: u32,
    /// What is known of the client that is let in, or field lines for one that is not.
    pub grant: Grant,
    /// What was found.
    pub verdict: Verdict,
}

/// What one authorizer is asked, and how much of that at one time.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizerPlan {
    /// What is asked.
    pub asks: Asks,
    /// Most questions under way.
    pub questions: u32,
    /// Whether it is remembered who was let in.
    pub remembers: bool,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client may.
    LetIn {
        /// How long that holds for whoever asks the same.
        good_for: Duration,
        /// What [`Inquiries::edition`] was when it was found.
        edition: u32,
    },
    /// It may not, and why.
    Refused(Refusal),
}

impl Inquiry {
    fn new(authorizer: u16, asks: Asks) -> Self {
        Self {
            worker: WorkerId(0),
            exchange: ExchangeId(0),
            number: 0,
            authorizer,
            question: vec![0; asks.question_max()].into_boxed_slice(),
            length: 0,
            grant: Grant::with_room(asks.grant_max()),
            verdict: Verdict::Refused(Refusal::AuthorizerFailed),
        }
    }

    /// The question.
    pub fn question(&self) -> &[u8] {
        self.question.get(..self.length as usize).unwrap_or_default()
    }

    /// Who is to decide.
    pub const fn authorizer(&self) -> u16 {
        self.authorizer
    }

    /// Forgets the question, which is a secret, and what was found.
    fn wipe(&mut self) {
        let asked = ..(self.length as usize).min(self.question.len());
        self.question[asked].fill(0);
        self.length = 0;
        self.grant.set(b"");
        self.verdict = Verdict::Refused(Refusal::AuthorizerFailed);
    }
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The question is a secret.
        write!(f, "Inquiry({}, {:?})", self.authorizer, self.verdict)
    }
}

/// A keyed hash of a question to an authorizer.
pub(super) fn mark(secret: [u64; 2], authorizer: u16, question: &[u8]) -> u128 {
    let mut hasher = SipHasher24::new_with_keys(secret[0], secret[1]);
    hasher.write(&authorizer.to_le_bytes());
    hasher.write(question);
    hasher.finish128().as_u128()
}

/// Where inquiries go round: made before the workers start, and outliving each of them.
pub struct Inquiries {
    /// By authorizer.
    idle: Box<[ArrayQueue<Box<Inquiry>>]>,
    asked: ArrayQueue<Box<Inquiry>>,
    /// By worker.
    answered: Box<[ArrayQueue<Box<Inquiry>>]>,
    wakers: Vec<Arc<dyn Wake>>,
    /// Wakes those who decide.
    bell: Arc<dyn Wake>,
    /// How often that changed by which each authorizer decides.
    editions: Box<[AtomicU32]>,
    /// By which questions are known that were answered before: nobody outside can foresee it.
    pub(super) secret: [u64; 2],
    /// Bytes of the most that is remembered of a client; none if nobody is.
    pub(super) room: Option<usize>,
}

impl fmt::Debug for Inquiries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inquiries").finish_non_exhaustive()
    }
}

impl Inquiries {
    /// Between the workers that have these `wakers` and the authorizers, whom `bell` wakes; they are
    /// known by their place in `plans`.
    pub fn new(
        plans: &[AuthorizerPlan],
        wakers: Vec<Arc<dyn Wake>>,
        bell: Arc<dyn Wake>,
        secret: [u64; 2],
    ) -> Arc<Self> {
        let idle = (0u16..).zip(plans).map(|(authorizer, plan)| {
            let idle = ArrayQueue::new(plan.questions.max(1) as usize);
            for _ in 0..plan.questions {
                let _ = idle.push(Box::new(Inquiry::new(authorizer, plan.asks)));
            }
            idle
        });
        let all: u32 = plans.iter().map(|plan| plan.questions).sum();
        let count = all.max(1) as usize;
        Arc::new(Self {
            idle: idle.collect(),
            asked: ArrayQueue::new(count),
            answered: wakers.iter().map(|_| ArrayQueue::new(count)).collect(),
            wakers,
            bell,
            editions: plans.iter().map(|_| AtomicU32::new(0)).collect(),
            secret,
            room: room(plans),
        })
    }

    /// By what a question is known to that authorizer, as long as the process runs.
    pub fn mark(&self, inquiry: &Inquiry) -> u128 {
        mark(self.secret, inquiry.authorizer, inquiry.question())
    }

    /// Puts a question. False if as many as may be to that authorizer are under way.
    pub fn ask(
        &self,
        (worker, exchange, number): (WorkerId, ExchangeId, u32),
        authorizer: u16,
        question: &[u8],
    ) -> bool {
        let idle = self.idle.get(usize::from(authorizer));
        let Some(mut inquiry) = idle.and_then(ArrayQueue::pop) else { return false };
        let length = question.len().min(inquiry.question.len());
        inquiry.question[..length].copy_from_slice(&question[..length]);
        inquiry.length = u32::try_from(length).unwrap_or(0);
        (inquiry.worker, inquiry.exchange, inquiry.number) = (worker, exchange, number);
        let asked = self.asked.push(inquiry);
        debug_assert!(asked.is_ok(), "there is room for all of them");
        self.bell.wake();
        asked.is_ok()
    }

    /// The next question, for those who decide. To be called until there is none, each time the bell
    /// rings.
    pub fn next(&self) -> Option<Box<Inquiry>> {
        self.asked.pop()
    }

    /// Answers a question.
    pub fn answer(&self, mut inquiry: Box<Inquiry>, verdict: Verdict) {
        inquiry.verdict = verdict;
        let worker = inquiry.worker.index();
        let Some(answered) = self.answered.get(worker) else { return };
        let answered = answered.push(inquiry);
        debug_assert!(answered.is_ok(), "there is room for all of them");
        self.wakers[worker].wake();
    }

    /// The next answer for `worker`.
    pub fn hear(&self, worker: WorkerId) -> Option<Box<Inquiry>> {
        self.answered.get(worker.index())?.pop()
    }

    /// Its answer is not needed any more.
    pub(crate) fn give_back(&self, mut inquiry: Box<Inquiry>) {
        inquiry.wipe();
        let Some(idle) = self.idle.get(usize::from(inquiry.authorizer)) else { return };
        let idle = idle.push(inquiry);
        debug_assert!(idle.is_ok(), "there is room for all of them");
    }

    /// By which edition of what it knows an authorizer decides now.
    pub fn edition(&self, authorizer: u16) -> u32 {
        self.editions.get(usize::from(authorizer)).map_or(0, |edition| edition.load(Relaxed))
    }

    /// It decides by something else from now on: what it said before is forgotten. To be called when
    /// it does.
    pub fn changed(&self, authorizer: u16) {
        if let Some(edition) = self.editions.get(usize::from(authorizer)) {
            edition.fetch_add(1, Relaxed);
        }
    }

    /// Questions that are under way, or whose answer is still needed.
    pub fn under_way(&self) -> usize {
        self.asked.capacity() - self.idle.iter().map(ArrayQueue::len).sum::<usize>()
    }

    /// Bytes that one question takes, with its places in the queues of so many workers.
    pub const fn bytes(asks: Asks, workers: u32) -> usize {
        let places = (workers as usize + 2) * 2 * size_of::<usize>();
        size_of::<Inquiry>() + asks.question_max() + asks.grant_max() + places
    }

    /// Bytes for each client that a worker remembers; 0 if it remembers nobody.
    pub fn bytes_remembered(plans: &[AuthorizerPlan]) -> usize {
        room(plans).map_or(0, |room| Remembered::PLACE_BYTES + room)
    }
}

/// Bytes of the most that is remembered of a client; none if nobody is.
fn room(plans: &[AuthorizerPlan]) -> Option<usize> {
    let remembering = plans.iter().filter(|plan| plan.remembers && plan.questions > 0);
    remembering.map(|plan| plan.asks.grant_max()).max()
}

//! The two queues shared with the kernel. All unsafe code of this driver is here.
#![expect(unsafe_code, reason = "requests are written into memory that the kernel reads")]

use core::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};

use io_uring::cqueue::{self, Entry as Completion};
use io_uring::opcode::{AsyncCancel, AsyncCancel2, Close, PollAdd};
use io_uring::squeue::{Entry as Submission, Flags};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec as WaitTime};
use io_uring::{IoUring, Probe};
use rustix::event::Timespec;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::refusal::UringRefusal;
use super::request::Request;

/// How long the queues are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// Requests that go to the kernel at one time; more go in several rounds.
    pub(super) submissions: u32,
    /// Completions the kernel can tell at one time; beyond that it keeps them for a while, and
    /// multishot requests end.
    pub(super) completions: u32,
}

impl Lengths {
    /// 96 KiB in all, requests and completions.
    pub(super) const USUAL: Self = Self { submissions: 512, completions: 4096 };
}

/// Completions taken out at one time.
pub(super) const BATCH: usize = 64;
/// Tries to hand requests over to a kernel without memory, before the worker gives up.
const TRIES: u32 = 1000;

/// An `io_uring` that is used by one thread, and whose requests name descriptors but no memory.
pub(super) struct Ring {
    ring: IoUring,
    /// Polls that stand in the kernel, or are on their way there or back.
    standing: u32,
}

/// What a completion says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completed {
    pub(super) request: Request,
    pub(super) outcome: Result<EventFlags, Errno>,
    /// Nothing further comes from that request.
    pub(super) last: bool,
}

impl core::fmt::Debug for Ring {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ring").field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl Ring {
    /// Sets a ring up for the calling thread.
    pub(super) fn new(lengths: Lengths) -> Result<Self, UringRefusal> {
        let ring = IoUring::builder()
            // Completions are made when this thread asks, in its own time (Linux 6.1).
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            // One bad request does not keep back those behind it.
            .setup_submit_all()
            .setup_cqsize(lengths.completions)
            .build(lengths.submissions)
            .map_err(|error| refusal_of(&error))?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(|error| refusal_of(&error))?;
        let needed = [PollAdd::CODE, AsyncCancel::CODE, Close::CODE];
        if !needed.into_iter().all(|code| probe.is_supported(code)) {
            return Err(UringRefusal::TooOld);
        }
        Ok(Self { ring, standing: 0 })
    }

    /// Asks to be told of `events` each time they happen, until cancelled.
    pub(super) fn poll_always(
        &mut self,
        descriptor: impl AsFd,
        events: EventFlags,
        request: Request,
    ) {
        self.poll(descriptor, events, request, true);
    }

    /// Asks to be told of `events` once.
    pub(super) fn poll_once(
        &mut self,
        descriptor: impl AsFd,
        events: EventFlags,
        request: Request,
    ) {
        self.poll(descriptor, events, request, false);
    }

    fn poll(&mut self, descriptor: impl AsFd, events: EventFlags, request: Request, multi: bool) {
        let descriptor = Fd(descriptor.as_fd().as_raw_fd());
        let poll = PollAdd::new(descriptor, events.bits()).multi(multi).build();
        self.push(&poll.user_data(request.number()));
        self.standing += 1;
    }

    /// Takes a poll back. Its last completion is still to come.
    pub(super) fn cancel(&mut self, request: Request) {
        let cancel = AsyncCancel::new(request.number()).build();
        self.push(&errand(cancel));
    }

    /// Closes a descriptor after all that was asked before.
    pub(super) fn close(&mut self, descriptor: OwnedFd) {
        let close = Close::new(Fd(descriptor.into_raw_fd())).build();
        self.push(&errand(close));
    }

    /// Queues a request.
    fn push(&mut self, request: &Submission) {
        // A worker that cannot even close is of no use to its clients.
        assert!(self.try_push(request), "the kernel has no memory for requests");
    }

    /// Queues a request, unless the kernel does not take those before it.
    fn try_push(&mut self, request: &Submission) -> bool {
        (0..TRIES).any(|_| {
            // SAFETY: the request names no memory. The descriptor it names is closed by a
            // request behind it, or after a flush, so that it means what it meant here.
            let pushed = unsafe { self.ring.submission().push(request) };
            if pushed.is_err() {
                self.enter(0, None);
            }
            pushed.is_ok()
        })
    }

    /// Hands over what is queued and waits until something is told, at most so long; for ever
    /// without a time.
    pub(super) fn wait(&mut self, timeout: Option<Timespec>) {
        let at_once = timeout.is_some_and(|time| time == Timespec::default());
        if at_once {
            if !self.ring.submission().is_empty() || self.is_behind() {
                self.enter(0, None);
            }
        } else {
            self.enter(1, timeout);
        }
    }

    /// Hands over what is queued, and has the kernel finish what can be finished.
    pub(super) fn flush(&mut self) {
        self.enter(0, None);
        while self.ring.submission().taskrun() {
            self.enter(0, None);
        }
    }

    /// Whether the kernel has something to tell.
    pub(super) fn is_behind(&mut self) -> bool {
        let submission = self.ring.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    fn enter(&self, want: usize, timeout: Option<Timespec>) {
        let time = timeout.map(wait_time);
        let args = match &time {
            Some(time) => SubmitArgs::new().timespec(time),
            None => SubmitArgs::new(),
        };
        // What the kernel did not take stays queued for the next time, be it for EINTR, for want
        // of memory (EAGAIN) or of room for completions (EBUSY); ETIME is the end of a wait.
        let entered = self.ring.submitter().submit_with_args(want, &args);
        debug_assert!(
            entered.as_ref().err().and_then(Errno::from_io_error).is_none_or(is_passing),
            "{entered:?}"
        );
    }

    /// Takes out what the kernel tells, as far as there is room.
    pub(super) fn completions<'a>(
        &mut self,
        room: &'a mut [MaybeUninit<Completion>; BATCH],
    ) -> &'a [Completion] {
        self.ring.completion().fill(room)
    }

    /// What a completion says.
    pub(super) fn understand(&mut self, completion: &Completion) -> Completed {
        let request = Request::of(completion.user_data());
        let last = !cqueue::more(completion.flags());
        if last && request != Request::Errand {
            self.standing -= 1;
        }
        let outcome = match u32::try_from(completion.result()) {
            Ok(events) => Ok(EventFlags::from_bits_retain(events)),
            Err(_) => Err(Errno::from_raw_os_error(-completion.result())),
        };
        Completed { request, outcome, last }
    }
}

impl Drop for Ring {
    /// The kernel ends the requests of a ring that is gone only later, and a poll keeps its file
    /// open until then: so they are ended here, and nobody waits for the end of a connection.
    fn drop(&mut self) {
        let cancel = AsyncCancel2::new(CancelBuilder::any()).build();
        if !self.try_push(&errand(cancel)) {
            return;
        }
        self.flush();
        let mut room = [const { MaybeUninit::uninit() }; BATCH];
        for _ in 0..TRIES {
            let completions = self.completions(&mut room);
            for completion in completions {
                self.understand(completion);
            }
            if self.standing == 0 {
                return;
            }
            if completions.is_empty() {
                self.enter(0, None);
            }
        }
    }
}

/// A request of which only a failure is told.
fn errand(request: Submission) -> Submission {
    request.flags(Flags::SKIP_SUCCESS).user_data(Request::Errand.number())
}

/// Whether an error of entering the kernel passes.
fn is_passing(error: Errno) -> bool {
    matches!(error, Errno::TIME | Errno::INTR | Errno::AGAIN | Errno::BUSY | Errno::NOMEM)
}

fn wait_time(time: Timespec) -> WaitTime {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    WaitTime::new().sec(seconds).nsec(u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn refusal_of(error: &std::io::Error) -> UringRefusal {
    UringRefusal::of(Errno::from_io_error(error).unwrap_or(Errno::IO))
}

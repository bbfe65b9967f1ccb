//! The thread beside the data path: whatever waits for others is one of its jobs.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use base::limits;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// Begins something that goes on for as long as the thread does: once, and once more whenever it
/// panicked.
pub type Job = Box<dyn FnMut() -> Life + Send>;

/// What a job does.
pub type Life = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Thread {
    _until_dropped: oneshot::Sender<()>,
}

impl Thread {
    /// Does all of these jobs on a thread of its own. `mourn` is told what a job said that panicked; it
    /// begins anew after a while.
    ///
    /// # Errors
    /// When the system grants no thread or what a runtime needs.
    pub fn start(
        jobs: Vec<Job>,
        mourn: impl Fn(&str) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (until_dropped, dropped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("control".to_owned());
        let mourn = Arc::new(mourn);
        thread.spawn(move || {
            runtime.block_on(async move {
                for job in jobs {
                    tokio::spawn(go_on(job, Arc::clone(&mourn)));
                }
                // Nothing is ever sent: it ends with its other end, and the jobs with it.
                let _ = dropped.await;
            });
            // A name that is being looked up by the system is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { _until_dropped: until_dropped })
    }
}

/// A job's lives, one after the other.
async fn go_on(mut job: Job, mourn: Arc<impl Fn(&str)>) {
    while let Err(ended) = tokio::spawn(job()).await {
        // Otherwise the runtime ends.
        let Ok(panic) = ended.try_into_panic() else { return };
        mourn(words(panic.as_ref()));
        sleep(limits::JOB_PAUSE).await;
    }
}

/// What comes of `life`. What it borrows is there if it panics, too.
///
/// # Errors
/// What it said when it panicked: then it is over.
pub async fn caught<T>(life: impl Future<Output = T>) -> Result<T, String> {
    let mut life = pin!(life);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| life.as_mut().poll(context)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(words(panic.as_ref()).to_owned())),
        }
    })
    .await
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_job_that_panics_begins_anew_after_a_while() {
        let (begun, lives) = channel();
        let (told, heard) = channel();
        let mut life = 0;
        let job: Job = Box::new(move || {
            let begun = begun.clone();
            life += 1;
            Box::pin(async move {
                begun.send((life, tokio::time::Instant::now())).unwrap();
                assert!(life > 2, "life {life} fails");
            })
        });
        go_on(job, Arc::new(move |why: &str| told.send(why.to_owned()).unwrap())).await;
        let lives: Vec<_> = lives.iter().collect();
        assert_eq!(lives.iter().map(|life| life.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(lives[1].1 - lives[0].1, limits::JOB_PAUSE);
        assert_eq!(heard.iter().collect::<Vec<_>>(), ["life 1 fails", "life 2 fails"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_life_borrows_outlives_its_panic() {
        let mut done = Vec::new();
        for life in 1..=3 {
            let lived = caught(async {
                done.push(life);
                sleep(limits::JOB_PAUSE).await;
                assert!(life != 2, "life {life} fails");
                life
            });
            let expected = if life == 2 { Err("life 2 fails".to_owned()) } else { Ok(life) };
            assert_eq!(lived.await, expected);
        }
        assert_eq!(done, [1, 2, 3]);
    }

    #[test]
    fn jobs_end_with_the_thread() {
        let (begun, alive) = channel::<()>();
        let job: Job = Box::new(move || {
            let begun = begun.clone();
            Box::pin(async move {
                begun.send(()).unwrap();
                std::future::pending::<()>().await;
                drop(begun);
            })
        });
        let thread = Thread::start(vec![job], |_| ()).unwrap();
        let long = Duration::from_secs(20);
        alive.recv_timeout(long).unwrap();
        drop(thread);
        assert!(alive.recv_timeout(long).is_err(), "its end is dropped");
    }
}

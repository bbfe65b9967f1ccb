//! The thread beside the data path: whatever waits for others is one of its jobs.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Something that goes on for as long as the thread does.
pub type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Thread {
    _until_dropped: oneshot::Sender<()>,
}

impl Thread {
    /// Does all of these jobs on a thread of its own.
    ///
    /// # Errors
    /// When the system grants no thread or what a runtime needs.
    pub fn start(jobs: Vec<Job>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (until_dropped, dropped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("control".to_owned());
        thread.spawn(move || {
            runtime.block_on(async move {
                let mut tasks = JoinSet::new();
                for job in jobs {
                    tasks.spawn(job);
                }
                // Nothing is ever sent: it ends with its other end, and the tasks with it.
                let _ = dropped.await;
            });
            // A name that is being looked up by the system is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { _until_dropped: until_dropped })
    }
}

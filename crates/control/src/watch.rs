//! Names that are looked up again and again, each when its answer has lived out its time.

use std::net::SocketAddr;
use std::time::Duration;

use base::id::ServerId;
use tokio::time::sleep;

use crate::lookup::{Answer, Fault, ResolverConfig, look_up};
use crate::name::Name;
use crate::thread::Job;

/// What became of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It stands for other addresses now: all of them.
    Changed {
        /// Whose name it is.
        server: ServerId,
        /// The name.
        name: Name,
        /// What it stands for.
        addresses: Vec<SocketAddr>,
    },
    /// It could not be looked up. The old addresses hold; this is told once until it succeeds.
    Failed {
        /// The name.
        name: Name,
        /// Why.
        fault: Fault,
    },
    /// It can be looked up again.
    Recovered {
        /// The name.
        name: Name,
    },
}

/// Jobs that look the names up again and again, and call `tell`. The answers are those known
/// already.
pub fn watch(
    config: &ResolverConfig,
    names: Vec<(ServerId, Name, Answer)>,
    tell: &(impl Fn(Event) + Clone + Send + Sync + 'static),
) -> Vec<Job> {
    let job = |(server, name, answer): (ServerId, Name, Answer)| -> Job {
        let (config, tell) = (config.clone(), tell.clone());
        Box::new(move || {
            let (name, answer) = (name.clone(), answer.clone());
            Box::pin(follow(config.clone(), server, name, answer, tell.clone()))
        })
    };
    names.into_iter().map(job).collect()
}

/// One name, for ever.
async fn follow(
    config: ResolverConfig,
    server: ServerId,
    name: Name,
    mut answer: Answer,
    tell: impl Fn(Event),
) {
    let mut failures = 0;
    loop {
        sleep(pause(&config, &answer, failures)).await;
        match look_up(&config, &name).await {
            Ok(found) => {
                if failures > 0 {
                    tell(Event::Recovered { name: name.clone() });
                }
                failures = 0;
                if found.addresses != answer.addresses {
                    let (name, addresses) = (name.clone(), found.addresses.clone());
                    tell(Event::Changed { server, name, addresses });
                }
                answer = found;
            }
            Err(fault) => {
                if failures == 0 {
                    tell(Event::Failed { name: name.clone(), fault });
                }
                failures = failures.saturating_add(1);
            }
        }
    }
}

/// How long to wait: as long as the answer lives; after failures the shortest time, doubling.
fn pause(config: &ResolverConfig, answer: &Answer, failures: u32) -> Duration {
    match failures {
        0 => answer.lives,
        _ => config.ttl_min.saturating_mul(1 << (failures - 1).min(16)).min(config.ttl_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_the_pauses_double_between_the_bounds() {
        let config = ResolverConfig::default();
        let answer = Answer { addresses: Vec::new(), lives: Duration::from_secs(42) };
        let pauses = [0, 1, 2, 3, 40].map(|failures| pause(&config, &answer, failures).as_secs());
        assert_eq!(pauses, [42, 1, 2, 4, 300]);
    }
}

//! `anteroom demo`: a server, the proxy before it and, on request, a crowd of slow clients, all
//! in this process, so that one command shows what the proxy is for.

mod crowd;
mod server;
mod show;

use std::sync::Arc;

use base::limits;
use driver::Address;

use crate::cli::{DemoArgs, Io, Limit, ProxyArgs, When};
use crate::descriptors;
use crate::failure::Failure;
use crate::figures::Stage;
use crate::log::Format;
use crate::master::{Master, Order};
use crate::resolve::Target;
use crate::settings::Settings;
use crowd::Crowd;
use server::Server;
use show::{Latencies, Show};

/// Connections the demo's server is ready to serve: few enough to make the point.
const CONNECTIONS: u32 = 2;
/// Clients of ordinary speed beside a crowd.
const NORMAL: u32 = 8;

/// Runs until Ctrl-C, a signal, `/drain` or `/stop`, or for `--duration`.
///
/// # Errors
/// When an address cannot be had, or the crowd needs more descriptors than there are.
pub(crate) async fn run(args: &DemoArgs) -> Result<(), Failure> {
    let limit = descriptors_left(args.crowd, descriptors::raise_limit())?;
    let server = Server::start()?;
    let settings = Settings::check(&before(args, server.address()), limit, crate::cores())?;
    let master = Master::open(settings)?;
    let reins = master.reins().clone();
    let (crowd, latencies) = Crowd::new();
    let proxy = master.addresses().first().unwrap_or(&args.listen).clone();
    let show = Show {
        proxy: proxy.clone(),
        admin: master.admin_address().unwrap_or(&args.admin).clone(),
        crowd_size: args.crowd,
        panel: Arc::clone(reins.panel()),
        seen: Arc::clone(server.seen()),
        crowd: Arc::clone(&crowd),
        latencies: Latencies::new(latencies),
    };
    show.introduce();
    if args.crowd > 0 {
        crowd::start(Arc::clone(&crowd), args.crowd, NORMAL, proxy)?;
    }
    if let Some(duration) = args.duration {
        let reins = reins.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            reins.order(Order::Drain);
        });
    }
    let panel = Arc::clone(reins.panel());
    let watching = tokio::spawn(show.run());
    let ended = master.run().await;
    panel.enter(Stage::Stopping);
    crowd.leave();
    if let (Ok(()), Ok(show)) = (&ended, watching.await) {
        show.farewell();
    }
    ended
}

/// The descriptors that remain for the proxy beside a crowd, whose ends of the connections are
/// this process's, too.
fn descriptors_left(crowd: u32, limit: u64) -> Result<u64, Failure> {
    if crowd == 0 {
        return Ok(limit);
    }
    let own = u64::from(crowd) + u64::from(NORMAL + CONNECTIONS + limits::DESCRIPTORS_SPARE);
    let left = limit.saturating_sub(own);
    let needed = own + u64::from(crowd + NORMAL + limits::DESCRIPTORS_SPARE) + 64;
    if needed > limit {
        let most = u64::from(crowd).saturating_sub((needed - limit).div_ceil(2));
        return Err(Failure::value(
            "--crowd",
            crowd,
            format_args!(
                "each slow client takes two descriptors here, and the limit of open files is \
                 {limit}: raise it with `ulimit -n {needed}`, or bring at most {most}"
            ),
        ));
    }
    Ok(left)
}

/// The proxy's command line, as the demo would type it.
fn before(args: &DemoArgs, server: &Address) -> ProxyArgs {
    ProxyArgs {
        pass: false,
        listen: vec![args.listen.clone()],
        upstream: vec![Target::Address(server.clone())],
        admin: Some(args.admin.clone()),
        connections: CONNECTIONS,
        pinned: limits::PINNED,
        request: When::Complete,
        memory: None,
        max_clients: None,
        workers: None,
        io: Io::Auto,
        reuse_port: false,
        exchange_memory: None,
        spool: None,
        spool_size: None,
        spool_per_exchange: None,
        spool_per_address: None,
        max_head: None,
        max_target: None,
        max_body: None,
        queue: limits::QUEUE_LENGTH,
        timeout: Vec::new(),
        at_limit: Limit::Pause,
        reclaim_parked: false,
        buffer: None,
        not_persistent: false,
        access_log: None,
        log_format: Format::Json,
        request_ids: false,
        user: None,
        group: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_too_large_for_the_descriptors_is_refused_with_both_remedies() {
        assert_eq!(descriptors_left(0, 256), Ok(256));
        assert!(descriptors_left(1000, 20_000).unwrap() > 18_000);
        let text = descriptors_left(10_000, 20_000).unwrap_err().to_string();
        assert!(text.contains("--crowd 10000") && text.contains("ulimit -n 20"), "{text}");
        let most = text.rsplit(' ').next().and_then(|most| most.parse().ok()).unwrap();
        assert!(descriptors_left(most, 20_000).is_ok(), "{text}");
        assert!(descriptors_left(most + 1, 20_000).is_err(), "{text}");
    }
}

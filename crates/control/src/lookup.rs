//! One question to the hosts file and the name servers.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use base::limits;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig as Servers, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::name::Name;

/// Whom to ask, and for how long an answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverConfig {
    /// The name servers; none: those of the system. The system's hosts file comes first in any
    /// case.
    pub servers: Vec<SocketAddr>,
    /// The shortest time after which a name is looked up again, whatever its TTL says.
    pub ttl_min: Duration,
    /// The longest.
    pub ttl_max: Duration,
    /// How long one name server is given to answer.
    pub timeout: Duration,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        let [ttl_min, ttl_max] = limits::TTL;
        Self { servers: Vec::new(), ttl_min, ttl_max, timeout: limits::RESOLVER_TIMEOUT }
    }
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its addresses, sorted, each once, at least one: IPv4 if there are any, else IPv6. At most
    /// [`limits::ADDRESSES_MAX`].
    pub addresses: Vec<SocketAddr>,
    /// When to look it up again.
    pub lives: Duration,
}

/// Why a name could not be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such host, or it has no address.
    Unknown,
    /// Nobody could be asked, or nobody answered.
    Unanswered(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such host"),
            Self::Unanswered(why) => write!(f, "the name servers do not answer: {why}"),
        }
    }
}

impl std::error::Error for Fault {}

/// Looks up all names at once, and waits for the answers on a thread of its own. The answers
/// stand in the order of the names.
pub fn look_up_all(config: &ResolverConfig, names: &[Name]) -> Vec<Result<Answer, Fault>> {
    if names.is_empty() {
        return Vec::new();
    }
    let (config, names_asked) = (config.clone(), names.to_vec());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok::<_, std::io::Error>(runtime.block_on(ask_all(&config, names_asked)))
    });
    let failed = |why: String| names.iter().map(|_| Err(Fault::Unanswered(why.clone()))).collect();
    match thread.join() {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => failed(error.to_string()),
        Err(_panic) => failed("the resolver failed".to_owned()),
    }
}

async fn ask_all(config: &ResolverConfig, names: Vec<Name>) -> Vec<Result<Answer, Fault>> {
    let mut tasks = JoinSet::new();
    let lost = Err(Fault::Unanswered("the resolver failed".to_owned()));
    let mut answers = vec![lost; names.len()];
    for (place, name) in names.into_iter().enumerate() {
        let config = config.clone();
        tasks.spawn(async move { (place, look_up(&config, &name).await) });
    }
    while let Some(done) = tasks.join_next().await {
        if let Ok((place, answer)) = done {
            answers[place] = answer;
        }
    }
    answers
}

/// Looks up one name now. The system's files are read anew each time: they change with the
/// network.
pub(crate) async fn look_up(config: &ResolverConfig, name: &Name) -> Result<Answer, Fault> {
    let resolver = resolver(config).map_err(|error| Fault::Unanswered(error.to_string()))?;
    let found = resolver.lookup_ip(&*name.host).await.map_err(|error| fault(&error))?;
    let mut addresses: Vec<SocketAddr> =
        found.iter().map(|ip| SocketAddr::new(ip, name.port)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(limits::ADDRESSES_MAX);
    if addresses.is_empty() {
        return Err(Fault::Unknown);
    }
    let lives = found.valid_until().saturating_duration_since(Instant::now().into_std());
    Ok(Answer { addresses, lives: lives.clamp(config.ttl_min, config.ttl_max) })
}

fn resolver(config: &ResolverConfig) -> Result<TokioResolver, NetError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if config.servers.is_empty() {
        // Without a file of the system's only the hosts file is asked.
        TokioResolver::builder_tokio()
            .unwrap_or_else(|_| TokioResolver::builder_with_config(Servers::default(), provider))
    } else {
        let servers = config.servers.iter().map(name_server).collect();
        TokioResolver::builder_with_config(Servers::from_name_servers(servers), provider)
    };
    let options: &mut ResolverOpts = builder.options_mut();
    // IPv6 where there is no IPv4: an address that leads nowhere from here would fail every
    // second connection.
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    options.cache_size = 0;
    options.timeout = config.timeout;
    builder.build()
}

/// A server at any port, asked by UDP, and by TCP where an answer does not fit.
fn name_server(at: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = at.port();
        connection
    });
    NameServerConfig::new(at.ip(), true, connections.to_vec())
}

fn fault(error: &NetError) -> Fault {
    if error.is_nx_domain() || error.is_no_records_found() {
        Fault::Unknown
    } else {
        Fault::Unanswered(error.to_string())
    }
}

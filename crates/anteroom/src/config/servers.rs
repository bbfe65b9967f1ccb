//! Servers, and how their group treats them.

use base::limits;
use bus::{HealthPolicy, RetryPolicy};
use control::ResolverConfig;

use super::fields::{Entry, Fields, parsed};
use super::schema::{HEALTH, RESOLVER, RETRIES, SERVER};
use crate::quantity::parse_percent;
use crate::resolve;
use crate::settings::{CONNECTIONS_MOST, Complaints, ServerDraft};

/// The entries of `servers`: texts, or tables with more about a server.
pub(super) fn read(fields: &Fields<'_>, out: &mut Complaints) -> Vec<ServerDraft> {
    let mut servers = Vec::new();
    for entry in fields.entries("servers", &SERVER, out) {
        servers.extend(match entry {
            Entry::Text(text) => {
                parsed("servers", text, resolve::target, out).map(ServerDraft::plain)
            }
            Entry::Table(table) => server(&table, out),
        });
    }
    servers
}

fn server(table: &Fields<'_>, out: &mut Complaints) -> Option<ServerDraft> {
    let at = table.parsed("address", resolve::target, out);
    if !table.has("address") {
        table.missing("address", out);
    }
    let weight = table.count("weight", 1..=limits::WEIGHT_MAX, out);
    let backup = table.switch("backup", out).unwrap_or(false);
    let connections = table.count("connections", 1..=CONNECTIONS_MOST, out);
    let weight = weight.map_or(1, |given| given.value);
    Some(ServerDraft { at: at?, weight, backup, connections })
}

/// `health`.
pub(super) fn health(fields: &Fields<'_>, out: &mut Complaints) -> HealthPolicy {
    let mut health = HealthPolicy::default();
    let Some(table) = fields.table("health", &HEALTH, out) else { return health };
    if let Some(fails) = table.count("max_fails", 1..=limits::MAX_FAILS_MOST, out) {
        health.max_fails = fails.value;
    }
    if let Some(length) = table.duration("fail_timeout", out) {
        health.fail_timeout = length;
    }
    if let Some(length) = table.duration("grace", out) {
        health.grace = length;
    }
    health
}

/// `retries`.
pub(super) fn retries(fields: &Fields<'_>, out: &mut Complaints) -> RetryPolicy {
    let mut retries = RetryPolicy::default();
    let Some(table) = fields.table("retries", &RETRIES, out) else { return retries };
    if let Some(attempts) = table.count("attempts", 1..=limits::ATTEMPTS_MOST, out) {
        retries.attempts = attempts.value;
    }
    if let Some(budget) = table.parsed("budget", parse_percent, out) {
        retries.budget = budget.value;
    }
    retries
}

/// `resolver`.
pub(super) fn resolver(fields: &Fields<'_>, out: &mut Complaints) -> ResolverConfig {
    let mut resolver = ResolverConfig::default();
    let Some(table) = fields.table("resolver", &RESOLVER, out) else { return resolver };
    let address = |text: &str| text.parse().map_err(|_| "write IP:PORT or [IPV6]:PORT".to_owned());
    let servers = table.list("servers", address, out);
    resolver.servers = servers.into_iter().map(|given| given.value).collect();
    if let Some(length) = table.duration("ttl_min", out) {
        resolver.ttl_min = length;
    }
    if let Some(length) = table.duration("ttl_max", out) {
        resolver.ttl_max = length;
    }
    if let Some(length) = table.duration("timeout", out) {
        resolver.timeout = length;
    }
    if resolver.ttl_min > resolver.ttl_max {
        let text = "`ttl_min` is longer than `ttl_max`: lower one or raise the other";
        out.error(Some(table.span()), text);
    }
    resolver
}

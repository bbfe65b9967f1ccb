//! `/bans`: addresses that may not connect for a while.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use proxies::security::IpNet;
use serde::Deserialize;
use tokio::sync::oneshot::{Sender, channel};

use super::Desk;
use crate::bans::BanWish;
use crate::lists;
use crate::quantity::parse_duration;

/// Whom a request is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    address: Option<String>,
    #[serde(rename = "for")]
    length: Option<String>,
}

impl Asked {
    /// # Errors
    /// What would be right.
    fn nets(&self) -> Result<Vec<IpNet>, String> {
        let mut nets = Vec::new();
        let address = self.address.as_deref().unwrap_or_default();
        match lists::parse(address, &mut nets) {
            Ok(()) => Ok(nets),
            Err(remedy) => Err(format!("address = \"{address}\": {remedy}\n")),
        }
    }
}

/// Bans an address or a network.
pub(super) async fn add(State(desk): State<Arc<Desk>>, Query(asked): Query<Asked>) -> Response {
    let nets = match asked.nets() {
        Ok(nets) => nets,
        Err(remedy) => return (StatusCode::BAD_REQUEST, remedy).into_response(),
    };
    let length = match asked.length.as_deref().map(parse_duration).transpose() {
        Ok(length) => length,
        Err(remedy) => {
            return (StatusCode::BAD_REQUEST, format!("for: {remedy}\n")).into_response();
        }
    };
    match ask(&desk, |told| BanWish::Add(nets, length, told)).await {
        Some(true) => (StatusCode::CREATED, "banned\n").into_response(),
        Some(false) => {
            let text =
                "as many addresses are banned as may be: ban their network, or lift others\n";
            (StatusCode::INSUFFICIENT_STORAGE, text).into_response()
        }
        None => over(),
    }
}

/// Lifts a ban.
pub(super) async fn lift(State(desk): State<Arc<Desk>>, Query(asked): Query<Asked>) -> Response {
    let nets = match asked.nets() {
        Ok(nets) => nets,
        Err(remedy) => return (StatusCode::BAD_REQUEST, remedy).into_response(),
    };
    match ask(&desk, |told| BanWish::Lift(nets, told)).await {
        Some(true) => "lifted\n".into_response(),
        Some(false) => {
            (StatusCode::NOT_FOUND, "that is not banned: GET /bans tells what is\n").into_response()
        }
        None => over(),
    }
}

/// Tells all of them.
pub(super) async fn tell(State(desk): State<Arc<Desk>>) -> Response {
    match ask(&desk, BanWish::Tell).await {
        Some(all) => Json(all).into_response(),
        None => over(),
    }
}

async fn ask<T>(desk: &Desk, wish: impl FnOnce(Sender<T>) -> BanWish) -> Option<T> {
    let (told, answer) = channel();
    desk.reins.ban(wish(told));
    answer.await.ok()
}

/// The process ends.
fn over() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the process ends\n").into_response()
}

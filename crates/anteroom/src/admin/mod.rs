//! The admin endpoints: figures to read, orders to give (DESIGN.md §5).
//!
//! They live in the main thread with memory of their own; a scrape costs the data path nothing.

mod bans;
mod guard;
mod page;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use driver::Address;

use crate::failure::Failure;
use crate::figures::Stage;
use crate::http::Door;
use crate::log;
use crate::master::{Order, Reins};
use crate::metrics::{self, Metrics};
use crate::settings::Settings;
use crate::status::{Frame, Status};

pub(crate) use guard::judge;

/// Most admin connections at one time: they, too, are descriptors.
const CONNECTIONS: usize = 32;

/// What the endpoints read and pull.
struct Desk {
    reins: Reins,
    metrics: Metrics,
    frame: Frame,
}

/// Listens on the admin address.
///
/// # Errors
/// When it cannot be had.
pub(crate) fn open(address: &Address) -> Result<Door, Failure> {
    let door = Door::open(address).map_err(|error| Failure::Run(format!("admin: {error}")))?;
    if let Address::Ip(ip) = door.address()
        && !ip.ip().is_loopback()
    {
        log::note(format_args!(
            "warning: the admin endpoints on {ip} can be reached from other machines; whoever \
             reaches them can stop the proxy: the address 127.0.0.1:{} keeps them here",
            ip.port()
        ));
    }
    Ok(door)
}

/// Answers until the future is dropped.
pub(crate) async fn serve(door: Door, settings: &Settings, reins: Reins, frame: Frame) {
    let metrics = Metrics::new(Arc::clone(reins.panel()), settings);
    let own = match door.address() {
        Address::Ip(ip) => Some(*ip),
        Address::Unix(_) => None,
    };
    let router = router(Desk { reins, metrics, frame }, own);
    door.serve(router, CONNECTIONS, || ()).await;
}

fn router(desk: Desk, own: Option<SocketAddr>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(scrape))
        .route("/status", get(status))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readiness))
        .route("/bans", get(bans::tell).post(bans::add).delete(bans::lift))
        .route("/drain", post(async |desk| order(desk, Order::Drain)))
        .route("/stop", post(async |desk| order(desk, Order::Stop)))
        .layer(middleware::from_fn_with_state(own, guard::check))
        .with_state(Arc::new(desk))
}

async fn page(State(desk): State<Arc<Desk>>) -> Html<String> {
    Html(page::render(&desk.status()))
}

async fn scrape(State(desk): State<Arc<Desk>>) -> Response {
    match desk.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn status(State(desk): State<Arc<Desk>>) -> Json<Status> {
    Json(desk.status())
}

async fn readiness(State(desk): State<Arc<Desk>>) -> (StatusCode, String) {
    let stage = desk.reins.panel().stage();
    let code = match stage {
        Stage::Accepting => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, format!("{}\n", stage.label()))
}

fn order(State(desk): State<Arc<Desk>>, order: Order) -> (StatusCode, String) {
    desk.reins.order(order);
    let told = match order {
        Order::Drain => "draining: what is under way is finished, then the process ends\n",
        Order::Stop => "stopping\n",
    };
    (StatusCode::ACCEPTED, told.to_owned())
}

impl Desk {
    fn status(&self) -> Status {
        self.frame.status(self.reins.panel())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::panel;
    use crate::http::{Visitor, connect};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc::UnboundedReceiver;

    /// The endpoints of a process that does not run, on a port of the kernel's choice.
    fn start() -> (Address, Arc<crate::figures::Panel>, UnboundedReceiver<Order>) {
        let (settings, _, panel) = panel();
        let (reins, orders, mut bans) = Reins::new(Arc::new(panel));
        tokio::spawn(async move {
            loop {
                bans.changed().await;
            }
        });
        let panel = Arc::clone(reins.panel());
        let door = open(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = door.address().clone();
        let frame = Frame::new(&settings, &["127.0.0.1:8080".parse().unwrap()]);
        tokio::spawn(async move { serve(door, &settings, reins, frame).await });
        (address, panel, orders)
    }

    async fn raw(address: &Address, request: &str) -> String {
        let mut stream = connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn figures_can_be_read() {
        let (address, panel, _orders) = start();
        panel.enter(Stage::Accepting);
        let mut visitor = Visitor::connect(&address).await.unwrap();
        for (target, part) in [
            ("/", "127.0.0.1:9000"),
            ("/metrics", "anteroom_buffer_bytes 2048"),
            ("/status", "\"state\":\"accepting\""),
            ("/healthz", "alive"),
            ("/readyz", "accepting"),
        ] {
            let (status, body) = visitor.ask("GET", target).await.unwrap();
            let body = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(status, StatusCode::OK, "{target}: {body}");
            assert!(body.contains(part), "{target}: {body}");
        }
        assert_eq!(visitor.ask("GET", "/none").await.unwrap().0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn readiness_ends_with_the_drain_and_life_does_not() {
        let (address, panel, _orders) = start();
        let mut visitor = Visitor::connect(&address).await.unwrap();
        for (stage, ready) in [
            (Stage::Starting, StatusCode::SERVICE_UNAVAILABLE),
            (Stage::Accepting, StatusCode::OK),
            (Stage::Draining, StatusCode::SERVICE_UNAVAILABLE),
        ] {
            panel.enter(stage);
            assert_eq!(visitor.ask("GET", "/readyz").await.unwrap().0, ready, "{stage:?}");
            assert_eq!(visitor.ask("GET", "/healthz").await.unwrap().0, StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn orders_are_posted_and_nothing_else() {
        let (address, _, mut orders) = start();
        let mut visitor = Visitor::connect(&address).await.unwrap();
        for (target, order) in [("/drain", Order::Drain), ("/stop", Order::Stop)] {
            let (status, _) = visitor.ask("GET", target).await.unwrap();
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
            assert!(orders.try_recv().is_err());
            assert_eq!(visitor.ask("POST", target).await.unwrap().0, StatusCode::ACCEPTED);
            assert_eq!(orders.try_recv(), Ok(order));
        }
    }

    #[tokio::test]
    async fn bans_are_posted_told_and_lifted() {
        let (address, ..) = start();
        let mut visitor = Visitor::connect(&address).await.unwrap();
        for (method, target, status, part) in [
            ("GET", "/bans", 200, "[]"),
            ("POST", "/bans?address=192.0.2.0/24&for=10m", 201, "banned"),
            ("POST", "/bans?address=2001:db8::1", 201, "banned"),
            ("GET", "/bans", 200, "\"address\":\"192.0.2.0/24\",\"seconds_left\":"),
            ("GET", "/bans", 200, "{\"address\":\"2001:db8::1/128\"}"),
            ("POST", "/bans?address=nobody", 400, "write an address"),
            ("POST", "/bans", 400, "write an address"),
            ("POST", "/bans?address=::1&for=soon", 400, "for: "),
            ("DELETE", "/bans?address=192.0.2.1", 404, "not banned"),
            ("DELETE", "/bans?address=192.0.2.0/24", 200, "lifted"),
            ("GET", "/bans", 200, "[{\"address\":\"2001:db8::1/128\"}]"),
        ] {
            let (told, body) = visitor.ask(method, target).await.unwrap();
            let body = String::from_utf8_lossy(&body).into_owned();
            assert!(told == status && body.contains(part), "{method} {target}: {told} {body}");
        }
        for method in ["POST", "DELETE"] {
            let line = format!("{method} /bans?address=192.0.2.1 HTTP/1.1\r\n");
            let fields = format!("Host: {address}\r\nOrigin: http://evil.example\r\n");
            let rest = "Content-Length: 0\r\nConnection: close\r\n\r\n";
            let answer = raw(&address, &format!("{line}{fields}{rest}")).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        }
    }

    #[tokio::test]
    async fn pages_of_other_origins_give_no_orders() {
        let (address, _, mut orders) = start();
        let rest = "Content-Length: 0\r\nConnection: close\r\n\r\n";
        for fields in [
            "Host: rebound.example\r\n".to_owned(),
            format!("Host: {address}\r\nOrigin: http://evil.example\r\n"),
            format!("Host: {address}\r\nOrigin: null\r\n"),
            format!("Host: {address}\r\nSec-Fetch-Site: cross-site\r\n"),
        ] {
            let answer = raw(&address, &format!("POST /stop HTTP/1.1\r\n{fields}{rest}")).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{fields}: {answer}");
            assert!(orders.try_recv().is_err());
        }
        let same = format!("Host: {address}\r\nOrigin: http://{address}\r\n");
        let answer = raw(&address, &format!("POST /drain HTTP/1.1\r\n{same}{rest}")).await;
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        assert_eq!(orders.try_recv(), Ok(Order::Drain));
    }

    /// Whoever says half of something keeps nobody out.
    #[tokio::test]
    async fn half_sent_requests_do_not_keep_others_out() {
        let (address, panel, _orders) = start();
        panel.enter(Stage::Accepting);
        let mut halves = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            let mut stream = connect(&address).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost").await.unwrap();
            halves.push(stream);
        }
        let ask = async {
            let mut visitor = Visitor::connect(&address).await.unwrap();
            visitor.ask("GET", "/readyz").await.unwrap().0
        };
        let answer = tokio::time::timeout(std::time::Duration::from_secs(2), ask).await;
        assert_eq!(answer, Ok(StatusCode::OK));
        // The oldest have yielded, the latest are waited for still.
        let mut end = [0; 1];
        assert_eq!(halves[0].read(&mut end).await.unwrap_or(0), 0);
        let mut last = halves.pop().unwrap();
        last.write_all(format!(": {address}\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        last.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let (address, _, _orders) = start();
        let failure = open(&address).err().unwrap().to_string();
        assert!(failure.contains("admin") && failure.contains(&address.to_string()), "{failure}");
    }
}

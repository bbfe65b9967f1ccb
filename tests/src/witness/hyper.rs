//! A hyper server in this process.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{Memory, Reading, Records, Witness, answer, latin, lock};

/// hyper's HTTP/1 server, as it is set by default; it goes on to the end of the process.
///
/// # Panics
/// When the machine gives no port or no thread.
pub fn hyper() -> Witness {
    let memory = Arc::new(Memory::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket that does not block");
    let address = listener.local_addr().expect("a bound listener has an address").to_string();
    let served = Arc::clone(&memory);
    std::thread::spawn(move || run(listener, &served));
    Witness::new("hyper", &address, Records::Memory(memory))
}

fn run(listener: std::net::TcpListener, memory: &Arc<Memory>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let memory = Arc::clone(memory);
            tokio::spawn(async move {
                let service = service_fn(|request| serve(request, Arc::clone(&memory)));
                let served = http1::Builder::new()
                    .max_headers(200)
                    .serve_connection(TokioIo::new(stream), service);
                // A peer that is gone between two requests is no fault.
                if served
                    .await
                    .is_err_and(|error| error.is_parse() || error.is_body_write_aborted())
                {
                    *lock(&memory.malformed) += 1;
                }
            });
        }
    })
}

async fn serve(
    request: Request<Incoming>,
    memory: Arc<Memory>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        *lock(&memory.malformed) += 1;
        return Ok(Response::builder().status(400).body(Full::default()).unwrap_or_default());
    };
    let hosts: Vec<String> =
        head.headers.get_all("host").iter().map(|host| latin(host.as_bytes())).collect();
    let reading = Reading {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        host: hosts.join(","),
        body: body.to_bytes().to_vec(),
    };
    let text = answer(&reading.target);
    lock(&memory.readings).push(reading);
    Ok(Response::new(Full::from(text)))
}

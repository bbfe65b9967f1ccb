//! `anteroom status`, `drain` and `stop`: speak to a running one.

use std::io::Write;
use std::time::Duration;

use driver::Address;
use hyper::StatusCode;

use crate::failure::Failure;
use crate::http::Visitor;
use crate::status::{Status, table};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints the status of the one whose admin address this is.
///
/// # Errors
/// When it cannot be reached or does not answer as it should.
pub(crate) async fn status(admin: &Address) -> Result<(), Failure> {
    let body = ask(admin, "GET", "/status").await?;
    let status: Status = serde_json::from_slice(&body)
        .map_err(|_| strange(admin, "its /status is not that of this version"))?;
    print(&table(&status));
    Ok(())
}

/// Gives an order to the one whose admin address this is.
///
/// # Errors
/// When it cannot be reached or refuses.
pub(crate) async fn order(admin: &Address, path: &str) -> Result<(), Failure> {
    let body = ask(admin, "POST", path).await?;
    print(&String::from_utf8_lossy(&body));
    Ok(())
}

async fn ask(admin: &Address, method: &str, path: &str) -> Result<Vec<u8>, Failure> {
    let visit = async { Visitor::connect(admin).await?.ask(method, path).await };
    let answer = tokio::time::timeout(PATIENCE, visit).await;
    match answer {
        Ok(Ok((status, body))) if status.is_success() => Ok(body.into()),
        Ok(Ok((StatusCode::FORBIDDEN, body))) => {
            Err(strange(admin, String::from_utf8_lossy(&body).trim_end()))
        }
        Ok(Ok((status, _))) => Err(strange(admin, &format!("{path} was answered {status}"))),
        Ok(Err(error)) => Err(Failure::Run(format!(
            "no anteroom can be reached at {admin}: {error}; start one with `--admin {admin}`, or \
             name the address of the running one with --admin"
        ))),
        Err(_) => Err(strange(admin, &format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

fn strange(admin: &Address, what: &str) -> Failure {
    Failure::Run(format!("what runs at {admin} does not answer like an anteroom: {what}"))
}

/// A reader who went away (`| head`) wants no more, and no complaint.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

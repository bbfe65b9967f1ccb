//! One certificate: ordered, proved to be ours, fetched (RFC 8555 §7.4).

use base::limits;
use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use tls::{Identity, IssuedAs};

use super::Proof;
use super::advice::identifier;
use super::board::{Board, Shown};
use super::challenge::{answer, request};
use super::fault::Fault;

/// What an order needs beside the account.
pub(super) struct Circumstances<'c> {
    pub(super) names: &'c [String],
    pub(super) proof: Proof,
    pub(super) board: &'c Board,
    /// A certificate in whose stead it is ordered.
    pub(super) replaces: Option<&'c IssuedAs>,
}

/// What was issued.
pub(super) struct Issued {
    pub(super) identity: Identity,
    /// The same as text: the chain.
    pub(super) chain: String,
    /// And the key.
    pub(super) key: String,
}

/// Orders a certificate.
pub(super) async fn certificate(
    account: &Account,
    at: &Circumstances<'_>,
) -> Result<Issued, Fault> {
    let identifiers: Vec<Identifier> = at.names.iter().cloned().map(Identifier::Dns).collect();
    let mut new = NewOrder::new(&identifiers);
    if let Some(issued) = at.replaces {
        new = new.replaces(identifier(issued));
    }
    let mut order = account.new_order(&new).await?;
    if order.state().status == OrderStatus::Pending {
        // What is shown is needed until the authority has seen it.
        let _shown = prove(&mut order, at).await?;
        await_ready(&mut order).await?;
    }
    let (key, request) = request(at.names)?;
    order.finalize_csr(&request).await?;
    let chain = order.poll_certificate(&patience()).await?;
    let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).map_err(|error| {
        Fault::new(format!("the authority issued what cannot be used: {error}"))
    })?;
    Ok(Issued { identity, chain, key })
}

/// Shows what proves that the names are ours, then has the authority look at it.
async fn prove(order: &mut Order, at: &Circumstances<'_>) -> Result<Option<Shown>, Fault> {
    let mut answers = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if !is_open(&authorization)? {
            continue;
        }
        let name = authorization.identifier().to_string();
        let Some(challenge) = authorization.challenge(at.proof.challenge()) else {
            let proof = at.proof.name();
            return Err(Fault::new(format!("{name}: the authority does not offer {proof}")));
        };
        let text = challenge.key_authorization();
        answers.push(answer(at.proof, &name, &challenge.token, &text)?);
    }
    if answers.is_empty() {
        return Ok(None);
    }
    let shown = at.board.show(answers).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if is_open(&authorization)?
            && let Some(mut challenge) = authorization.challenge(at.proof.challenge())
        {
            challenge.set_ready().await?;
        }
    }
    Ok(Some(shown))
}

/// Whether it is still to be proved; the authority may know already.
fn is_open(authorization: &AuthorizationHandle<'_>) -> Result<bool, Fault> {
    match authorization.status {
        AuthorizationStatus::Pending => Ok(true),
        AuthorizationStatus::Valid => Ok(false),
        other => {
            let name = authorization.identifier();
            Err(Fault::new(format!("{name}: its authorization is {other:?} already")))
        }
    }
}

async fn await_ready(order: &mut Order) -> Result<(), Fault> {
    let status = match order.poll_ready(&patience()).await {
        Ok(status) => status,
        Err(error) => {
            let fault = Fault::of(&error);
            return Err(reason(order).await.unwrap_or(fault));
        }
    };
    if status == OrderStatus::Ready {
        return Ok(());
    }
    let otherwise = || Fault::new("the authority declared the order invalid, and does not say why");
    Err(reason(order).await.unwrap_or_else(otherwise))
}

/// Why a name was not proved to be ours, in the authority's words, if it has any.
async fn reason(order: &mut Order) -> Option<Fault> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let state = authorization.refresh().await.ok()?;
        let problem = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            let name = state.identifier();
            let detail = problem.detail.as_deref().unwrap_or("no reason is given");
            return Some(Fault::new(format!("{name}: the authority says: {detail}")));
        }
    }
    None
}

const fn patience() -> RetryPolicy {
    RetryPolicy::new().timeout(limits::ACME_PATIENCE)
}

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
    if !is_bounded(&mut order) {
        return Err(Fault::new("the authority wants more proofs than there may be names"));
    }
    if order.state().status == OrderStatus::Pending {
        // What is shown is needed until the authority has seen it.
        let _shown = prove(&mut order, at).await?;
        await_ready(&mut order).await?;
    }
    let (key, request) = request(at.names)?;
    order.finalize_csr(&request).await?;
    let chain = order.poll_certificate(&patience()).await?;
    let identity = usable(&chain, &key, at.names)?;
    Ok(Issued { identity, chain, key })
}

/// What was issued, if it is for the key and for all of these names.
fn usable(chain: &str, key: &str, names: &[String]) -> Result<Identity, Fault> {
    let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).map_err(|error| {
        Fault::new(format!("the authority issued what cannot be used: {error}"))
    })?;
    let has = |name: &String| identity.names().iter().any(|own| **own == **name);
    match names.iter().find(|name| !has(name)) {
        None => Ok(identity),
        Some(name) => Err(Fault::new(format!("the authority issued a certificate without {name}"))),
    }
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

/// Each authorization is asked for, and kept.
fn is_bounded(order: &mut Order) -> bool {
    order.state().authorizations.len() <= limits::ACME_NAMES_MAX
}

/// Why a name was not proved to be ours, in the authority's words, if it has any.
async fn reason(order: &mut Order) -> Option<Fault> {
    if !is_bounded(order) {
        return None;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::client::{Client, Rest, Said};
    use hyper::Response;
    use hyper::body::Bytes;
    use instant_acme::NewAccount;
    use std::sync::Arc;

    /// An account of an authority that wants so many proofs.
    async fn account(proofs: usize) -> Account {
        let stand = move |request: hyper::Request<_>| -> Said {
            let body = match request.uri().path() {
                "/directory" => {
                    let of = |word: &str| format!(r#""new{word}":"https://h/{word}""#);
                    format!("{{{}}}", ["Nonce", "Account", "Order"].map(of).join(","))
                }
                "/Order" => {
                    let all = vec![r#""https://h/proof""#; proofs].join(",");
                    format!(r#"{{"status":"pending","authorizations":[{all}],"finalize":""}}"#)
                }
                _ => "{}".to_owned(),
            };
            let answer = Response::builder().header("replay-nonce", "1").header("location", "/1");
            Box::pin(async move { Ok(answer.body(Bytes::from(body)).unwrap()) })
        };
        let builder =
            Account::builder_with_http(Box::new(Client::of(Arc::new(stand), Rest::new())));
        let new =
            NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        builder.create(&new, "https://h/directory".to_owned(), None).await.unwrap().0
    }

    #[tokio::test]
    async fn no_more_proofs_are_looked_at_than_there_may_be_names() {
        let (board, _job) = Board::new(0, |_| ());
        let names = ["a.example".to_owned()];
        let at =
            Circumstances { names: &names, proof: Proof::Http01, board: &board, replaces: None };
        for (proofs, words) in
            [(limits::ACME_NAMES_MAX, "missing field"), (limits::ACME_NAMES_MAX + 1, "more proofs")]
        {
            let fault = certificate(&account(proofs).await, &at).await.err().unwrap();
            assert!(fault.why.contains(words), "{fault:?}");
        }
    }

    #[test]
    fn a_certificate_for_others_is_of_no_use() {
        let made = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let made = rcgen::generate_simple_self_signed(names).unwrap();
            [made.cert.pem(), made.signing_key.serialize_pem()]
        };
        let wanted = ["a.example".to_owned()];
        let [chain, key] = made(&["a.example"]);
        assert!(usable(&chain, &key, &wanted).is_ok());
        assert!(usable(&chain, &made(&["a.example"])[1], &wanted).is_err(), "another's key");
        let [chain, key] = made(&["b.example", "a.example"]);
        assert!(usable(&chain, &key, &wanted).is_ok(), "more is no harm");
        for names in [&["b.example"][..], &[]] {
            let [chain, key] = made(names);
            let fault = usable(&chain, &key, &wanted).err().unwrap();
            assert!(fault.why.contains("without a.example"), "{fault:?}");
        }
    }
}

//! Who we are to the authority: one account for all certificates, made once and kept.

use std::sync::Arc;

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::client::{Client, Rest, Stand};
use super::fault::{Fault, Problem};
use super::store::Store;
use super::{Authority, Event};

/// Finds the account, or makes it.
pub(super) struct Registrar {
    authority: Authority,
    store: Store,
    /// Once it is known. Whoever needs it waits while another asks for it.
    account: Mutex<Option<Account>>,
    rest: Rest,
    /// Who answers in the authority's stead, if anybody does.
    stand: Option<Stand>,
    tell: Box<dyn Fn(Event) + Send + Sync>,
}

/// The account's file.
#[derive(Deserialize, Serialize)]
struct Kept {
    /// The address that the authority was given, and took.
    email: Option<String>,
    credentials: AccountCredentials,
}

impl Registrar {
    pub(super) fn new(
        authority: Authority,
        store: Store,
        stand: Option<Stand>,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        let (account, rest) = (Mutex::new(None), Rest::new());
        Self { authority, store, account, rest, stand, tell: Box::new(tell) }
    }

    /// The account.
    pub(super) async fn account(&self) -> Result<Account, Fault> {
        let mut known = self.account.lock().await;
        if let Some(account) = &*known {
            return Ok(account.clone());
        }
        let account = match self.store.account().map_err(Fault::own)? {
            Some(text) => match self.restore(&text).await {
                Err(fault) if fault.is_unknown_account() => {
                    self.put_aside()?;
                    self.register().await?
                }
                restored => restored?,
            },
            None => self.register().await?,
        };
        *known = Some(account.clone());
        Ok(account)
    }

    /// Until when the authority wants to be left alone.
    pub(super) const fn rest(&self) -> &Rest {
        &self.rest
    }

    /// The authority does not know the account of this name any more: another is made when one is
    /// needed next.
    pub(super) async fn forget(&self, lost: &str) -> Result<(), Fault> {
        let mut known = self.account.lock().await;
        if known.take_if(|account| account.id() == lost).is_some() {
            self.put_aside()?;
        }
        Ok(())
    }

    /// An order came to nothing: the directory may have changed since the account was had, so it is read
    /// again when the account is needed next.
    pub(super) async fn look_again(&self) {
        self.account.lock().await.take();
    }

    fn put_aside(&self) -> Result<(), Fault> {
        let path = self.store.account_path();
        let aside = path.with_extension("json.unknown");
        std::fs::rename(path, aside).map_err(Fault::own)
    }

    async fn restore(&self, text: &[u8]) -> Result<Account, Fault> {
        let kept: Kept = serde_json::from_slice(text).map_err(|error| {
            let path = self.store.account_path();
            Fault::new(format!("\"{}\": {error}: move it away to have another", path.display()))
        })?;
        let account = Account::builder_with_http(self.client()?);
        let account = account.from_credentials(kept.credentials).await?;
        let email = &self.authority.email;
        if kept.email != *email {
            let contact = contact(email.as_ref());
            let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
            match account.update_contacts(&contact).await.map_err(Fault::from) {
                Ok(()) => {
                    // The credentials cannot be cloned: they are read once more.
                    let kept: Kept = serde_json::from_slice(text).map_err(Fault::own)?;
                    self.keep(kept.credentials, email.as_ref())?;
                }
                Err(fault) if fault.problem == Some(Problem::Contact) => self.refused(fault),
                Err(fault) => return Err(fault),
            }
        }
        Ok(account)
    }

    async fn register(&self) -> Result<Account, Fault> {
        let email = self.authority.email.as_ref();
        match self.register_as(email).await {
            Err(fault) if email.is_some() && fault.problem == Some(Problem::Contact) => {
                self.refused(fault);
                self.register_as(None).await
            }
            registered => registered,
        }
    }

    /// The authority does not want to write there. Certificates do not depend on it.
    fn refused(&self, fault: Fault) {
        (self.tell)(Event::ContactRefused { why: fault.why });
    }

    async fn register_as(&self, email: Option<&String>) -> Result<Account, Fault> {
        let contact = contact(email);
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            // The configuration does not get here without.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let external = self.authority.external.as_ref();
        let external =
            external.map(|external| ExternalAccountKey::new(external.id.clone(), &external.key));
        let builder = Account::builder_with_http(self.client()?);
        let directory = self.authority.directory.clone();
        let (account, credentials) = builder.create(&new, directory, external.as_ref()).await?;
        self.keep(credentials, email)?;
        Ok(account)
    }

    fn keep(&self, credentials: AccountCredentials, email: Option<&String>) -> Result<(), Fault> {
        let kept = Kept { email: email.cloned(), credentials };
        let text = serde_json::to_vec_pretty(&kept).map_err(Fault::own)?;
        self.store.keep_account(&text).map_err(Fault::own)
    }

    fn client(&self) -> Result<Box<Client>, Fault> {
        let rest = self.rest.clone();
        Ok(Box::new(match &self.stand {
            None => Client::new(self.authority.ca.as_deref(), rest)?,
            Some(stand) => Client::of(Arc::clone(stand), rest),
        }))
    }
}

fn contact(email: Option<&String>) -> Vec<String> {
    email.into_iter().map(|email| format!("mailto:{email}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::client::Said;
    use hyper::Response;
    use hyper::body::Bytes;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::time::Duration;

    #[tokio::test]
    async fn the_directory_is_read_again_after_a_failure() {
        let dir = std::env::temp_dir().join(format!("anteroom-{}-again", std::process::id()));
        let directory = "https://h/directory".to_owned();
        let store = Store::open(&dir, &directory).unwrap();
        let read = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&read);
        let stand = move |request: hyper::Request<_>| -> Said {
            count.fetch_add(u32::from(request.uri().path() == "/directory"), Relaxed);
            let body =
                r#"{"newNonce":"https://h/n","newAccount":"https://h/a","newOrder":"https://h/o"}"#;
            let answer = Response::builder().header("replay-nonce", "1").header("location", "/1");
            let answer = answer.body(Bytes::from_static(body.as_bytes())).unwrap();
            Box::pin(async move { Ok(answer) })
        };
        let authority = Authority {
            directory,
            email: None,
            ca: None,
            external: None,
            retry: [Duration::ZERO; 2],
        };
        let registrar = Registrar::new(authority, store, Some(Arc::new(stand)), |_| ());
        for times in [1, 1] {
            registrar.account().await.unwrap();
            assert_eq!(read.load(Relaxed), times);
        }
        registrar.look_again().await;
        assert_eq!(registrar.account().await.unwrap().id(), "/1", "it is the same");
        assert_eq!(read.load(Relaxed), 2);
        std::fs::remove_dir_all(dir).unwrap();
    }
}

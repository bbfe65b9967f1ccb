//! Who we are to the authority: one account for all certificates, made once and kept.

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::Authority;
use super::client::{Client, Rest};
use super::fault::Fault;
use super::store::Store;

/// Finds the account, or makes it.
pub(super) struct Registrar {
    authority: Authority,
    store: Store,
    /// Once it is known. Whoever needs it waits while another asks for it.
    account: Mutex<Option<Account>>,
    rest: Rest,
}

/// The account's file.
#[derive(Deserialize, Serialize)]
struct Kept {
    /// The address that the authority was given.
    email: Option<String>,
    credentials: AccountCredentials,
}

impl Registrar {
    pub(super) fn new(authority: Authority, store: Store) -> Self {
        Self { authority, store, account: Mutex::new(None), rest: Rest::default() }
    }

    /// The account.
    pub(super) async fn account(&self) -> Result<Account, Fault> {
        let mut known = self.account.lock().await;
        if let Some(account) = &*known {
            return Ok(account.clone());
        }
        let account = match self.store.account().map_err(Fault::own)? {
            Some(text) => match self.restore(&text).await {
                Err(fault) if fault.unknown_account => {
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

    /// How long the authority asked to be left alone, if it did.
    pub(super) fn rest(&self) -> Option<std::time::Duration> {
        self.rest.take()
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
        if kept.email != self.authority.email {
            let contact = self.contact();
            let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
            account.update_contacts(&contact).await?;
            // The credentials cannot be cloned: they are read once more.
            let kept: Kept = serde_json::from_slice(text).map_err(Fault::own)?;
            self.keep(kept.credentials)?;
        }
        Ok(account)
    }

    async fn register(&self) -> Result<Account, Fault> {
        let contact = self.contact();
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
        self.keep(credentials)?;
        Ok(account)
    }

    fn keep(&self, credentials: AccountCredentials) -> Result<(), Fault> {
        let kept = Kept { email: self.authority.email.clone(), credentials };
        let text = serde_json::to_vec_pretty(&kept).map_err(Fault::own)?;
        self.store.keep_account(&text).map_err(Fault::own)
    }

    fn contact(&self) -> Vec<String> {
        self.authority.email.iter().map(|email| format!("mailto:{email}")).collect()
    }

    fn client(&self) -> Result<Box<Client>, Fault> {
        Client::new(self.authority.ca.as_deref(), self.rest.clone()).map(Box::new)
    }
}

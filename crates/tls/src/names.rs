//! Which of several certificates a client gets: by the name it asks for (RFC 6066 §3).

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::identity::Identity;

/// What a client gets that asks for a name no certificate has, or for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// The first certificate.
    #[default]
    First,
    /// An alert, if it asks for a name; the first certificate, if it asks for none.
    Refuse,
}

/// The protocol that an authority asks for, alone, to see whose a name is (RFC 8737 §3).
pub(crate) const CHALLENGE_ALPN: &[u8] = b"acme-tls/1";

/// The certificates of one listener.
#[derive(Debug)]
pub(crate) struct Wardrobe {
    identities: Vec<Arc<Identity>>,
    unknown: UnknownName,
    /// For authorities.
    challenges: Vec<Arc<Identity>>,
}

impl Wardrobe {
    pub(crate) const fn new(identities: Vec<Arc<Identity>>, unknown: UnknownName) -> Self {
        Self { identities, unknown, challenges: Vec::new() }
    }

    pub(crate) fn with_challenges(self, challenges: Vec<Arc<Identity>>) -> Self {
        Self { challenges, ..self }
    }

    /// What an authority is shown that asks for this name.
    pub(crate) fn challenge(&self, name: Option<&str>) -> Option<&Arc<Identity>> {
        let name = name?.to_ascii_lowercase();
        self.challenges.iter().find(|it| it.names().iter().any(|own| **own == *name))
    }

    /// The certificate for a name: one that has the name itself before one that has a wildcard for
    /// it (RFC 9525 §6.3), and of several the first.
    pub(crate) fn choose(&self, name: Option<&str>) -> Option<&Arc<Identity>> {
        let first = self.identities.first();
        let Some(name) = name else { return first };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let parent = name.split_once('.').map_or("", |(_, parent)| parent);
        let has = |identity: &&Arc<Identity>, test: &dyn Fn(&str) -> bool| {
            identity.names().iter().any(|own| test(own))
        };
        let exact = |own: &str| own == name;
        let wild = |own: &str| own.strip_prefix("*.").is_some_and(|end| end == parent);
        let found = self.identities.iter().find(|it| has(it, &exact));
        let found = found.or_else(|| self.identities.iter().find(|it| has(it, &wild)));
        match self.unknown {
            UnknownName::First => found.or(first),
            UnknownName::Refuse => found,
        }
    }
}

impl ResolvesServerCert for Wardrobe {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = if is_challenge(&hello) {
            self.challenge(hello.server_name())
        } else {
            self.choose(hello.server_name())
        };
        chosen.map(|identity| identity.certified())
    }
}

/// Whether it is an authority that asks: it speaks no other protocol.
fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| {
        offered.next() == Some(CHALLENGE_ALPN) && offered.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::identity;

    #[test]
    fn a_name_leads_to_its_certificate() {
        let of = [&["a.example"][..], &["*.b.example", "b.example"], &["c.b.example"]];
        let wardrobe = |unknown| {
            Wardrobe::new(of.iter().map(|names| Arc::new(identity(names))).collect(), unknown)
        };
        let place = |wardrobe: &Wardrobe, name| {
            let chosen = wardrobe.choose(name)?;
            wardrobe.identities.iter().position(|it| Arc::ptr_eq(it, chosen))
        };
        let first = wardrobe(UnknownName::First);
        for (name, expected) in [
            (Some("a.example"), 0),
            (Some("A.Example."), 0),
            (Some("b.example"), 1),
            (Some("x.b.example"), 1),
            (Some("c.b.example"), 2),
            (Some("y.x.b.example"), 0),
            (Some("elsewhere"), 0),
            (None, 0),
        ] {
            assert_eq!(place(&first, name), Some(expected), "{name:?}");
        }
        let refuse = wardrobe(UnknownName::Refuse);
        assert_eq!(place(&refuse, Some("elsewhere")), None);
        assert_eq!(place(&refuse, Some("x.b.example")), Some(1));
        assert_eq!(place(&refuse, None), Some(0));
    }

    #[test]
    fn an_authority_is_shown_what_it_came_for_and_nothing_else() {
        let wardrobe = Wardrobe::new(vec![Arc::new(identity(&["a.example"]))], UnknownName::First)
            .with_challenges(vec![Arc::new(identity(&["b.example"]))]);
        assert!(wardrobe.challenge(Some("B.example")).is_some());
        for name in [Some("a.example"), Some("x.b.example"), Some("b.example."), None] {
            assert!(wardrobe.challenge(name).is_none(), "{name:?}");
        }
    }
}

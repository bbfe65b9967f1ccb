//! Passwords, kept as hashes that take long to make (RFC 7617 §4).

use std::collections::HashMap;
use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordVerifier};
use base::limits::{PASSWORDS_MAX, SUBJECT_MAX};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{FileFault, Finding};

/// Most memory that one hash may ask for, in KiB, most passes over it, and most lanes.
const ARGON2_MAX: [u32; 3] = [256 << 10, 64, 16];
/// Most that a hash of bcrypt may cost: 2 to that.
const BCRYPT_MAX: u32 = 16;
/// Memory of that, in KiB: the boxes of Blowfish.
const BCRYPT_KIB: u32 = 5;

/// Who may come in with which password.
pub struct Passwords {
    hashes: HashMap<Box<str>, Hash>,
    /// The one that takes longest: what an unknown name is measured against, so that it is not told by
    /// its time from the names that are there. Where hashes cost differently, those that take less are.
    anybody: Option<Hash>,
    /// KiB that the largest hash takes while it is made.
    memory: u32,
}

#[derive(Clone)]
enum Hash {
    /// A PHC string.
    Argon2(Box<str>),
    /// As `htpasswd -B` writes it.
    Bcrypt(Box<str>),
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passwords({})", self.hashes.len())
    }
}

impl Passwords {
    /// Reads a file: `user:hash`, one a line; empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// What is wrong, with its line. No part of a hash is told.
    pub fn parse(text: &[u8]) -> Result<Self, FileFault> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let text = std::str::from_utf8(text)
            .map_err(|_| FileFault::whole("it is no text: save it in UTF-8"))?;
        let mut hashes = HashMap::new();
        let mut anybody = None;
        let mut memory = 0;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash) = line.split_once(':').ok_or_else(|| {
                FileFault::at(number, "write a name, a colon and a hash, as in me:$argon2id$…")
            })?;
            if user.is_empty() || user.chars().any(char::is_control) || user.trim() != user {
                return Err(FileFault::at(
                    number,
                    "a name has at least one character, all visible, and no spaces at its ends",
                ));
            }
            if user.len() > SUBJECT_MAX {
                return Err(FileFault::at(
                    number,
                    format!("a name has at most {SUBJECT_MAX} bytes"),
                ));
            }
            let hash = Hash::parse(hash).map_err(|why| FileFault::at(number, why))?;
            memory = memory.max(hash.memory());
            if anybody.as_ref().is_none_or(|longest: &Hash| longest.effort() < hash.effort()) {
                anybody = Some(hash.clone());
            }
            if hashes.insert(Box::from(user), hash).is_some() {
                let shown = user.escape_debug();
                return Err(FileFault::at(number, format!("`{shown}` stands above already")));
            }
            if hashes.len() > PASSWORDS_MAX {
                return Err(FileFault::at(number, format!("more than {PASSWORDS_MAX} names")));
            }
        }
        Ok(Self { hashes, anybody, memory })
    }

    /// Bytes that one check takes at most while it lasts.
    pub fn memory(&self) -> u64 {
        u64::from(self.memory) << 10
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is none: then nobody may come in.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether these credentials, in Base64, are right. This takes tens of milliseconds; for a name that
    /// is not known as long as for the costliest hash.
    pub fn check(&self, credentials: &[u8]) -> Finding {
        let Ok(pair) = STANDARD.decode(credentials) else { return Finding::bad_credentials() };
        let Some(colon) = pair.iter().position(|byte| *byte == b':') else {
            return Finding::bad_credentials();
        };
        let (user, password) = (&pair[..colon], &pair[colon + 1..]);
        // RFC 7617 §2: neither holds a control character.
        if pair.iter().any(u8::is_ascii_control) {
            return Finding::bad_credentials();
        }
        let known = std::str::from_utf8(user).ok().and_then(|user| self.hashes.get(user));
        let right = match (known, &self.anybody) {
            (Some(hash), _) => hash.is_of(password),
            (None, Some(anybody)) => {
                let _ = anybody.is_of(password);
                false
            }
            (None, None) => false,
        };
        if !right {
            return Finding::bad_credentials();
        }
        Finding::LetIn { subject: user.to_vec(), fields: Vec::new(), until: None }
    }
}

impl Hash {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(["2a" | "2b" | "2y" | "2x", cost, _]) = bcrypt_parts(text) {
            let cost: Option<u32> = cost.parse().ok();
            let whole = text.len() == 60 && text.parse::<bcrypt::HashParts>().is_ok();
            return match cost {
                Some(4..=BCRYPT_MAX) if whole => Ok(Self::Bcrypt(text.into())),
                Some(cost) if whole => {
                    Err(format!("a cost of {cost} takes too long: at most {BCRYPT_MAX}"))
                }
                _ => Err("this is no whole hash of bcrypt: make it anew".to_owned()),
            };
        }
        if text.starts_with("$argon2") {
            let broken = || "this is no whole hash of Argon2: make it anew".to_owned();
            let hash = PasswordHash::new(text).map_err(|_| broken())?;
            let params = Params::try_from(&hash).map_err(|_| broken())?;
            if hash.hash.is_none() || hash.salt.is_none() {
                return Err(broken());
            }
            let asks = [params.m_cost(), params.t_cost(), params.p_cost()];
            if asks.iter().zip(ARGON2_MAX).any(|(asked, most)| *asked > most) {
                let [memory, passes, lanes] = ARGON2_MAX;
                return Err(format!(
                    "this hash asks for too much: at most m={memory},t={passes},p={lanes}"
                ));
            }
            return Ok(Self::Argon2(text.into()));
        }
        Err("this is no hash of Argon2 or bcrypt, and others are too weak: make one with the program \
             argon2, or with htpasswd -B"
            .to_owned())
    }

    /// KiB that it takes while it is made.
    fn memory(&self) -> u32 {
        match self {
            Self::Argon2(hash) => {
                let params = PasswordHash::new(hash).ok().and_then(|it| Params::try_from(&it).ok());
                params.map_or(0, |params| params.m_cost())
            }
            Self::Bcrypt(_) => BCRYPT_KIB,
        }
    }

    /// What orders hashes by how long they take, as far as their parameters tell.
    fn effort(&self) -> u64 {
        match self {
            Self::Argon2(hash) => {
                let params = PasswordHash::new(hash).ok().and_then(|it| Params::try_from(&it).ok());
                params.map_or(0, |it| u64::from(it.m_cost()) * u64::from(it.t_cost()))
            }
            // A cost of 10 is reckoned like 64 MiB of Argon2.
            Self::Bcrypt(hash) => {
                let cost = bcrypt_parts(hash).and_then(|[_, cost, _]| cost.parse().ok());
                64 << cost.unwrap_or(0_u32).min(BCRYPT_MAX)
            }
        }
    }

    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
        }
    }
}

/// Version, cost, and the rest.
fn bcrypt_parts(text: &str) -> Option<[&str; 3]> {
    let mut parts = text.strip_prefix('$')?.splitn(3, '$');
    Some([parts.next()?, parts.next()?, parts.next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `secret`, by Argon2 with little memory.
    const ARGON2: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$";
    /// `htpasswd -nbBC 4 you mine`.
    fn bcrypt_line() -> String {
        format!("you:{}", bcrypt::hash("mine", 4).unwrap().replace("$2b$", "$2y$"))
    }

    fn argon2_hash(password: &[u8]) -> String {
        use argon2::{Algorithm, PasswordHasher, Version};
        let params = Params::new(64, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_with_salt(password, b"some salt").unwrap().to_string()
    }

    fn credentials(pair: &[u8]) -> Vec<u8> {
        STANDARD.encode(pair).into_bytes()
    }

    #[test]
    fn a_name_that_is_not_known_takes_as_long_as_the_costliest() {
        let cheap = format!("a:{}\n", argon2_hash(b"a"));
        let dear = bcrypt::hash("b", 12).unwrap();
        for file in [format!("{cheap}b:{dear}\n"), format!("b:{dear}\n{cheap}")] {
            let passwords = Passwords::parse(file.as_bytes()).unwrap();
            assert!(matches!(passwords.anybody, Some(Hash::Bcrypt(_))));
        }
    }

    #[test]
    fn right_pairs_come_in_and_no_others() {
        let name = "jos\u{e9}";
        let file = format!(
            "# who may\n\nme:{}\r\n{name}:{}\n{}\n",
            argon2_hash(b"my:own"),
            argon2_hash("p\u{e4}ss".as_bytes()),
            bcrypt_line()
        );
        let passwords = Passwords::parse(file.as_bytes()).unwrap();
        assert_eq!((passwords.len(), passwords.memory()), (3, 64 << 10));
        let right: [&[u8]; 3] = [b"me:my:own", "jos\u{e9}:p\u{e4}ss".as_bytes(), b"you:mine"];
        for pair in right {
            let subject = pair.split(|byte| *byte == b':').next().unwrap().to_vec();
            let expected = Finding::LetIn { subject, fields: Vec::new(), until: None };
            assert_eq!(passwords.check(&credentials(pair)), expected);
        }
        let wrong: [&[u8]; 8] = [
            b"me:my",
            b"me:",
            b"me",
            b"",
            b":my:own",
            b"nobody:my:own",
            b"you:mine\n",
            b"Me:my:own",
        ];
        for pair in wrong {
            assert_eq!(passwords.check(&credentials(pair)), Finding::bad_credentials());
        }
        for raw in [&b"bWU6bX"[..], b"!!!!", b"", b"====", b"bWU6 bXk6b3du"] {
            assert_eq!(passwords.check(raw), Finding::bad_credentials());
        }
        assert!(Passwords::parse(b"# nobody\n").unwrap().is_empty());
        let nobody = Passwords::parse(b"").unwrap();
        assert_eq!(nobody.check(&credentials(b"me:my:own")), Finding::bad_credentials());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_line_and_without_its_secrets() {
        let md5 = "me:$apr1$Zz$CH2t5oOsYV.8CZ4o9bgzG0";
        let huge = "me:$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (line, says) in [
            ("me", "a colon"),
            (":$2y$", "at least one"),
            ("me : $2y$", "no spaces"),
            (md5, "htpasswd -B"),
            ("me:plain", "htpasswd -B"),
            ("me:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "htpasswd -B"),
            ("me:$2y$10$short", "no whole hash of bcrypt"),
            (&format!("me:{ARGON2}"), "no whole hash of Argon2"),
            ("me:$argon2id$v=19$m=64,t=1,p=1", "no whole hash of Argon2"),
            (huge, "too much"),
            (&bcrypt_line().replace("$04$", "$17$"), "too long"),
        ] {
            let fault = Passwords::parse(format!("# a\n{line}\n").as_bytes()).unwrap_err();
            assert_eq!(fault.line, Some(2), "{line}");
            assert!(fault.why.contains(says), "{line}: {}", fault.why);
            let hash = line.split_once(':').map_or("", |(_, hash)| hash);
            assert!(hash.is_empty() || !fault.why.contains(hash), "{}", fault.why);
        }
        let twice = format!("{0}\n{0}\n", bcrypt_line());
        assert!(Passwords::parse(twice.as_bytes()).unwrap_err().why.contains("above already"));
        assert!(Passwords::parse(b"\xff:\n").unwrap_err().why.contains("UTF-8"));
    }
}

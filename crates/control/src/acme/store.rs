//! The files: the account, and a certificate with its key for each set of names.
//!
//! What one authority gave lies in a folder of its own, so that what a test authority issued is
//! never taken for the real thing. Everything is readable by its owner alone.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base::limits;
use base::mix::mix;
use rustix::fs::{CWD, Mode, OFlags, openat};
use tls::Identity;

/// Most of a certificate's name in that of its file: the system has room for 255 bytes, and others
/// stand behind it.
const NAME_MAX: usize = 200;

/// The account's file.
const ACCOUNT: &str = "account.json";

/// Where the files of one authority lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    folder: PathBuf,
}

/// What cannot be done with which file.
#[derive(Debug)]
pub struct StoreError {
    path: PathBuf,
    why: String,
}

impl StoreError {
    fn new(path: &Path, why: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), why: why.to_string() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\": {}", self.path.display(), self.why)
    }
}

impl std::error::Error for StoreError {}

impl Store {
    /// The folder below `dir` for the authority with this directory; made if it is not there. What is
    /// above it is others', too: it is made as any, and otherwise left as it is.
    ///
    /// # Errors
    /// When it can neither be found nor made.
    pub fn open(dir: &Path, directory: &str) -> Result<Self, StoreError> {
        let folder = dir.join(folder_name(directory));
        let made = || -> io::Result<()> {
            fs::create_dir_all(dir)?;
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            // It may have been there, open to others.
            open_folder(&folder)?.set_permissions(fs::Permissions::from_mode(0o700))
        };
        made().map_err(|error| StoreError::new(&folder, error))?;
        Ok(Self { folder })
    }

    /// Opens the folder, and every file in it that is nowhere else: whom the folder belongs to may have
    /// put a link to another's file there.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn open_all(&self) -> Result<Vec<(PathBuf, File)>, StoreError> {
        let list = || -> io::Result<Vec<(PathBuf, File)>> {
            let folder = open_folder(&self.folder)?;
            let mut all = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                // A pipe would be waited for.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let Ok(file) = openat(&folder, entry.file_name(), flags, Mode::empty()) else {
                    continue;
                };
                let file = File::from(file);
                let about = file.metadata()?;
                if about.is_file() && about.nlink() == 1 {
                    all.push((entry.path(), file));
                }
            }
            all.push((self.folder.clone(), folder));
            Ok(all)
        };
        list().map_err(|error| StoreError::new(&self.folder, error))
    }

    /// The certificate for these names, if there is one.
    ///
    /// # Errors
    /// When there is a file for them, and no certificate with exactly these names and its key in it.
    pub fn certificate(&self, names: &[String]) -> Result<Option<Identity>, StoreError> {
        let path = self.certificate_path(names);
        let Some(pem) = read(&path)? else { return Ok(None) };
        let identity =
            Identity::from_pem(&pem, &pem).map_err(|error| StoreError::new(&path, error))?;
        if !has_names(&identity, names) {
            return Err(StoreError::new(&path, "it has other names"));
        }
        Ok(Some(identity))
    }

    /// Keeps the certificate for these names: its chain and its key.
    pub(super) fn keep_certificate(
        &self,
        names: &[String],
        chain: &str,
        key: &str,
    ) -> Result<(), StoreError> {
        let apart = if chain.ends_with('\n') { "" } else { "\n" };
        self.write(&self.certificate_path(names), format!("{chain}{apart}{key}").as_bytes())
    }

    /// The account, if there is one.
    pub(super) fn account(&self) -> Result<Option<Vec<u8>>, StoreError> {
        read(&self.account_path())
    }

    pub(super) fn keep_account(&self, text: &[u8]) -> Result<(), StoreError> {
        self.write(&self.account_path(), text)
    }

    /// Where the account is kept.
    pub(super) fn account_path(&self) -> PathBuf {
        self.folder.join(ACCOUNT)
    }

    /// Where the certificate for these names is kept, its chain first, then its key.
    pub fn certificate_path(&self, names: &[String]) -> PathBuf {
        self.folder.join(file_name(names))
    }

    /// Writes a file beside its place and puts it there when it is on disk, so that there is the old
    /// one or the new one, whatever happens.
    fn write(&self, path: &Path, text: &[u8]) -> Result<(), StoreError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let put = || -> io::Result<()> {
            let _ = fs::remove_file(&beside);
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            File::open(&self.folder)?.sync_all()
        };
        put().map_err(|error| StoreError::new(path, error))
    }
}

/// A folder itself, never what a link in its place leads to.
fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(openat(CWD, path, flags, Mode::empty())?))
}

fn has_names(identity: &Identity, names: &[String]) -> bool {
    let is = |name: &String| identity.names().iter().any(|own| **own == **name);
    identity.names().len() == names.len() && names.iter().all(is)
}

/// What stands in a file, if it is there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let length = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::new(path, error)),
    };
    if length > limits::ACME_FILE_MAX {
        return Err(StoreError::new(path, "it is too long for what it should be"));
    }
    fs::read(path).map(Some).map_err(|error| StoreError::new(path, error))
}

/// The address of a directory as the name of a folder.
fn folder_name(directory: &str) -> String {
    let address = directory.strip_prefix("https://").unwrap_or(directory);
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    address.trim_end_matches('/').chars().take(200).map(plain).collect()
}

/// The shortest name, which is most likely the one that people know the set by; where there are others,
/// or it is too long for a file's name, with what tells such sets apart. In which order the names are
/// written makes no difference.
fn file_name(names: &[String]) -> String {
    let shortest = names.iter().min_by_key(|name| (name.len(), *name));
    let name: String = shortest.into_iter().flat_map(|name| name.chars().take(NAME_MAX)).collect();
    match names {
        [only] if only.len() == name.len() => format!("{name}.pem"),
        _ => format!("{name}+{}-{:08x}.pem", names.len().saturating_sub(1), print(names)),
    }
}

/// A fingerprint of the names, in any order.
fn print(names: &[String]) -> u32 {
    let of_name = |name: &String| name.bytes().fold(0, |all, byte| mix(all ^ u64::from(byte)));
    let all = names.iter().map(of_name).fold(0, u64::wrapping_add);
    (mix(all) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn pems(names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_kept_is_found_again_by_its_owner_alone() {
        let dir = std::env::temp_dir().join(format!("anteroom-{}-store", std::process::id()));
        let store = Store::open(&dir, "https://ca.example:14000/dir").unwrap();
        let both = names(&["a.example", "b.example"]);
        assert!(store.certificate(&both).unwrap().is_none() && store.account().unwrap().is_none());
        let (chain, key) = pems(&["a.example", "b.example"]);
        store.keep_certificate(&both, chain.trim_end(), &key).unwrap();
        store.keep_certificate(&both, &chain, &key).unwrap();
        store.keep_account(b"{}").unwrap();
        let again = Store::open(&dir, "https://ca.example:14000/dir").unwrap();
        assert!(again.certificate(&names(&["b.example", "a.example"])).unwrap().is_some());
        assert!(again.certificate(&both).unwrap().is_some());
        assert_eq!(again.account().unwrap().as_deref(), Some(&b"{}"[..]));
        let all = again.open_all().unwrap();
        for (path, _) in &all {
            assert_eq!(mode(path), if path.is_dir() { 0o700 } else { 0o600 }, "{path:?}");
        }
        assert_eq!(all.len(), 3);
        let other = Store::open(&dir, "https://ca.example:14000/staging").unwrap();
        assert!(other.certificate(&both).unwrap().is_none(), "another authority's");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_above_the_folder_is_not_ours() {
        let top = std::env::temp_dir().join(format!("anteroom-{}-above", std::process::id()));
        fs::create_dir(&top).unwrap();
        let usual = mode(&top);
        let dir = top.join("lib/acme");
        let store = Store::open(&dir, "https://ca.example/").unwrap();
        assert_eq!([mode(&dir), mode(&top.join("lib"))], [usual; 2]);
        assert_eq!(mode(&dir.join("ca.example")), 0o700);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o751)).unwrap();
        Store::open(&dir, "https://ca.example/").unwrap();
        assert_eq!(mode(&dir), 0o751, "as it was");
        let opened = store.open_all().unwrap();
        assert_eq!(opened.iter().map(|(path, _)| path).collect::<Vec<_>>(), [&store.folder]);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn files_that_are_elsewhere_too_are_left_alone() {
        let dir = std::env::temp_dir().join(format!("anteroom-{}-links", std::process::id()));
        let store = Store::open(&dir, "https://ca.example/").unwrap();
        store.keep_account(b"{}").unwrap();
        let anothers = dir.join("another's");
        fs::write(&anothers, "").unwrap();
        std::os::unix::fs::symlink(&anothers, store.folder.join("soft")).unwrap();
        fs::hard_link(&anothers, store.folder.join("hard")).unwrap();
        fs::create_dir(store.folder.join("folder")).unwrap();
        let pipe = store.folder.join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::from(0o600)).unwrap();
        let opened = store.open_all().unwrap();
        let opened: Vec<_> = opened.into_iter().map(|(path, _)| path).collect();
        assert_eq!(opened, [store.account_path(), store.folder.clone()]);
        let other = dir.join("other.example");
        std::os::unix::fs::symlink(&store.folder, &other).unwrap();
        assert!(Store::open(&dir, "https://other.example/").is_err(), "a link in its place");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let dir = std::env::temp_dir().join(format!("anteroom-{}-unfit", std::process::id()));
        let store = Store::open(&dir, "https://ca.example/").unwrap();
        let wanted = names(&["a.example"]);
        let (chain, key) = pems(&["a.example", "c.example"]);
        store.keep_certificate(&wanted, &chain, &key).unwrap();
        let says = |store: &Store| store.certificate(&wanted).unwrap_err().to_string();
        assert!(says(&store).contains("other names"));
        fs::write(store.certificate_path(&wanted), &chain[..100]).unwrap();
        assert!(says(&store).contains("a.example.pem"));
        let file = File::create(store.certificate_path(&wanted)).unwrap();
        file.set_len(limits::ACME_FILE_MAX + 1).unwrap();
        assert!(says(&store).contains("too long"));
        let nowhere = Store::open(Path::new("/proc/none"), "https://ca.example/").unwrap_err();
        assert!(nowhere.to_string().contains("/proc/none"), "{nowhere}");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn sets_of_names_have_files_of_their_own() {
        let of = |list: &[&str]| file_name(&names(list));
        assert_eq!(of(&["a.example"]), "a.example.pem");
        assert_ne!(of(&["a.example", "b.example"]), of(&["a.example", "c.example"]));
        assert!(of(&["a.example", "b.example"]).starts_with("a.example+1-"));
        assert_eq!(of(&["b.example", "a.example"]), of(&["a.example", "b.example"]));
        assert!(of(&["www.a.example", "a.example"]).starts_with("a.example+1-"));
        let long = ["a", "b"].map(|end| format!("{}.{end}", "x.".repeat(110)));
        assert_ne!(of(&[&long[0]]), of(&[&long[1]]));
        assert!(of(&[&long[0]]).len() + ".new".len() <= 255);
        assert_eq!(folder_name("https://[::1]:14000/dir/"), "---1--14000-dir");
    }
}

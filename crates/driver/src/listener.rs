//! Listening sockets: one for each address of the process, shared by its workers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FileType, Mode, Stat, chmod, lstat, unlink};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::Address;

/// Clients the kernel may hold before they are accepted; it caps this by `somaxconn`.
const BACKLOG: i32 = 4096;

/// How to bind.
#[derive(Clone, Copy, Debug, Default)]
pub struct BindOptions {
    /// Lets several processes listen on one address, each with a queue of its own
    /// (`SO_REUSEPORT`). Means nothing for a Unix socket.
    pub reuse_port: bool,
    /// Lets every user of the machine connect to a Unix socket whose directory it can reach, as
    /// clients of a proxy must; otherwise the process's umask decides.
    pub open_to_all: bool,
}

/// A listening socket. Clones share it; with the last one it is closed, and its file, if it is a
/// Unix socket, removed.
#[derive(Clone, Debug)]
pub struct Listener(Arc<Listening>);

#[derive(Debug)]
struct Listening {
    descriptor: OwnedFd,
    address: Address,
    file: Option<SocketFile>,
}

impl Listener {
    /// The address it listens on, with the port the kernel chose where 0 was asked for.
    pub fn local_address(&self) -> &Address {
        &self.0.address
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }
}

/// Why an address cannot be listened on, and what would help.
#[derive(Debug)]
pub struct BindError {
    address: Address,
    error: Errno,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, error } = self;
        write!(f, "cannot listen on {address}: {}", std::io::Error::from(*error))?;
        match remedy(address, *error) {
            "" => Ok(()),
            remedy => write!(f, ": {remedy}"),
        }
    }
}

impl std::error::Error for BindError {}

/// What the one who chose the address can do.
fn remedy(address: &Address, error: Errno) -> &'static str {
    let unix = matches!(address, Address::Unix(_));
    match error {
        Errno::ADDRINUSE if unix => "a program answers there; stop it, or choose another path",
        Errno::ADDRINUSE => "a program listens there; stop it, or choose another port",
        Errno::EXIST => "a file that is no socket stands there; move it, or choose another path",
        Errno::ACCESS | Errno::PERM | Errno::ROFS if unix => {
            "this user must be able to write to the directory; choose another path"
        }
        Errno::ACCESS | Errno::PERM => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE; grant it, or choose \
             another port"
        }
        Errno::ADDRNOTAVAIL => "no interface of this machine has that address",
        Errno::AFNOSUPPORT => "this machine speaks no IPv6; give an IPv4 address",
        Errno::NOENT | Errno::NOTDIR if unix => "its directory does not exist; create it",
        Errno::MFILE | Errno::NFILE => "too many files are open; raise the limit (ulimit -n)",
        _ => "",
    }
}

/// Listens on `address`. Nothing is accepted before a driver does.
///
/// `[::]:port` takes IPv4 too, and is IPv4 alone where there is no IPv6. A Unix socket's file
/// that nobody answers on is replaced.
///
/// # Errors
/// What the kernel refused, for which address, and what would help.
pub fn bind(address: &Address, options: BindOptions) -> Result<Listener, BindError> {
    match bind_patiently(address, options) {
        Ok(listening) => Ok(Listener(Arc::new(listening))),
        Err(error) => Err(BindError { address: address.clone(), error }),
    }
}

/// The first of the pauses between tries to take an address that is in use; each further one is
/// twice as long.
const PAUSE: Duration = Duration::from_millis(5);
/// How many there are: a third of a second in all.
const PAUSES: u32 = 6;

/// A listener may outlive a process that was killed: the kernel ends the requests of its
/// `io_uring`, which keep it open, some milliseconds after it has gone.
#[expect(clippy::disallowed_methods, reason = "before any worker starts")]
fn bind_patiently(address: &Address, options: BindOptions) -> Result<Listening, Errno> {
    for pause in (0..PAUSES).map(|tries| PAUSE * 2u32.pow(tries)) {
        match bind_now(address, options) {
            Err(Errno::ADDRINUSE) => std::thread::sleep(pause),
            bound => return bound,
        }
    }
    bind_now(address, options)
}

fn bind_now(address: &Address, options: BindOptions) -> Result<Listening, Errno> {
    match address {
        Address::Ip(ip) => bind_ip(*ip, options),
        Address::Unix(path) => bind_unix(path, options),
    }
}

fn bind_ip(address: SocketAddr, options: BindOptions) -> Result<Listening, Errno> {
    match bind_exactly(address, options) {
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
            if address.is_ipv6() && address.ip().is_unspecified() =>
        {
            let every = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            bind_exactly(every, options)
        }
        bound => bound,
    }
}

fn bind_exactly(address: SocketAddr, options: BindOptions) -> Result<Listening, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let descriptor = socket(family)?;
    sockopt::set_socket_reuseaddr(&descriptor, true)?;
    if options.reuse_port {
        sockopt::set_socket_reuseport(&descriptor, true)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&descriptor, !address.ip().is_unspecified())?;
    }
    // Accepted connections inherit both.
    sockopt::set_tcp_nodelay(&descriptor, true)?;
    sockopt::set_socket_keepalive(&descriptor, true)?;
    net::bind(&descriptor, &address)?;
    net::listen(&descriptor, BACKLOG)?;
    let bound = SocketAddr::try_from(net::getsockname(&descriptor)?)?;
    Ok(Listening { descriptor, address: Address::Ip(bound), file: None })
}

fn bind_unix(path: &Path, options: BindOptions) -> Result<Listening, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let descriptor = socket(AddressFamily::UNIX)?;
    match net::bind(&descriptor, &address) {
        Err(Errno::ADDRINUSE) => {
            remove_stale(path, &address)?;
            net::bind(&descriptor, &address)?;
        }
        bound => bound?,
    }
    let file = SocketFile { path: path.to_owned(), identity: identity(&lstat(path)?) };
    if options.open_to_all {
        // Connecting takes the right to write (unix(7)).
        chmod(path, Mode::from_raw_mode(0o666))?;
    }
    net::listen(&descriptor, BACKLOG)?;
    Ok(Listening { descriptor, address: Address::Unix(path.to_owned()), file: Some(file) })
}

fn socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socket_with(family, SocketType::STREAM, flags, None)
}

/// Removes the file of a socket that nobody answers on, as a crash leaves it.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), Errno> {
    if FileType::from_raw_mode(lstat(path)?.st_mode) != FileType::Socket {
        return Err(Errno::EXIST);
    }
    match net::connect(socket(AddressFamily::UNIX)?, address) {
        Err(Errno::CONNREFUSED) => unlink(path),
        Err(Errno::NOENT) => Ok(()),
        // It answers, or its queue is full, or asking is not allowed: it is another's.
        _ => Err(Errno::ADDRINUSE),
    }
}

/// The file of a Unix socket, removed when the socket is closed, unless another program has put
/// its own in its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Device and inode: what tells a file from a later one of the same name.
const fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some(file) = &self.file else { return };
        if lstat(&file.path).is_ok_and(|stat| identity(&stat) == file.identity) {
            // A file that cannot be removed is replaced at the next start.
            let _ = unlink(&file.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn listen(address: &str) -> Result<Listener, BindError> {
        bind(&address.parse().unwrap(), BindOptions::default())
    }

    fn port(listener: &Listener) -> u16 {
        match listener.local_address() {
            Address::Ip(address) => address.port(),
            Address::Unix(path) => panic!("{} is no port", path.display()),
        }
    }

    /// A path of this test alone, in a directory of this process.
    fn path(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("listener-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        directory.join(name)
    }

    fn listen_unix(path: &Path) -> Result<Listener, BindError> {
        bind(&Address::Unix(path.to_owned()), BindOptions::default())
    }

    #[test]
    fn a_socket_that_is_open_to_all_can_be_written_to_by_all() {
        let mode = |path: &Path| lstat(path).unwrap().st_mode & 0o777;
        let open = path("open");
        let options = BindOptions { open_to_all: true, ..BindOptions::default() };
        let _listener = bind(&Address::Unix(open.clone()), options).unwrap();
        assert_eq!(mode(&open), 0o666);
        let closed = path("closed");
        let _listener = listen_unix(&closed).unwrap();
        assert_ne!(mode(&closed), 0o666, "the umask says so");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "another program takes its time")]
    fn an_address_given_up_in_a_moment_is_waited_for() {
        let other = listen("127.0.0.1:0").unwrap();
        let address = format!("127.0.0.1:{}", port(&other));
        let leaving = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            drop(other);
        });
        listen(&address).expect("it is free in time");
        leaving.join().unwrap();
    }

    #[test]
    fn the_kernels_choice_of_a_port_is_told_and_the_port_is_taken() {
        let listener = listen("127.0.0.1:0").unwrap();
        let port = port(&listener);
        assert_ne!(port, 0);
        TcpStream::connect(("127.0.0.1", port)).unwrap();

        let error = listen(&format!("127.0.0.1:{port}")).unwrap_err().to_string();
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
        assert!(error.contains("choose another port"), "{error}");
        let clone = listener.clone();
        drop(listener);
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(clone);
        listen(&format!("127.0.0.1:{port}")).unwrap();
    }

    #[test]
    fn several_listeners_share_a_port_only_if_all_say_so() {
        let reuse = BindOptions { reuse_port: true, ..BindOptions::default() };
        let first = bind(&"127.0.0.1:0".parse().unwrap(), reuse).unwrap();
        bind(first.local_address(), reuse).unwrap();
        bind(first.local_address(), BindOptions::default()).unwrap_err();
    }

    #[test]
    fn every_address_means_both_families_and_one_address_means_one() {
        let every = listen(":0").unwrap();
        TcpStream::connect(("127.0.0.1", port(&every))).unwrap();
        if let Ok(one) = listen("[::1]:0") {
            TcpStream::connect(("::1", port(&every))).unwrap();
            TcpStream::connect(("::1", port(&one))).unwrap();
            assert!(sockopt::ipv6_v6only(&one).unwrap());
        }
    }

    #[test]
    fn an_address_of_another_machine_is_refused_with_a_remedy() {
        let error = listen("192.0.2.1:0").unwrap_err().to_string();
        assert!(error.contains("no interface"), "{error}");
        let error = listen("unix:/nowhere/at/all.sock").unwrap_err().to_string();
        assert!(error.contains("directory does not exist"), "{error}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let path = path("stale.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let listener = listen_unix(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        let error = listen_unix(&path).unwrap_err().to_string();
        assert!(error.contains("choose another path"), "{error}");
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists(), "the file is removed at the end");
    }

    #[test]
    fn no_file_but_its_own_is_removed() {
        let path = path("other.sock");
        std::fs::write(&path, "kept").unwrap();
        let error = listen_unix(&path).unwrap_err().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
        std::fs::remove_file(&path).unwrap();

        let first = listen_unix(&path).unwrap();
        std::fs::rename(&path, path.with_extension("moved")).unwrap();
        let second = listen_unix(&path).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop(second);
        std::fs::remove_file(path.with_extension("moved")).unwrap();
    }
}

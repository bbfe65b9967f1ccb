//! A proxy that asks who its clients are.

use crate::folder::Folder;
use crate::proxy::Anteroom;
use crate::tools::bytes;
use crate::upstream::Upstream;

/// A proxy before this server, with this `authorize` and these lines at the top of its configuration.
pub fn asking_with(upstream: &Upstream, folder: &Folder, authorize: &str, top: &str) -> Anteroom {
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let content = format!(
        "io = \"{io}\"\nadmin = \"127.0.0.1:0\"\nlog = {{ access = \"stderr\" }}\n{top}\n[[listen]]\n\
         address = \"127.0.0.1:0\"\nproxy = \"http\"\nauthorize = {authorize}\n[[upstream]]\n\
         servers = [\"{}\"]\n",
        upstream.address()
    );
    Anteroom::run(&folder.write("a.toml", content))
}

/// The same, and nothing else is changed.
pub fn asking(upstream: &Upstream, folder: &Folder, authorize: &str) -> Anteroom {
    asking_with(upstream, folder, authorize, "")
}

/// Status and everything else of an answer, as curl shows it.
///
/// # Panics
/// When there is none.
pub fn ask(proxy: &Anteroom, arguments: &[&str]) -> (u16, String) {
    let url = format!("http://{}/a", proxy.address());
    let mut line = vec!["--silent", "--show-error", "--include", "--max-time", "30"];
    line.extend(arguments);
    line.push(&url);
    let text = String::from_utf8_lossy(&bytes("curl", &line)).into_owned();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {text:?}")), text)
}

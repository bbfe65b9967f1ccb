//! Long bodies over TLS, on both sides, with programs that others wrote: curl and nginx.

use std::fs;

use blackbox::certificates::Certificates;
use blackbox::folder::Folder;
use blackbox::proxy::Anteroom;
use blackbox::random::Random;
use blackbox::servers::{free_address, nginx_with};
use blackbox::tools::curl;

/// Longer than what all kernels' buffers on the way hold.
const LENGTH: usize = 24 << 20;

/// Half a record stays with the kernel until the rest is there, and must not keep the rest away.
#[test]
fn long_bodies_do_not_stand_still() {
    let certificates = Certificates::new();
    let pair = certificates.issue("app", &["app.example"]);
    let folder = Folder::new();
    let file = folder.write("file", Random::new(11).bytes(LENGTH));
    let (root, address) = (folder.path().display(), free_address());
    let http = format!(
        "access_log off; client_max_body_size 0;\n\
         server {{ listen {address} ssl; ssl_certificate {pair}; ssl_certificate_key {pair};\n\
         location = /file {{ root {root}; }}\n\
         location = /taken {{ return 200 $content_length; }} }}\n"
    );
    let back = folder.file("back");
    let server = nginx_with(folder, &address, 1, &http);
    let io = std::env::var("ANTEROOM_IO").unwrap_or("auto".to_owned());
    let ca = certificates.ca();
    let config = certificates.folder().write(
        "app.toml",
        format!(
            "io = \"{io}\"\nworkers = 2\nadmin = \"127.0.0.1:0\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\n\
             tls = {{ certificates = [{{ certificate = \"{pair}\", key = \"{pair}\" }}] }}\n\
             [[upstream]]\nservers = [\"{}\"]\n\
             tls = {{ ca = \"{ca}\", name = \"app.example\" }}\n",
            server.address()
        ),
    );
    let proxy = Anteroom::run(&config);
    let (_, port) = proxy.address().rsplit_once(':').expect("a port");
    let (resolve, body) = (format!("app.example:{port}:127.0.0.1"), format!("@{file}"));
    let known = ["--resolve", &resolve, "--cacert", &ca];
    let url = |target| format!("https://app.example:{port}/{target}");
    // Where the pieces end is chance.
    for _ in 0..5 {
        let upload = ["--data-binary", &body, "--header", "Expect:"];
        let taken = curl(&[&known[..], &upload, &[&url("taken")]].concat());
        assert_eq!(String::from_utf8_lossy(&taken), LENGTH.to_string());
        curl(&[&known[..], &["--output", &back, &url("file")]].concat());
        assert!(fs::read(&back).expect("it came") == fs::read(&file).expect("it is there"));
    }
    proxy.finish();
}

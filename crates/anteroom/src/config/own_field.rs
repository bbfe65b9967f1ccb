//! Names of fields that only we write: what clients send of them is for nobody.

use control::authorize::HeaderName;
use wire::http1::may_be_added;

/// What says who a client is: whoever asks goes by it.
const JUDGED_BY: [&str; 2] = ["authorization", "cookie"];
/// What says how a body is to be read, and which part or state of something is asked for
/// (RFC 9110 §8, §13, §14), begins with one of these.
const MEANT: [&str; 3] = ["content-", "if-", "range"];

/// Reads the name of a field that only we write, as in `example`.
///
/// # Errors
/// Why it cannot be one, and the remedy.
pub(super) fn own_field<'t>(name: &'t str, example: &str) -> Result<&'t str, String> {
    // Many read both alike.
    let folded = name.to_ascii_lowercase().replace('_', "-");
    let why = if name.parse::<HeaderName>().is_err() {
        return Err(format!("write a field's name, as in {example}"));
    } else if !may_be_added(name) {
        "messages are framed, routed or passed on by this field"
    } else if JUDGED_BY.contains(&&*folded) {
        "clients are judged by this field"
    } else if MEANT.iter().any(|begins| folded.starts_with(begins)) {
        "requests cannot be understood without what clients say in this field"
    } else {
        return Ok(name);
    };
    Err(format!("{why}, and none but ours would be left of it: write another, as in {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_that_means_something_is_ours_alone() {
        for (names, says) in [
            ("Host Content-Length content_length Transfer-Encoding Connection TE", "framed"),
            ("Upgrade Expect Date Via X-Forwarded-For Keep-Alive Proxy-Authorization", "framed"),
            ("Authorization cookie", "judged by"),
            ("Content-Type Content_Encoding Range If-Match", "cannot be understood"),
            (": X-User: X@User a\u{e9}", "write a field's name"),
        ] {
            for name in names.split(' ') {
                let told = own_field(name, "X-User").unwrap_err();
                assert!(told.contains(says) && told.ends_with("as in X-User"), "{name}: {told}");
            }
        }
        assert!(own_field("", "X-User").is_err() && own_field("X User", "X-User").is_err());
        for name in ["X-User", "X-Client-Cert-Subject", "Remote-User", "x_role", "Contents"] {
            assert_eq!(own_field(name, "X-User"), Ok(name));
        }
    }
}

//! The corpora under `tests/corpus`: text files of requests and responses, one family a file,
//! each case with what must become of it.
//!
//! ```text
//! # A comment. A case begins with its name; its bytes follow, in as many lines as are
//! # readable: only escapes put line ends into them.
//! = two lengths
//! POST / HTTP/1.1\r\nHost: test\r\n
//! Content-Length: 1\r\nContent-Length: 2\r\n\r\nab
//! > 400
//! ```
//!
//! From the first `>` on, lines say what is expected. Of a request:
//!
//! | line | meaning |
//! |---|---|
//! | `> 400 501` | it is refused with one of these, and the connection closed |
//! | `> POST /x` | it arrives at the server with this method and target |
//! | `> nothing` | nothing arrives; the client gives up first |
//! | `@ host` | ... with this host (else `test`) |
//! | `" body` | ... with this body (else none) |
//! | `+ X: y` | ... with this field line, byte for byte; several stand in this order |
//! | `- X` | ... and without any field of this name |
//! | `~ node 400` | this server does not like it, and answers so |
//!
//! Several `>` in a row are what several requests come to. Of a response, `| HEAD` before its
//! bytes is the method it answers (else GET), and then:
//!
//! | line | meaning |
//! |---|---|
//! | `> 200 OK` | it reaches the client with this status and reason, with `"`, `+`, `-` as above |
//! | `> broken` | the client sees that it is not whole |
//! | `> 502 or broken` | one of both, by how far it came |
//! | `< 103` | ... after this interim response |
//! | `! close` | the server closes behind the bytes (else it waits) |

pub mod notation;

use std::fs;
use std::path::PathBuf;

use crate::witness::Reading;

/// Bytes with what is expected of them.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file and the name, for messages.
    pub name: String,
    /// The bytes in pieces, each sent a moment after the one before.
    pub pieces: Vec<Vec<u8>>,
    /// What becomes of them, in order.
    pub expected: Vec<Expected>,
    /// Of a response: the method of the request it answers.
    pub method: String,
    /// Of a response: the server closes behind it.
    pub closes: bool,
}

impl Case {
    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    /// What passes of it.
    pub fn passages(&self) -> impl Iterator<Item = &Passage> {
        self.expected.iter().filter_map(|expected| match expected {
            Expected::Passes(passage) => Some(passage),
            _ => None,
        })
    }
}

/// What becomes of a request or a response.
#[derive(Clone, Debug)]
pub enum Expected {
    /// It goes on to the other side.
    Passes(Passage),
    /// It is answered by us with one of these.
    Refused(Vec<u16>),
    /// It goes nowhere, and nobody is told.
    Nothing,
    /// Its head went on, but its end is missing.
    Broken,
    /// One or the other, by how far it came when its fault was met.
    RefusedOrBroken(Vec<u16>),
}

/// A message as the other side meets it.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Method and target, or status and reason.
    pub start: String,
    /// The host (requests).
    pub host: String,
    /// The body.
    pub body: Vec<u8>,
    /// Field lines that are there, in this order.
    pub present: Vec<Vec<u8>>,
    /// Names of fields that are not.
    pub absent: Vec<String>,
    /// Interim responses before it.
    pub interim: Vec<u16>,
    /// Servers that do not like it, and what they say.
    pub except: Vec<(String, u16)>,
}

impl Default for Passage {
    fn default() -> Self {
        Self {
            start: String::new(),
            host: "test".to_owned(),
            body: Vec::new(),
            present: Vec::new(),
            absent: Vec::new(),
            interim: Vec::new(),
            except: Vec::new(),
        }
    }
}

impl Passage {
    /// The second word of what it begins with.
    pub fn target(&self) -> &str {
        self.start.split_once(' ').map_or("", |(_, target)| target)
    }

    /// A request as every server must read it.
    pub fn reading(&self) -> Reading {
        Reading {
            method: self.start.split(' ').next().unwrap_or_default().to_owned(),
            target: self.target().to_owned(),
            host: self.host.clone(),
            body: self.body.clone(),
        }
    }

    /// Whether a head has the field lines that must be there, in their order, and none of those
    /// that must not.
    ///
    /// # Errors
    /// The line that is missing or too much.
    pub fn compare_fields(&self, head: &[u8]) -> Result<(), String> {
        let text = notation::latin(head);
        let lines: Vec<&str> = text.split("\r\n").collect();
        let mut rest = lines.iter();
        for line in &self.present {
            let line = notation::latin(line);
            if !rest.any(|other| *other == line) {
                return Err(format!("no line {line:?} in its place in {lines:?}"));
            }
        }
        for name in &self.absent {
            let has = |line: &&&str| {
                line.split_once(':').is_some_and(|(other, _)| other.eq_ignore_ascii_case(name))
            };
            if let Some(line) = lines.iter().find(has) {
                return Err(format!("{line:?} is there"));
            }
        }
        Ok(())
    }
}

/// Every case of a corpus: of the files in `tests/corpus/<folder>`.
///
/// # Panics
/// When a file cannot be read as described above: it names file and line.
pub fn load(folder: &str) -> Vec<Case> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
    let entries = fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let cases: Vec<Case> = files
        .iter()
        .flat_map(|file| {
            let family = file.file_stem().unwrap_or_default().to_string_lossy();
            let text = fs::read_to_string(file).expect("a corpus is text");
            parse(&family, &text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
        })
        .collect();
    let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert!(twice.is_none(), "two cases of one name: {twice:?}");
    cases
}

fn parse(family: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let told = |what: &str| format!("line {number}: {what}: {line}");
        if let Some(name) = line.strip_prefix("= ") {
            if cases.last().is_some_and(|case| case.expected.is_empty()) {
                return Err(told("the case before expects nothing at all"));
            }
            cases.push(Case {
                name: format!("{family}/{name}"),
                pieces: vec![Vec::new()],
                expected: Vec::new(),
                method: "GET".to_owned(),
                closes: false,
            });
            continue;
        }
        let case = cases.last_mut().ok_or_else(|| told("no case has begun"))?;
        read_line(case, line).map_err(|what| told(&what))?;
    }
    Ok(cases)
}

fn read_line(case: &mut Case, line: &str) -> Result<(), String> {
    if let Some(text) = line.strip_prefix("> ") {
        case.expected.push(expected(text)?);
        return Ok(());
    }
    if case.expected.is_empty() {
        if let Some(method) = line.strip_prefix("| ") {
            method.clone_into(&mut case.method);
            return Ok(());
        }
        let mut pieces = notation::decode(line)?.into_iter();
        let open = case.pieces.last_mut().ok_or("no piece")?;
        open.extend(pieces.next().unwrap_or_default());
        case.pieces.extend(pieces);
        return Ok(());
    }
    let (sign, text) = line.split_at_checked(2).ok_or("too short for what is expected")?;
    if (sign, text) == ("! ", "close") {
        case.closes = true;
        return Ok(());
    }
    let Some(Expected::Passes(passage)) = case.expected.last_mut() else {
        return Err("said of nothing that passes".to_owned());
    };
    match sign {
        "@ " => text.clone_into(&mut passage.host),
        "\" " => passage.body.extend(notation::plain(text)?),
        "+ " => passage.present.push(notation::plain(text)?),
        "- " => passage.absent.push(text.to_owned()),
        "< " => passage.interim.push(text.parse().map_err(|_| "no status")?),
        "~ " => {
            let (server, status) = text.split_once(' ').ok_or("a server and a status")?;
            let status = status.parse().map_err(|_| "no status")?;
            passage.except.push((server.to_owned(), status));
        }
        _ => return Err("an unknown sign".to_owned()),
    }
    Ok(())
}

/// What a line that begins with `>` says: statuses alone are a refusal, a status with a reason
/// (be it empty: `> 200 ` with its space) is a response that passes.
fn expected(text: &str) -> Result<Expected, String> {
    let status = |word: &str| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    let statuses = |text: &str| text.split(' ').filter_map(|word| word.parse().ok()).collect();
    if let Some(text) = text.strip_suffix(" or broken") {
        return Ok(Expected::RefusedOrBroken(statuses(text)));
    }
    Ok(match text {
        "nothing" => Expected::Nothing,
        "broken" => Expected::Broken,
        _ if text.split(' ').all(status) => Expected::Refused(statuses(text)),
        _ => {
            let start = notation::latin(&notation::plain(text)?);
            Expected::Passes(Passage { start, ..Passage::default() })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_in_full() {
        let text = "# about\n= one\nGET / \nHTTP/1.1\\r\\n\\p\\r\\n\n> GET /\n@ a\n\" b\\n\n+ X: y\n- Z\n\
                    ~ node 400\n> 400 501\n= two\n| HEAD\nx\n> 200 \n< 103\n! close\n> nothing\n> broken\n";
        let cases = parse("f", text).unwrap();
        assert_eq!(cases[0].name, "f/one");
        assert_eq!(cases[0].pieces, [&b"GET / HTTP/1.1\r\n"[..], b"\r\n"]);
        let Expected::Passes(passage) = &cases[0].expected[0] else { panic!("it passes") };
        assert_eq!((passage.start.as_str(), passage.host.as_str()), ("GET /", "a"));
        assert_eq!((passage.body.as_slice(), &passage.present[0][..]), (&b"b\n"[..], &b"X: y"[..]));
        assert_eq!((passage.absent[0].as_str(), &passage.except[0].0[..]), ("Z", "node"));
        assert!(matches!(&cases[0].expected[1], Expected::Refused(all) if all == &[400, 501]));
        assert_eq!((cases[1].method.as_str(), cases[1].closes), ("HEAD", true));
        assert!(matches!(&cases[1].expected[0], Expected::Passes(p) if p.interim == [103]));
        assert!(matches!(cases[1].expected[1..], [Expected::Nothing, Expected::Broken]));
    }

    #[test]
    fn what_is_no_case_is_named() {
        for (text, word) in [
            ("GET /\n", "no case"),
            ("= a\nx\n= b\n", "expects nothing"),
            ("= a\n\\q\n> 400\n", "line 2"),
            ("= a\nx\n> 400\n\" body\n", "nothing that passes"),
            ("= a\nx\n> GET /\n? what\n", "unknown sign"),
        ] {
            let error = parse("f", text).map(|_| ()).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}

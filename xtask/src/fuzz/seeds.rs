//! The corpus as it is kept: for each target a file of lines, an input each, written as Rust
//! writes byte strings. So a few hundred inputs are one file that can be read and compared.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// The inputs of such a file; lines that begin with `# ` are remarks.
///
/// # Errors
/// When the file cannot be read, or a line is none.
pub(super) fn read(file: &Path) -> io::Result<BTreeSet<Vec<u8>>> {
    let text = fs::read_to_string(file)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("# "));
    let wrong = |number: usize| {
        let text = format!("{}: line {} is no byte string", file.display(), number + 1);
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    lines.map(|(number, line)| unescaped(line).ok_or_else(|| wrong(number))).collect()
}

/// Writes such a file.
///
/// # Errors
/// What the system says.
pub(super) fn write(file: &Path, inputs: &BTreeSet<Vec<u8>>) -> io::Result<()> {
    let lines: Vec<String> = inputs.iter().map(|input| escaped(input) + "\n").collect();
    fs::write(file, lines.concat())
}

/// Every input of a folder.
///
/// # Errors
/// What the system says.
pub(super) fn gather(folder: &Path) -> io::Result<BTreeSet<Vec<u8>>> {
    fs::read_dir(folder)?.map(|entry| fs::read(entry?.path())).collect()
}

/// Puts each input into a file of its own in an empty `folder`.
///
/// # Errors
/// What the system says.
pub(super) fn unpack(inputs: &BTreeSet<Vec<u8>>, folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let mut all = inputs.iter().enumerate();
    all.try_for_each(|(number, input)| fs::write(folder.join(number.to_string()), input))
}

/// As Rust writes byte strings; never what looks like a remark.
fn escaped(input: &[u8]) -> String {
    let text = input.escape_ascii().to_string();
    text.strip_prefix('#').map(|rest| format!("\\x23{rest}")).unwrap_or(text)
}

/// What [`escaped`] wrote.
fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b't' => b'\t',
            b'r' => b'\r',
            b'n' => b'\n',
            b'x' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            quoted @ (b'\\' | b'"' | b'\'') => quoted,
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescaped(&escaped(&all)), Some(all));
        assert_eq!(unescaped(""), Some(Vec::new()));
        for wrong in ["\\", "\\q", "\\x1", "\\xzz"] {
            assert_eq!(unescaped(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_corpus_is_written_unpacked_and_read() {
        let folder = std::env::temp_dir().join(format!("anteroom-{}-seeds", std::process::id()));
        let inputs = BTreeSet::from([b"a\r\n".to_vec(), b"# b".to_vec(), Vec::new()]);
        unpack(&inputs, &folder.join("each")).unwrap();
        assert_eq!(gather(&folder.join("each")).unwrap(), inputs);
        let file = folder.join("all.txt");
        let kept = BTreeSet::from([b"# a\r\n".to_vec(), b"\xff".to_vec()]);
        write(&file, &kept).unwrap();
        assert_eq!(read(&file).unwrap(), kept);
        fs::write(&file, "# a remark\n\\q\n").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("line 2"));
        fs::remove_dir_all(folder).unwrap();
    }
}

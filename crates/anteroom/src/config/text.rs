//! The text of a configuration file: read from disk, and shown where something in it is wrong.

use std::fmt::Write;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use crate::settings::{Complaint, Complaints, Severity};

/// Largest file: whoever needs more has named the wrong one.
const BYTES_MOST: u64 = 1 << 20;
/// Characters of a line that are shown, and how many of them before the place.
const WINDOW: [usize; 2] = [120, 40];

/// A file's name and content.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    name: String,
    content: String,
}

impl Text {
    /// A text that was read already.
    pub(crate) const fn new(name: String, content: String) -> Self {
        Self { name, content }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// In words that name the file: what is wrong, and the remedy.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let bytes = bytes(path).map_err(|error| format!("{name}: {}\n", unreadable(&error)))?;
        if bytes.len() as u64 > BYTES_MOST {
            return Err(format!("{name}: error: larger than 1 MiB; that is no configuration\n"));
        }
        match String::from_utf8(bytes) {
            Ok(content) => Ok(Self { name, content }),
            Err(error) => Err(not_utf8(name, &error)),
        }
    }

    /// What stands in it.
    pub(crate) fn content(&self) -> &str {
        &self.content
    }

    /// All complaints in the order of their places, and how many there are.
    pub(crate) fn show_all(&self, complaints: Complaints) -> String {
        let errors = complaints.count(Severity::Error);
        let warnings = complaints.count(Severity::Warning);
        let mut shown: String = complaints.sorted().iter().map(|one| self.show(one)).collect();
        if errors + warnings > 1 {
            let _ = writeln!(shown, "{}: {errors} errors, {warnings} warnings", self.name);
        }
        shown
    }

    /// A complaint with file, line and column, and the line with the place marked below it.
    pub(crate) fn show(&self, complaint: &Complaint) -> String {
        let span = complaint.span.clone().unwrap_or(0..0);
        let place = self.place(span);
        let kind = complaint.severity.label();
        let text: String = complaint.text.chars().map(printable).collect();
        let mut shown = format!("{}:{}:{}: {kind}: {text}\n", self.name, place.line, place.column);
        if complaint.span.is_some() {
            let number = place.line.to_string();
            let gutter = " ".repeat(number.len());
            let (line, before, marked) = place.window();
            let _ = writeln!(shown, " {gutter} |\n {number} | {line}");
            let _ = writeln!(shown, " {gutter} | {}{}", " ".repeat(before), "^".repeat(marked));
        }
        shown
    }

    fn place(&self, span: Range<usize>) -> Place<'_> {
        let content = self.content.as_str();
        let start = floor(content, span.start);
        let end = floor(content, span.end).max(start);
        let before = &content[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = &content[line_start..];
        let text = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let line_end = line_start + text.len();
        let marked = content.get(start..end.min(line_end)).unwrap_or_default().chars().count();
        Place {
            line: before.matches('\n').count() + 1,
            column: content[line_start..start].chars().count() + 1,
            marked: marked.max(1),
            text,
        }
    }
}

/// A place in the file, in characters.
struct Place<'t> {
    line: usize,
    column: usize,
    marked: usize,
    text: &'t str,
}

impl Place<'_> {
    /// The part of the line around the place, how many characters come before it, and how many
    /// are marked.
    fn window(&self) -> (String, usize, usize) {
        let [width, lead] = WINDOW;
        let before = self.column - 1;
        let skipped = if before + self.marked > width { before.saturating_sub(lead) } else { 0 };
        let mut shown: String =
            self.text.chars().skip(skipped).take(width).map(printable).collect();
        if self.text.chars().count() > skipped + width {
            shown.push('…');
        }
        (shown, before - skipped, self.marked.min(width - (before - skipped).min(width - 1)))
    }
}

/// One column wide, whatever it was: the mark below must stand where it belongs.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// The last boundary between characters up to `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(BYTES_MOST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why a file cannot be read, and what helps.
fn unreadable(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            "check the path; `anteroom check --defaults` prints a file to begin with"
        }
        io::ErrorKind::PermissionDenied => "this user must be able to read it",
        io::ErrorKind::IsADirectory => "name the file in it",
        _ => "check the path and the disk",
    };
    format!("error: cannot be read: {error}: {remedy}")
}

/// Names the first byte that is no UTF-8, with the line it stands in.
fn not_utf8(name: String, error: &std::string::FromUtf8Error) -> String {
    let at = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(at).copied().unwrap_or_default();
    let content = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let mut complaints = Complaints::default();
    complaints.error(
        Some(at..at + '\u{fffd}'.len_utf8()),
        format_args!("byte 0x{byte:02x} is no UTF-8: save the file as UTF-8"),
    );
    Text::new(name, content).show_all(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(content: &str, span: Option<Range<usize>>) -> String {
        let mut complaints = Complaints::default();
        complaints.error(span, "wrong");
        Text::new("a.toml".to_owned(), content.to_owned()).show_all(complaints)
    }

    #[test]
    fn the_place_is_named_and_marked() {
        let text = shown("a = 1\nbé = \t22\nc = 3\n", Some(13..15));
        assert_eq!(text, "a.toml:2:7: error: wrong\n   |\n 2 | bé =  22\n   |       ^^\n");
        assert_eq!(shown("a = 1\n", None), "a.toml:1:1: error: wrong\n");
        let end = shown("a =\r\n", Some(5..5));
        assert!(end.starts_with("a.toml:2:1: "), "{end}");
        let several_lines = shown("a = [\n1]\n", Some(4..8));
        assert!(several_lines.ends_with("   |     ^\n"), "{several_lines}");
    }

    /// A value may hold anything once it is unescaped.
    #[test]
    fn what_a_complaint_repeats_stays_in_its_line_and_steers_no_terminal() {
        let mut complaints = Complaints::default();
        complaints.error(Some(0..1), "`a` = \"b\tc\nd\u{1b}[2J\u{9b}\": wrong");
        let shown = Text::new("a.toml".to_owned(), "a".to_owned()).show_all(complaints);
        let first = shown.lines().next().unwrap();
        assert!(first.contains("b c\u{fffd}d\u{fffd}[2J\u{fffd}"), "{first:?}");
        assert!(first.ends_with(": wrong") && !first.contains(char::is_control), "{first:?}");
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let content = format!("{}!!{}", "x".repeat(5000), "y".repeat(5000));
        let text = shown(&content, Some(5000..5002));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() < 140), "{text}");
        let at = lines[2].find('!').unwrap();
        assert_eq!(lines[3].find('^'), Some(at), "{text}");
        assert!(lines[3].ends_with("^^"), "{text}");
        assert!(shown(&content, Some(0..9999)).lines().all(|line| line.chars().count() < 140));
    }

    #[test]
    fn places_beyond_the_end_and_within_a_character_do_no_harm() {
        assert!(shown("é", Some(1..90)).starts_with("a.toml:1:1: "));
        assert!(shown("", Some(7..9)).starts_with("a.toml:1:1: "));
    }

    #[test]
    fn files_that_cannot_be_read_are_named_with_a_remedy() {
        let missing = Text::read(Path::new("/nowhere/at/all.toml")).unwrap_err();
        assert!(
            missing.contains("all.toml: error:") && missing.contains("--defaults"),
            "{missing}"
        );
        let folder = Text::read(Path::new("/")).unwrap_err();
        assert!(folder.contains("name the file"), "{folder}");
        let endless = Text::read(Path::new("/dev/zero")).unwrap_err();
        assert!(endless.contains("1 MiB"), "{endless}");
        let error = String::from_utf8(b"a = 1\nb = \"\xff\"\n".to_vec()).unwrap_err();
        let bytes = not_utf8("a.toml".to_owned(), &error);
        assert!(bytes.starts_with("a.toml:2:6: error: byte 0xff"), "{bytes}");
    }
}

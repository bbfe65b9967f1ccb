//! Configuration files: accepted with a budget, or refused with the place of everything wrong.

/// The name that the file is said to have.
const NAME: &str = "a.toml";

/// The bytes are the file's content, if they are UTF-8.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match anteroom::read::configuration(NAME, text) {
        Ok(said) => {
            assert!(said.contains("worst case in total"), "{said}");
            assert!(!said.contains(": error: "), "accepted with an error: {said}");
        }
        Err(said) => complaints(&said, text),
    }
}

/// Each complaint names the file, a line and a column that are there, and shows the line below.
fn complaints(said: &str, text: &str) {
    let mut errors = 0;
    for line in said.lines() {
        if line.starts_with(' ') {
            continue;
        }
        let mut parts = line.splitn(4, ':');
        assert_eq!(parts.next(), Some(NAME), "{line:?} in {said}");
        let second = parts.next().unwrap_or_default();
        if second.ends_with(" warnings") {
            continue;
        }
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<usize>().ok());
        let place = (number(Some(second)), number(parts.next()));
        let (Some(row @ 1..), Some(column @ 1..)) = place else { panic!("{line:?} in {said}") };
        assert!(row <= text.matches('\n').count() + 1, "{line:?}");
        let width = text.split('\n').nth(row - 1).unwrap_or_default().chars().count();
        assert!(column <= width + 1, "{line:?}");
        let kind = parts.next().unwrap_or_default();
        let known = kind.starts_with(" error: ") || kind.starts_with(" warning: ");
        assert!(known, "{line:?}");
        errors += usize::from(kind.starts_with(" error: "));
    }
    assert!(errors > 0, "refused without an error: {said}");
    let harmless = |c: char| c == '\n' || !c.is_control();
    assert!(said.chars().all(harmless), "it steers the terminal: {said:?}");
}

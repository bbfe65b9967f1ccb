//! `anteroom check --defaults`: every key with its default and its meaning, as a file.

use std::fmt::Write;

use super::schema::{FILE, Key, Preset, Section};

/// The file. It can be served as it is: its addresses are examples.
pub(crate) fn file() -> String {
    let mut text = format!(
        "# Every key of anteroom {} with its default. Keys after a # are left out by default;\n\
         # the values beside them are examples. Addresses have no default.\n\n",
        env!("CARGO_PKG_VERSION")
    );
    let tables = |key: &&Key| matches!(key.preset, Preset::Table(_));
    for key in FILE.keys.iter().filter(|key| !tables(key)) {
        add(&mut text, key);
    }
    for key in FILE.keys.iter().filter(tables) {
        if let Preset::Table(section) = &key.preset {
            add_section(&mut text, key, section);
        }
    }
    text
}

fn add_section(text: &mut String, key: &Key, section: &Section) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "\n# {}\n{}", key.meaning, section.title);
    for key in section.keys {
        add(text, key);
    }
}

fn add(text: &mut String, key: &Key) {
    let example = key.example();
    let meaning = key.meaning;
    let _ = match &key.preset {
        Preset::Default(_) | Preset::Needed(_) => writeln!(text, "# {meaning}\n{example}"),
        Preset::Unset { means, .. } => {
            writeln!(text, "# {meaning} Left out: {means}.\n# {example}")
        }
        Preset::Table(section) => {
            let inner: Vec<String> = section.keys.iter().map(Key::example).collect();
            writeln!(text, "# {meaning}\n{} = {{ {} }}", key.name, inner.join(", "))
        }
    };
}

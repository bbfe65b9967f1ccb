//! A crate imports lower floors only; siblings never import each other.

use std::fs;

use crate::run::Runner;

/// The floors of DESIGN.md §2, lowest first. `sim` stands beside the house: it may import every
/// floor below the binary, and nobody imports it.
const FLOORS: [(&str, u8); 13] = [
    ("base", 0),
    ("pool", 1),
    ("spool", 1),
    ("wire", 1),
    ("exchange", 2),
    ("driver", 2),
    ("tls", 2),
    ("proxies", 3),
    ("bus", 3),
    ("worker", 4),
    ("control", 4),
    ("anteroom", 5),
    ("sim", 5),
];

/// A crate's name and what its manifest imports, in every section.
#[derive(Debug)]
pub(crate) struct Manifest {
    name: String,
    imports: Vec<String>,
}

impl Manifest {
    fn parse(name: &str, text: &str) -> Self {
        let mut imports = Vec::new();
        let mut dependencies = false;
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[') {
                dependencies = section.trim_end_matches(']').ends_with("dependencies");
                // `[dependencies.name]` is a section of its own.
                if let Some((_, name)) = section.trim_end_matches(']').split_once("dependencies.") {
                    imports.push(name.to_owned());
                }
            } else if dependencies && !line.starts_with('#') {
                let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
                if !name.is_empty() {
                    imports.push(name.to_owned());
                }
            }
        }
        Self { name: name.to_owned(), imports }
    }
}

/// The manifests of all crates of the house.
pub(crate) fn manifests(runner: &Runner) -> Vec<Manifest> {
    let Ok(entries) = fs::read_dir(runner.path("crates")) else { return Vec::new() };
    let mut all: Vec<Manifest> = entries
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join("Cargo.toml")).ok()?;
            Some(Manifest::parse(&entry.file_name().to_string_lossy(), &text))
        })
        .collect();
    all.sort_by(|one, two| one.name.cmp(&two.name));
    all
}

/// Every import that does not lead downwards.
pub(crate) fn breaches(manifests: &[Manifest]) -> Vec<String> {
    let floor =
        |name: &str| FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor);
    let mut found = Vec::new();
    for Manifest { name, imports } in manifests {
        let Some(here) = floor(name) else {
            found.push(format!("`{name}` has no floor: give it one in xtask and in the design"));
            continue;
        };
        for import in imports {
            if let Some(there) = floor(import).filter(|there| *there >= here) {
                found.push(format!("`{name}` (floor {here}) imports `{import}` (floor {there})"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches_of(name: &str, manifest: &str) -> Vec<String> {
        breaches(&[Manifest::parse(name, manifest)])
    }

    #[test]
    fn downwards_is_allowed() {
        let manifest = "[package]\nname = \"worker\"\n[dependencies]\nbase.workspace = true\n\
                        bus = { workspace = true }\n[dev-dependencies]\nproptest.workspace = true\n";
        assert!(breaches_of("worker", manifest).is_empty());
    }

    #[test]
    fn sideways_and_upwards_are_found_in_every_section() {
        assert_eq!(breaches_of("pool", "[dependencies]\nwire.workspace = true\n").len(), 1);
        assert_eq!(breaches_of("bus", "[dev-dependencies]\nworker.workspace = true\n").len(), 1);
        assert_eq!(breaches_of("bus", "[dependencies.worker]\npath = \"../worker\"\n").len(), 1);
        assert_eq!(breaches_of("worker", "[dependencies]\nsim.workspace = true\n").len(), 1);
        assert_eq!(breaches_of("cellar", "[dependencies]\n").len(), 1);
    }
}

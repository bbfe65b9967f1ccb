//! A planted bug: a text that says what is wrong, and where.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Where they stand.
pub(crate) const FOLDER: &str = "crates/sim/planted";

/// One bug that somebody could have written.
#[derive(Debug)]
pub(crate) struct Plant {
    /// The name of its file.
    pub(crate) name: String,
    /// What it says.
    pub(crate) text: PlantText,
}

/// What its file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlantText {
    /// The law of the design that is broken, 1 to 10.
    pub(crate) law: u32,
    /// What is wrong with the code.
    pub(crate) wrong: String,
    /// What somebody who uses anteroom would see of it.
    pub(crate) seen: String,
    /// Where.
    pub(crate) edit: Vec<Edit>,
}

/// A text that is replaced by another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// The file, from the project's root.
    pub(crate) file: String,
    /// What stands there, exactly once.
    pub(crate) find: String,
    /// What stands there instead.
    pub(crate) plant: String,
}

impl Plant {
    /// All of them by name, or what is wrong with one.
    pub(crate) fn all(root: &Path) -> Result<Vec<Self>, String> {
        let folder = root.join(FOLDER);
        let listed = fs::read_dir(&folder).map_err(|error| format!("{FOLDER}: {error}"))?;
        let paths = listed.flatten().map(|entry| entry.path());
        let mut paths: Vec<_> =
            paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Result<Self, String> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let text: PlantText = toml::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
        match text {
            PlantText { law: 1..=10, ref edit, .. } if !edit.is_empty() => Ok(Self { name, text }),
            PlantText { law: 1..=10, .. } => Err(format!("{name}: changes nothing")),
            PlantText { law, .. } => Err(format!("{name}: there is no law {law}")),
        }
    }

    /// The files it changes, each with its text before and with the bug in it.
    pub(crate) fn changed(&self, root: &Path) -> Result<Vec<Changed>, String> {
        let mut changed: Vec<Changed> = Vec::new();
        for edit in &self.text.edit {
            let place = changed.iter().position(|other| other.file == edit.file);
            if place.is_none() {
                let read = fs::read_to_string(root.join(&edit.file));
                let before = read.map_err(|error| format!("{}: {error}", edit.file))?;
                changed.push(Changed { file: edit.file.clone(), after: before.clone(), before });
            }
            let place = place.unwrap_or(changed.len() - 1);
            let text = &mut changed[place];
            text.after =
                edit.apply(&text.after).map_err(|wrong| format!("{}: {wrong}", self.name))?;
        }
        Ok(changed)
    }
}

/// A file with a bug planted in it.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) file: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

impl Edit {
    fn apply(&self, text: &str) -> Result<String, String> {
        let Self { file, find, plant } = self;
        match text.matches(find.as_str()).count() {
            _ if find == plant => Err(format!("what is planted in {file} stands there already")),
            1 => Ok(text.replacen(find, plant, 1)),
            0 => Err(format!("{file} does not hold what is to be replaced any more")),
            more => Err(format!("{file} holds what is to be replaced {more} times")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::root;

    #[test]
    fn each_planted_bug_still_has_its_place() {
        let plants = Plant::all(&root()).unwrap();
        assert!(plants.len() >= 20, "only {} bugs are planted", plants.len());
        for plant in &plants {
            let changed = plant.changed(&root()).unwrap();
            assert!(changed.iter().all(|it| it.before != it.after), "{}", plant.name);
            assert!(plant.text.wrong.len() > 20 && plant.text.seen.len() > 20, "{}", plant.name);
        }
    }

    #[test]
    fn a_text_that_stands_nowhere_or_twice_is_refused() {
        let edit = |find: &str, plant: &str| Edit {
            file: "a.rs".to_owned(),
            find: find.to_owned(),
            plant: plant.to_owned(),
        };
        assert_eq!(edit("b", "c").apply("abd"), Ok("acd".to_owned()));
        assert!(edit("b", "c").apply("acd").unwrap_err().contains("any more"));
        assert!(edit("b", "c").apply("abb").unwrap_err().contains("2 times"));
        assert!(edit("b", "b").apply("abd").unwrap_err().contains("already"));
    }
}

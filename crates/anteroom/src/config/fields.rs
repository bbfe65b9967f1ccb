//! Reads the values of one table; whatever is wrong with one is gathered, and the others are
//! read all the same.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::schema::{FILE, Key, Preset, SECTIONS, Section};
use crate::quantity::{parse_duration, parse_size};
use crate::settings::{Complaints, Given};

/// How alike two names must be for one to be suggested instead of the other.
const ALIKE: f64 = 0.6;

/// A table, the keys it may have, and where it begins.
pub(crate) struct Fields<'t> {
    table: &'t DeTable<'t>,
    section: &'static Section,
    span: Range<usize>,
}

/// An element of a list.
pub(crate) enum Entry<'t> {
    Text(Given<&'t str>),
    Table(Fields<'t>),
}

/// An element of a list that is a text, or a list of texts.
pub(crate) struct Names<'t> {
    pub(crate) names: Vec<Given<&'t str>>,
    pub(crate) span: Option<Range<usize>>,
}

impl<'t> Fields<'t> {
    /// The values of `table`; complains of keys that `section` does not know.
    pub(crate) fn open(
        table: &'t DeTable<'t>,
        section: &'static Section,
        span: Range<usize>,
        complaints: &mut Complaints,
    ) -> Self {
        for (name, value) in table {
            let found: &str = name.get_ref();
            if section.key(found).is_none() {
                let text = unknown(section, found, value.get_ref());
                complaints.error(Some(name.span()), text);
            }
        }
        Self { table, section, span }
    }

    /// Where the table begins.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Whether a value is there, right or wrong.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        debug_assert!(self.section.key(name).is_some(), "{name} is no key of the schema");
        self.table.get(name)
    }

    /// Complains that a value must be given.
    pub(crate) fn missing(&self, name: &str, complaints: &mut Complaints) {
        let title = self.section.title;
        let example = self.section.key(name).map(Key::example).unwrap_or_default();
        let text = format!("{title} has no `{name}`: add one, as in {example}");
        complaints.error(Some(self.span()), text);
    }

    /// A value of another type than is wanted.
    fn wrong_type(
        &self,
        name: &str,
        wanted: &str,
        value: &Spanned<DeValue<'_>>,
        complaints: &mut Complaints,
    ) {
        let example = self.section.key(name).map(Key::example).unwrap_or_default();
        let is = kind(value.get_ref());
        let text = format!("`{name}` takes {wanted}, and this is {is}: write {example}");
        complaints.error(Some(value.span()), text);
    }

    /// A text.
    pub(crate) fn text(&self, name: &str, complaints: &mut Complaints) -> Option<Given<&'t str>> {
        let value = self.get(name)?;
        if let DeValue::String(text) = value.get_ref() {
            return Some(Given::at(text.as_ref(), value.span()));
        }
        self.wrong_type(name, "a text in quotes", value, complaints);
        None
    }

    /// A text that `parse` reads, whose errors begin behind the text.
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
        complaints: &mut Complaints,
    ) -> Option<Given<T>> {
        let text = self.text(name, complaints)?;
        parsed(name, text, parse, complaints)
    }

    /// A length of time.
    pub(crate) fn duration(
        &self,
        name: &str,
        complaints: &mut Complaints,
    ) -> Option<std::time::Duration> {
        let value = self.get(name)?;
        if let DeValue::Integer(number) = value.get_ref() {
            let text = format!("`{name}` needs a unit: write {name} = \"{number}s\", or ms, m, h");
            complaints.error(Some(value.span()), text);
            return None;
        }
        Some(self.parsed(name, parse_duration, complaints)?.value)
    }

    /// A size: a text with a unit, or a number of bytes.
    pub(crate) fn size(&self, name: &str, complaints: &mut Complaints) -> Option<Given<u64>> {
        let value = self.get(name)?;
        if let DeValue::Integer(number) = value.get_ref() {
            let bytes = integer(number).and_then(|number| u64::try_from(number).ok());
            if bytes.is_none() {
                let text = format!(
                    "`{name}` is a size: write a number of bytes above zero, or one with a unit, as in 64MiB"
                );
                complaints.error(Some(value.span()), text);
            }
            return bytes.map(|bytes| Given::at(bytes, value.span()));
        }
        self.parsed(name, parse_size, complaints)
    }

    /// A whole number within bounds.
    pub(crate) fn count(
        &self,
        name: &str,
        bounds: RangeInclusive<u32>,
        complaints: &mut Complaints,
    ) -> Option<Given<u32>> {
        let value = self.get(name)?;
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(name, "a whole number", value, complaints);
            return None;
        };
        let number = integer(number).and_then(|number| u32::try_from(number).ok());
        let Some(number) = number.filter(|number| bounds.contains(number)) else {
            let (least, most) = (bounds.start(), bounds.end());
            let text = format!("`{name}` must be {least} to {most}");
            complaints.error(Some(value.span()), text);
            return None;
        };
        Some(Given::at(number, value.span()))
    }

    /// A table whose keys are names that nobody knows beforehand, and whose values are texts.
    pub(crate) fn names(
        &self,
        name: &str,
        complaints: &mut Complaints,
    ) -> Vec<(Given<&'t str>, Given<&'t str>)> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(name, "a table of names", value, complaints);
            return Vec::new();
        };
        if table.is_empty() {
            let example = self.section.key(name).map(Key::example).unwrap_or_default();
            let text = format!("`{name}` is empty: name at least one, as in {example}");
            complaints.error(Some(value.span()), text);
        }
        let mut read = Vec::new();
        for (key, value) in table {
            match value.get_ref() {
                DeValue::String(text) => read.push((
                    Given::at(key.get_ref().as_ref(), key.span()),
                    Given::at(text.as_ref(), value.span()),
                )),
                _ => self.wrong_type(name, "texts in quotes", value, complaints),
            }
        }
        read
    }

    /// Complains of a value that is of no use where it stands.
    pub(crate) fn misplaced(&self, name: &str, remedy: &str, complaints: &mut Complaints) {
        if let Some(value) = self.get(name) {
            complaints.error(Some(value.span()), format!("`{name}` {remedy}"));
        }
    }

    /// Whether a table is left out on purpose: `name = false`.
    pub(crate) fn is_off(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value.get_ref(), DeValue::Boolean(false)))
    }

    /// `true` or `false`.
    pub(crate) fn switch(&self, name: &str, complaints: &mut Complaints) -> Option<bool> {
        self.given_switch(name, complaints).map(|given| given.value)
    }

    /// The same with its place.
    pub(crate) fn given_switch(
        &self,
        name: &str,
        complaints: &mut Complaints,
    ) -> Option<Given<bool>> {
        let value = self.get(name)?;
        if let DeValue::Boolean(on) = value.get_ref() {
            return Some(Given::at(*on, value.span()));
        }
        self.wrong_type(name, "true or false", value, complaints);
        None
    }

    /// One of some words.
    pub(crate) fn choice<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
        complaints: &mut Complaints,
    ) -> Option<Given<T>> {
        let given = self.text(name, complaints)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == given.value) {
            return Some(given.map(|_| *value));
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let remedy = or_list("write", &names, given.value);
        complaints.error(given.span, format_args!("`{name}` = \"{}\": {remedy}", given.value));
        None
    }

    /// At least one text, each read by `parse`; those that cannot be read are left out.
    pub(crate) fn list<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
        complaints: &mut Complaints,
    ) -> Vec<Given<T>> {
        if let Some(value) = self.get(name)
            && value.get_ref().as_array().is_some_and(|values| values.is_empty())
        {
            let example = self.section.key(name).map(Key::example).unwrap_or_default();
            let text = format!("`{name}` is empty: name at least one, as in {example}");
            complaints.error(Some(value.span()), text);
        }
        self.any_list(name, parse, complaints)
    }

    /// Texts, maybe none.
    pub(crate) fn any_list<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
        complaints: &mut Complaints,
    ) -> Vec<Given<T>> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let DeValue::Array(values) = value.get_ref() else {
            self.wrong_type(name, "a list of texts in square brackets", value, complaints);
            return Vec::new();
        };
        let mut read = Vec::new();
        for element in values {
            match element.get_ref() {
                DeValue::String(text) => {
                    let text = Given::at(text.as_ref(), element.span());
                    read.extend(parsed(name, text, &parse, complaints));
                }
                _ => self.wrong_type(name, "texts in quotes", element, complaints),
            }
        }
        read
    }

    /// At least one text or table; what is neither is left out.
    pub(crate) fn entries(
        &self,
        name: &str,
        section: &'static Section,
        complaints: &mut Complaints,
    ) -> Vec<Entry<'t>> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let DeValue::Array(values) = value.get_ref() else {
            self.wrong_type(name, "a list of texts in square brackets", value, complaints);
            return Vec::new();
        };
        if values.is_empty() {
            let example = self.section.key(name).map(Key::example).unwrap_or_default();
            let text = format!("`{name}` is empty: name at least one, as in {example}");
            complaints.error(Some(value.span()), text);
        }
        let mut read = Vec::new();
        for element in values {
            match element.get_ref() {
                DeValue::String(text) => {
                    read.push(Entry::Text(Given::at(text.as_ref(), element.span())));
                }
                DeValue::Table(table) => {
                    let fields = Self::open(table, section, element.span(), complaints);
                    read.push(Entry::Table(fields));
                }
                _ => self.wrong_type(name, "texts in quotes or tables", element, complaints),
            }
        }
        read
    }

    /// At least one text or list of texts; what is neither is left out.
    pub(crate) fn sets(&self, name: &str, complaints: &mut Complaints) -> Vec<Names<'t>> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let DeValue::Array(values) = value.get_ref() else {
            self.wrong_type(name, "a list of texts in square brackets", value, complaints);
            return Vec::new();
        };
        let is_empty = |value: &DeValue<'_>| matches!(value, DeValue::Array(all) if all.is_empty());
        for element in values.iter().chain([value]).filter(|one| is_empty(one.get_ref())) {
            let example = self.section.key(name).map(Key::example).unwrap_or_default();
            let text = format!("`{name}` is empty: name at least one, as in {example}");
            complaints.error(Some(element.span()), text);
        }
        let inner = |value: &'t Spanned<DeValue<'t>>| match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            _ => vec![value],
        };
        let mut read = Vec::new();
        for element in values {
            let mut names = Vec::new();
            for value in inner(element) {
                match value.get_ref() {
                    DeValue::String(text) => {
                        names.push(Given::at(text.as_ref(), value.span()));
                    }
                    _ => self.wrong_type(name, "texts in quotes", value, complaints),
                }
            }
            if !names.is_empty() {
                read.push(Names { names, span: Some(element.span()) });
            }
        }
        read
    }

    /// The values of a table below this one.
    pub(crate) fn table(
        &self,
        name: &str,
        section: &'static Section,
        complaints: &mut Complaints,
    ) -> Option<Self> {
        let value = self.get(name)?;
        if let DeValue::Table(table) = value.get_ref() {
            return Some(Self::open(table, section, value.span(), complaints));
        }
        let text = format!("`{name}` is a table: write {}", table_example(name, section));
        complaints.error(Some(value.span()), text);
        None
    }

    /// The values of each `[[name]]`.
    pub(crate) fn tables(
        &self,
        name: &str,
        section: &'static Section,
        complaints: &mut Complaints,
    ) -> Vec<Self> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let wrong =
            format!("`{name}` may repeat: write [[{name}]] with two brackets above its keys");
        let DeValue::Array(elements) = value.get_ref() else {
            complaints.error(Some(value.span()), wrong);
            return Vec::new();
        };
        if elements.is_empty() {
            complaints.error(Some(value.span()), &wrong);
        }
        let mut tables = Vec::new();
        for element in elements {
            match element.get_ref() {
                DeValue::Table(table) => {
                    tables.push(Self::open(table, section, element.span(), complaints));
                }
                _ => complaints.error(Some(element.span()), &wrong),
            }
        }
        tables
    }
}

pub(crate) fn parsed<T>(
    name: &str,
    text: Given<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
    complaints: &mut Complaints,
) -> Option<Given<T>> {
    match parse(text.value) {
        Ok(value) => Some(Given { value, span: text.span }),
        Err(remedy) => {
            complaints.error(text.span, format_args!("`{name}` = \"{}\": {remedy}", text.value));
            None
        }
    }
}

/// What a key that is not known might have meant.
fn unknown(section: &Section, found: &str, value: &DeValue<'_>) -> String {
    let thing = match value {
        DeValue::Table(_) => "table",
        DeValue::Array(values) if values.iter().any(|one| one.get_ref().is_table()) => "table",
        _ => "key",
    };
    let text = format!("unknown {thing} `{found}` in {}", section.title);
    // What is written as a table was hardly meant as a key of one, and the other way round.
    let alike = |key: &Key| matches!(key.preset, Preset::Table(_)) == (thing == "table");
    let elsewhere = SECTIONS.iter().find(|other| other.key(found).is_some_and(alike));
    if let Some(other) = elsewhere {
        let place = if std::ptr::eq(*other, &raw const FILE) {
            "at the top of the file, before any table".to_owned()
        } else {
            format!("in {}", other.title)
        };
        return format!("{text}: it stands {place}");
    }
    let names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
    format!("{text}: {}", or_list("known are", &names, found))
}

/// Suggests the most similar name, or names all of them.
pub(crate) fn or_list(verb: &str, names: &[&str], found: &str) -> String {
    match similar(names, found) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("{verb} {}", names.join(", ")),
    }
}

fn similar<'n>(names: &[&'n str], found: &str) -> Option<&'n str> {
    let found = found.to_lowercase().replace('-', "_");
    names
        .iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(name, &found), *name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A value's type, as one would say it.
const fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn table_example(name: &str, section: &Section) -> String {
    let example = section.keys.first().map(Key::example).unwrap_or_default();
    format!("{name} = {{ {example} }}")
}

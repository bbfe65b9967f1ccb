//! What anteroom says of itself, read as Prometheus would.

use std::collections::BTreeMap;

/// One scrape: `name{label="value",…}` → figure, labels sorted by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    figures: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

impl Metrics {
    /// Reads the text exposition format; comments are skipped.
    ///
    /// # Panics
    /// On a line that is neither a comment nor `name{labels} figure`.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { figures: lines.map(parse_line).collect() }
    }

    /// The sum of all figures of this name whose labels include these.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.select(name, labels).map(|(_, figure)| figure).sum()
    }

    /// Whether there is a figure of this name with these labels.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.select(name, labels).next().is_some()
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.figures.keys().map(|(name, _)| name.as_str())
    }

    /// The values that a label takes under a name.
    pub fn label_values(&self, name: &str, label: &str) -> Vec<String> {
        let keys = self.select(name, &[]);
        keys.filter_map(|(labels, _)| labels.get(label).cloned()).collect()
    }

    fn select<'m>(
        &'m self,
        name: &'m str,
        labels: &'m [(&'m str, &'m str)],
    ) -> impl Iterator<Item = (&'m BTreeMap<String, String>, f64)> {
        self.figures.iter().filter_map(move |((its_name, its_labels), figure)| {
            let same = |&(label, value): &(&str, &str)| {
                its_labels.get(label).is_some_and(|has| has == value)
            };
            (its_name == name && labels.iter().all(same)).then_some((its_labels, *figure))
        })
    }
}

fn parse_line(line: &str) -> ((String, BTreeMap<String, String>), f64) {
    let (series, figure) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no figure: {line:?}"));
    let figure = figure.parse().unwrap_or_else(|_| panic!("no figure: {line:?}"));
    let Some((name, rest)) = series.split_once('{') else {
        return ((series.to_owned(), BTreeMap::new()), figure);
    };
    let labels = rest.strip_suffix('}').unwrap_or_else(|| panic!("no closing brace: {line:?}"));
    let labels = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("no label: {line:?}"));
        (name.to_owned(), value.trim_matches('"').to_owned())
    });
    ((name.to_owned(), labels.collect()), figure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_exposition_format() {
        let text =
            "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"p\"} 2\na{x=\"2\",y=\"p\"} 3\nb 4.5\n";
        let metrics = Metrics::parse(text);
        assert!((metrics.sum("a", &[]) - 5.0).abs() < f64::EPSILON);
        assert!((metrics.sum("a", &[("x", "2")]) - 3.0).abs() < f64::EPSILON);
        assert!((metrics.sum("b", &[]) - 4.5).abs() < f64::EPSILON);
        assert!(metrics.has("a", &[("y", "p")]) && !metrics.has("a", &[("y", "q")]));
        assert_eq!(metrics.label_values("a", "x"), ["1", "2"]);
    }
}

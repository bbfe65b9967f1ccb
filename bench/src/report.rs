//! What a row found: claims that hold or do not, and tables to read beside them.

use std::fmt::Write as _;

use crate::statistics::Spread;
use crate::table::Table;

/// Something that must hold.
pub(crate) struct Claim {
    /// What was measured, with its unit.
    pub(crate) what: String,
    /// The most it may be.
    pub(crate) limit: f64,
    /// What it should be.
    pub(crate) aim: Option<f64>,
    /// What it is, over all rounds; none when it was not measured.
    pub(crate) found: Option<Spread>,
}

impl Claim {
    /// Whether the median keeps the limit.
    fn holds(&self) -> bool {
        self.found.is_some_and(|found| found.median <= self.limit)
    }

    fn cells(&self) -> Vec<String> {
        let verdict = if self.holds() { "yes" } else { "**no**" };
        let found = self.found.map_or("not measured".to_owned(), |found| shown(&found));
        vec![
            self.what.clone(),
            number(self.limit),
            self.aim.map_or("–".to_owned(), number),
            found,
            verdict.to_owned(),
        ]
    }
}

fn number(value: f64) -> String {
    format!("{value}")
}

/// Ratios need their decimals, bytes do not.
fn shown(spread: &Spread) -> String {
    if spread.median.abs() < 10.0 { spread.to_string() } else { format!("{spread:.0}") }
}

/// The titles of the claims' table: [`crate::document`] finds it by them.
pub(crate) const TITLES: [&str; 5] =
    ["what", "at most", "aim", "measured: median (least–most)", "holds"];

/// What one row found.
#[derive(Default)]
pub(crate) struct Report {
    claims: Vec<Claim>,
    rest: String,
}

impl Report {
    /// Adds something that must hold.
    pub(crate) fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    /// Adds a table.
    pub(crate) fn table(&mut self, table: &Table) {
        let _ = write!(self.rest, "\n{table}");
    }

    /// Adds a paragraph.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.rest, "\n{text}");
    }

    /// The whole as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut claims = Table::new(&TITLES);
        self.claims.iter().for_each(|claim| claims.row(claim.cells()));
        format!("{claims}{}", self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_holds_by_its_median() {
        let claim = |median| Claim {
            what: "CPU against nginx".to_owned(),
            limit: 0.95,
            aim: Some(0.8),
            found: Spread::of([median, 0.1, 2.0]),
        };
        let mut report = Report::default();
        report.claim(claim(0.9));
        report.claim(claim(0.96));
        report.claim(Claim { found: None, ..claim(0.0) });
        let text = report.markdown();
        let lines = text.lines().skip(2);
        let squeezed = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let name = "CPU against nginx";
        let wanted = [
            format!("| {name} | 0.95 | 0.8 | 0.90 (0.10–2.00) | yes |"),
            format!("| {name} | 0.95 | 0.8 | 0.96 (0.10–2.00) | **no** |"),
            format!("| {name} | 0.95 | 0.8 | not measured | **no** |"),
        ];
        assert_eq!(squeezed.collect::<Vec<_>>(), wanted);
    }
}

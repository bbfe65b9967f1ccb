//! `docs/conformance.md` against the code: each test that it names exists, each requirement that
//! is met names one, and its figures are those of its rows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::run::Runner;

const DOCUMENT: &str = "docs/conformance.md";
/// The headings of the tables, one for each RFC.
const RFCS: [&str; 2] = ["## RFC 9110", "## RFC 9112"];
/// How often each RFC says MUST, MUST NOT, SHALL or REQUIRED, but for the paragraph that explains
/// these words.
const TOTALS: [usize; 2] = [204, 85];
/// The heading of the table that lists what is asked of others.
const OTHERS: &str = "## What is asked of others";
/// What becomes of a requirement.
const VERDICTS: [&str; 4] = ["met", "refused", "n/a", "not met"];
/// Folders that the paths of tests begin in.
const FOLDERS: [&str; 2] = ["crates/", ""];

/// What is wrong with the document.
pub(crate) fn breaches(runner: &Runner) -> Vec<String> {
    let text = match fs::read_to_string(runner.path(DOCUMENT)) {
        Ok(text) => text,
        Err(error) => return vec![format!("{DOCUMENT}: {error}")],
    };
    let source = |path: &str| {
        let mut places = FOLDERS.iter().map(|folder| runner.path(&format!("{folder}{path}")));
        places.find_map(|place| fs::read_to_string(place).ok())
    };
    [absent(&text, source), faults(&text), miscounts(&text, TOTALS)].concat()
}

/// Tests that are named but are not there; `source` gives the text of a file.
fn absent(text: &str, source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let exists =
        |path: &str, test: &str| source(path).is_some_and(|source| has_test(&source, test));
    let named = named(text).into_iter().filter(|(path, test)| !exists(path, test));
    named.map(|(path, test)| format!("{path} has no test `{test}`")).collect()
}

/// The tests that are named: path and function.
fn named(text: &str) -> BTreeSet<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|name| name.split_once("::"))
        .filter(|(path, _)| Path::new(path).extension().is_some_and(|ending| ending == "rs"))
        .collect()
}

/// Whether a source has a function of this name with `#[test]` before it, and nothing that keeps it
/// from running.
fn has_test(source: &str, name: &str) -> bool {
    let begins = format!("fn {name}(");
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    lines.iter().enumerate().filter(|(_, line)| line.starts_with(&begins)).any(|(at, _)| {
        let before = lines[..at].iter().rev();
        let attributes: Vec<_> = before.take_while(|line| line.starts_with("#[")).collect();
        attributes.contains(&&"#[test]")
            && !attributes.iter().any(|line| line.starts_with("#[ignore"))
    })
}

/// A row of an RFC's table.
struct Row<'t> {
    line: &'t str,
    number: Option<usize>,
    verdict: &'t str,
    has_tests: bool,
}

/// The rows below a heading, up to the next one.
fn cells<'t>(text: &'t str, heading: &str) -> Vec<(&'t str, Vec<&'t str>)> {
    let below = text.lines().skip_while(|line| *line != heading).skip(1);
    let section = below.take_while(|line| !line.starts_with("## "));
    let rows = section.filter(|line| line.starts_with('|')).skip(2);
    rows.map(|line| (line, line.trim_matches('|').split('|').map(str::trim).collect())).collect()
}

fn rows<'t>(text: &'t str, heading: &str) -> Vec<Row<'t>> {
    let row = |(line, cells): (&'t str, Vec<&'t str>)| match cells[..] {
        [_, number, _, _, verdict, tests] => {
            Row { line, number: number.parse().ok(), verdict, has_tests: tests.contains("::") }
        }
        _ => Row { line, number: None, verdict: "", has_tests: false },
    };
    cells(text, heading).into_iter().map(row).collect()
}

/// Rows that do not say what they must: how many requirements, what becomes of them, which tests
/// show it.
fn faults(text: &str) -> Vec<String> {
    let rows = RFCS.iter().flat_map(|heading| rows(text, heading));
    let whole = |row: &Row<'_>| {
        row.number.is_some()
            && VERDICTS.contains(&row.verdict)
            && (row.has_tests || row.verdict == "n/a")
    };
    rows.filter(|row| !whole(row)).map(|row| format!("not a whole row: {}", row.line)).collect()
}

/// What is asked of others: the sums of the numbers in parentheses, a column for each RFC.
fn others(text: &str) -> [usize; 2] {
    let numbers = |cell: &str| -> usize {
        cell.split('(')
            .skip(1)
            .filter_map(|rest| rest.split(')').next()?.parse::<usize>().ok())
            .sum()
    };
    let rows = cells(text, OTHERS);
    [1, 2].map(|column| {
        rows.iter().filter_map(|(_, cells)| cells.get(column)).map(|c| numbers(c)).sum()
    })
}

/// Figures that are not those of the rows.
fn miscounts(text: &str, totals: [usize; 2]) -> Vec<String> {
    let rows = RFCS.map(|heading| rows(text, heading));
    let mut figures = vec![("others'", others(text))];
    for verdict in VERDICTS {
        let of = |rows: &[Row<'_>]| {
            rows.iter().filter(|row| row.verdict == verdict).filter_map(|row| row.number).sum()
        };
        figures.push((verdict, [of(&rows[0]), of(&rows[1])]));
    }
    let sum = |column: usize| figures.iter().map(|(_, numbers)| numbers[column]).sum::<usize>();
    let mut found = Vec::new();
    for (column, heading) in RFCS.iter().enumerate() {
        if sum(column) != totals[column] {
            found.push(format!("{heading}: {} of {} requirements", sum(column), totals[column]));
        }
    }
    figures.push(("in the text", totals));
    let told = figures
        .iter()
        .map(|(what, [one, two])| format!("| {what} | {one} | {two} | {} |", one + two));
    let told = told.chain([format!("names {} tests", named(text).len())]);
    found.extend(
        told.filter(|told| !text.contains(told)).map(|told| format!("it must say: {told}")),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Conformance\n\
        | | RFC 9110 | RFC 9112 | both |\n|---|---|---|---|\n| in the text | 8 | 3 | 11 |\n\
        | others' | 5 | 1 | 6 |\n| met | 2 | 0 | 2 |\n| refused | 0 | 2 | 2 |\n\
        | n/a | 1 | 0 | 1 |\n| not met | 0 | 0 | 0 |\n\nIt names 2 tests.\n\n\
        ## RFC 9110\n\n| § | n | a | b | | Tests |\n|---|---|---|---|---|---|\n\
        | 1.2 | 2 | a | `b` | met | `a.rs::one` `b/c.rs::two` |\n| 1.3 | 1 | a | b | n/a | |\n\n\
        ## RFC 9112\n\n| § | n | a | b | | Tests |\n|---|---|---|---|---|---|\n\
        | 1.2 | 2 | a | b | refused | `a.rs::one` |\n\n\
        ## What is asked of others\n\n| Who | a | b | Why |\n|---|---|---|---|\n\
        | Caches | §1 (2), §2.3 (3) | §4 (1) | (9) |\n\n## More\n\n| x | y |\n";

    #[test]
    fn a_true_document_is_left_alone() {
        assert_eq!(faults(TEXT), Vec::<String>::new());
        assert_eq!(miscounts(TEXT, [8, 3]), Vec::<String>::new());
    }

    #[test]
    fn figures_that_are_not_those_of_the_rows_are_found() {
        // The text says nothing of these totals, and the rows come to others.
        assert_eq!(miscounts(TEXT, [9, 3]).len(), 2);
        assert_eq!(miscounts(&TEXT.replace("| met | 2 | 0 |", "| met | 2 | 1 |"), [8, 3]).len(), 1);
        assert_eq!(miscounts(&TEXT.replace("names 2", "names 3"), [8, 3]).len(), 1);
        // One sum and two figures.
        assert_eq!(miscounts(&TEXT.replace("§4 (1)", "§4 (2)"), [8, 3]).len(), 2);
        assert_eq!(
            miscounts(&TEXT.replace("| 1.2 | 2 | a | b |", "| 1.2 | 1 | a | b |"), [8, 3]).len(),
            2
        );
    }

    #[test]
    fn rows_without_verdict_number_or_tests_are_found() {
        for (from, to) in [
            ("| n/a |", "| perhaps |"),
            ("| n/a |", "| met |"),
            ("| refused | `a.rs::one` |", "| refused | |"),
            ("| 1.3 | 1 |", "| 1.3 | |"),
            ("| 1.3 | 1 |", "| 1 |"),
        ] {
            // The figures' table is none of the RFCs', and so let alone.
            let (figures, tables) = TEXT.split_at(TEXT.find("## RFC").unwrap_or_default());
            let damaged = figures.to_owned() + &tables.replacen(from, to, 1);
            assert_eq!(faults(&damaged).len(), 1, "{to}");
        }
    }

    #[test]
    fn tests_that_are_not_there_are_found() {
        let source = |path: &str| {
            let there =
                "#[test]\nfn one() {\n}\n\n    #[test]\n    #[should_panic]\n    fn two(x: u8) {";
            (path == "a.rs").then(|| there.to_owned())
        };
        assert_eq!(absent(TEXT, source), ["b/c.rs has no test `two`"]);
        assert!(
            absent(TEXT, |_| Some("#[test]\nfn one() {}\n#[test]\nfn two() {}".into())).is_empty()
        );
        for gone in [
            "",
            "fn one() {}",
            "#[test]\nfn one_more() {}",
            "#[test]\n\nfn one() {}",
            "// fn one()",
            "#[test]\n#[ignore]\nfn one() {}",
        ] {
            assert!(!has_test(gone, "one"), "{gone}");
        }
    }
}

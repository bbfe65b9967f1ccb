//! The places of a Markdown file that this bench writes: what stands between
//! `<!-- bench NAME -->` and `<!-- /bench NAME -->`. Everything else is left as it is.

use crate::report::TITLES;

/// The place where all rows' claims are gathered.
const SUMMARY: &str = "summary";

/// Replaces what stands in a place; a place that is not there yet comes at the end, under a
/// heading.
pub(crate) fn replace(text: &str, name: &str, heading: &str, content: &str) -> String {
    let (open, close) = marks(name);
    let content = format!("{open}\n{}\n{close}", content.trim());
    match place(text, name) {
        Some((start, end)) => format!("{}{content}{}", &text[..start], &text[end..]),
        None => format!("{}\n\n## {heading}\n\n{content}\n", text.trim_end()),
    }
}

/// Gathers the claims of these rows' places into the summary.
pub(crate) fn summarise(text: &str, rows: &[&str]) -> String {
    let mut lines = vec![format!("| row | {} |", TITLES.join(" | ")), "| --- |".to_owned()];
    lines[1].push_str(&" --- |".repeat(TITLES.len()));
    for row in rows {
        let Some((start, end)) = place(text, row) else { continue };
        for line in claims(&text[start..end]) {
            lines.push(format!("| {row} {}", squeezed(line)));
        }
    }
    replace(text, SUMMARY, "Summary", &lines.join("\n"))
}

fn marks(name: &str) -> (String, String) {
    (format!("<!-- bench {name} -->"), format!("<!-- /bench {name} -->"))
}

/// Where a place begins and ends, its marks included.
fn place(text: &str, name: &str) -> Option<(usize, usize)> {
    let (open, close) = marks(name);
    let start = text.find(&open)?;
    let end = start + text[start..].find(&close)? + close.len();
    Some((start, end))
}

/// The lines of the table of claims, without its titles.
fn claims(content: &str) -> impl Iterator<Item = &str> {
    let is_title = |line: &&str| squeezed(line) == format!("| {} |", TITLES.join(" | "));
    let table = content.lines().skip_while(move |line| !is_title(line));
    table.skip(2).take_while(|line| line.starts_with('|'))
}

/// A table's line without the blanks that align it.
fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_replaced_and_nothing_else() {
        let text = "# Figures\nwords\n<!-- bench a -->\nold\n<!-- /bench a -->\nmore words\n";
        let new = replace(text, "a", "A", "new\n");
        assert_eq!(new, text.replace("old", "new"));
        assert_eq!(replace(&new, "a", "A", "old"), text);
    }

    #[test]
    fn a_new_place_comes_last_under_its_heading() {
        let new = replace("words\n", "b", "Row B", "content");
        let wanted = "words\n\n## Row B\n\n<!-- bench b -->\ncontent\n<!-- /bench b -->\n";
        assert_eq!(new, wanted);
    }

    #[test]
    fn claims_are_gathered_in_the_rows_order() {
        let mut report = crate::report::Report::default();
        report.claim(crate::report::Claim {
            what: "memory".to_owned(),
            limit: 128.0,
            aim: None,
            found: crate::statistics::Spread::of([64.0]),
        });
        report.note("| not | a claim |");
        let text = replace("words", "b", "B", &report.markdown());
        let text = replace(&text, "a", "A", &report.markdown());
        let text = summarise(&text, &["a", "b", "c"]);
        let (start, end) = place(&text, SUMMARY).unwrap();
        let lines: Vec<&str> = text[start..end].lines().skip(3).collect();
        assert_eq!(lines[0], "| a | memory | 128 | – | 64 (64–64) | yes |");
        assert_eq!(lines[1], lines[0].replace("| a", "| b"));
        assert_eq!(lines.len(), 3);
    }
}

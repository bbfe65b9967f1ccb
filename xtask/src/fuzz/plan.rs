//! The command line of `cargo xtask fuzz`.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
usage: cargo xtask fuzz [TARGET ...] [--minutes M | --runs N | --smoke | --replay FILE | --merge]

  TARGET         only these of fuzz/targets (all, if none is named), one after the other
  --minutes M    M minutes in all, each target its part (10 unless told)
  --runs N       N inputs for each target
  --smoke        a few seconds for each target, as in `cargo xtask test`
  --replay FILE  check this one input, with what it panics with
  --merge        put what was found since into fuzz/corpus, as little of it as covers the same";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) targets: Vec<String>,
    pub(super) span: Span,
}

/// What becomes of the targets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Span {
    Each(Effort),
    Replay(PathBuf),
    Merge,
}

/// How long one target is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    Seconds(u64),
    Runs(u64),
    /// The corpus, and a few seconds more.
    Smoke,
}

impl Plan {
    /// Reads the command line; `all` are the targets there are.
    pub(super) fn parse(arguments: &[String], all: &[String]) -> Result<Self, String> {
        let mut words = arguments.iter().map(String::as_str);
        let mut targets = Vec::new();
        let mut asked = Vec::new();
        while let Some(word) = words.next() {
            let mut number = || {
                let text = words.next().ok_or(format!("`{word}` wants a number behind it"))?;
                let number = text.parse::<u64>().ok().filter(|number| *number > 0);
                number.ok_or(format!("`{text}` is no number above 0"))
            };
            match word {
                "--minutes" => asked.push(Asked::Minutes(number()?)),
                "--runs" => asked.push(Asked::Runs(number()?)),
                "--smoke" => asked.push(Asked::Smoke),
                "--merge" => asked.push(Asked::Merge),
                "--replay" => {
                    let file = words.next().ok_or("`--replay` wants a file behind it")?;
                    asked.push(Asked::Replay(file.into()));
                }
                name if all.iter().any(|target| target == name) => targets.push(name.to_owned()),
                other => {
                    return Err(format!(
                        "unknown target or flag `{other}`; targets are {}",
                        all.join(", ")
                    ));
                }
            }
        }
        if targets.is_empty() {
            targets = all.to_vec();
        }
        if asked.len() > 1 {
            return Err("one of --minutes, --runs, --smoke, --replay and --merge".to_owned());
        }
        let span = asked.pop().unwrap_or(Asked::Minutes(10)).span(targets.len() as u64);
        if matches!(span, Span::Replay(_)) && targets.len() != 1 {
            return Err("`--replay` goes with one target: name it".to_owned());
        }
        Ok(Self { targets, span })
    }
}

/// A flag.
enum Asked {
    Minutes(u64),
    Runs(u64),
    Smoke,
    Replay(PathBuf),
    Merge,
}

impl Asked {
    fn span(self, targets: u64) -> Span {
        match self {
            Self::Minutes(minutes) => {
                Span::Each(Effort::Seconds((minutes * 60).div_ceil(targets.max(1))))
            }
            Self::Runs(runs) => Span::Each(Effort::Runs(runs)),
            Self::Smoke => Span::Each(Effort::Smoke),
            Self::Replay(file) => Span::Replay(file),
            Self::Merge => Span::Merge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Plan::parse(&words, &["one".to_owned(), "two".to_owned()])
    }

    fn each(line: &str) -> (usize, Effort) {
        match parse(line).unwrap() {
            Plan { targets, span: Span::Each(effort) } => (targets.len(), effort),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn is_understood() {
        assert_eq!(each(""), (2, Effort::Seconds(300)));
        assert_eq!(each("two --minutes 3"), (1, Effort::Seconds(180)));
        assert_eq!(each("--runs 5"), (2, Effort::Runs(5)));
        assert_eq!(each("--smoke"), (2, Effort::Smoke));
        let plan = parse("one --replay a/b").unwrap();
        assert_eq!(plan.span, Span::Replay("a/b".into()));
        assert_eq!(parse("--merge").unwrap().span, Span::Merge);
    }

    #[test]
    fn is_refused_with_what_is_wrong() {
        for (line, wrong) in [
            ("three", "one, two"),
            ("--runs", "number"),
            ("--minutes 0", "above 0"),
            ("--smoke --merge", "one of"),
            ("--replay x", "name it"),
        ] {
            let refusal = parse(line).unwrap_err();
            assert!(refusal.contains(wrong), "{refusal}");
        }
    }
}

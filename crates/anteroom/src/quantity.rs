//! Sizes, durations and counts as people write and read them.

use std::fmt;
use std::time::Duration;

use base::limits;

/// Units of 1024 each: no letter alone, so that nobody has to guess whether `M` is 1000² or 1024².
const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

/// Reads a size: `64MiB`, `2KiB`, `1GiB`, `65536`.
///
/// # Errors
/// When the text is anything else, or more than 2⁶³ bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let shift = match unit {
        "" => 0,
        unit => UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, shift)| *shift)
            .ok_or("write a whole number and B, KiB, MiB, GiB or TiB, as in 64MiB")?,
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| "write a whole number of bytes, or one with a unit, as in 64MiB")?;
    count
        .checked_mul(1 << shift)
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| "no machine has that much".to_owned())
}

/// Reads a duration above zero: `300ms`, `30s`, `5m`, `1h 30m`, `2d`.
///
/// # Errors
/// When the text is no duration, is zero, or is longer than [`limits::TIMEOUT_MAX`].
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let remedy = "write a number and ms, s, m, h or d, and nothing else, as in 300ms, 30s, 5m, 1h 30m, \
                  2d; at most 7d";
    // That would be months, and minutes were meant.
    let length = if text.contains('M') { None } else { humantime::parse_duration(text).ok() };
    let length = length.ok_or(remedy)?;
    if length < Duration::from_millis(1) {
        return Err("must be at least 1ms".to_owned());
    }
    if length > limits::TIMEOUT_MAX {
        return Err(format!("may be at most {}", Length(limits::TIMEOUT_MAX)));
    }
    Ok(length)
}

/// Reads a share: `20%`, from 0 to 100.
///
/// # Errors
/// When the text is no such share.
pub(crate) fn parse_percent(text: &str) -> Result<u32, String> {
    let digits = |number: &&str| number.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.strip_suffix('%').filter(digits).and_then(|number| number.parse().ok());
    let remedy = || "write a whole number of percent from 0 to 100, as in 20%".to_owned();
    number.filter(|share| *share <= 100).ok_or_else(remedy)
}

/// A size with the largest unit that leaves at least 1: `64 MiB`, `1.9 MiB`, `300 B`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, shift) =
            UNITS.into_iter().find(|(_, shift)| self.0 >> shift > 0).unwrap_or(("B", 0));
        let whole = self.0 >> shift;
        let tenths = ((self.0 - (whole << shift)) * 10) >> shift;
        let text = if tenths == 0 || whole >= 100 {
            format!("{whole} {name}")
        } else {
            format!("{whole}.{tenths} {name}")
        };
        f.pad(&text)
    }
}

/// A count with its thousands set apart: `18,000`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// A length of time to two or three digits: `30s`, `1h`, `2.5ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length(pub Duration);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            long if long >= Duration::from_mins(1) => {
                humantime::format_duration(Duration::from_secs(long.as_secs())).to_string()
            }
            seconds if seconds >= Duration::from_secs(1) => figure(seconds.as_secs_f64(), "s"),
            millis if millis >= Duration::from_millis(1) => {
                figure(millis.as_secs_f64() * 1e3, "ms")
            }
            micros => figure(micros.as_secs_f64() * 1e6, "µs"),
        };
        f.pad(&text)
    }
}

/// Two decimals below 10, one below 100, none above, and none that say nothing.
fn figure(value: f64, unit: &str) -> String {
    let decimals = if value >= 100.0 { 0 } else { usize::from(value < 10.0) + 1 };
    let text = format!("{value:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// So many of a thing, in the singular or plural: `1 worker`, `3 retries`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    match (count, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{} {stem}ies", Count(count)),
        (_, None) => format!("{} {thing}s", Count(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_strictly() {
        for (text, bytes) in [
            ("65536", 65_536),
            ("2KiB", 2048),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1GiB", 1 << 30),
            ("0", 0),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "MiB", "64M", "64MB", "1.5GiB", "-1", "+1", "64MiBs", "9999999999TiB", "6 4"]
        {
            assert!(parse_size(text).is_err(), "{text} was read");
        }
    }

    #[test]
    fn shares_are_read_strictly() {
        for (text, share) in [("0%", 0), ("20%", 20), ("100%", 100)] {
            assert_eq!(parse_percent(text), Ok(share), "{text}");
        }
        for text in ["", "%", "20", "101%", "-1%", "+20%", " 20%", "20 %"] {
            assert!(parse_percent(text).is_err(), "{text} was read");
        }
    }

    #[test]
    fn durations_are_read_strictly() {
        for (text, millis) in [("300ms", 300), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "0s", "10us", "-1s", "8days", "1y"] {
            assert!(parse_duration(text).is_err(), "{text} was read");
        }
        assert!(parse_duration("8days").unwrap_err().contains("7days"));
        for (text, seconds) in
            [("1h 30m", 5400), ("1h30m", 5400), ("2d", 172_800), ("5 days", 432_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["5", "5days ago", "5M", "5 S", "5m,3s", "forever"] {
            let told = parse_duration(text).unwrap_err();
            assert!(
                told.starts_with("write a number and ms, s, m, h or d, and nothing else"),
                "{text}"
            );
        }
    }

    #[test]
    fn quantities_are_shown_shortly() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1_536, "1.5 KiB"),
            (64 << 20, "64 MiB"),
            (300 << 20, "300 MiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), shown);
        }
        for (count, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(Count(count).to_string(), shown);
        }
        for (micros, shown) in [
            (0, "0µs"),
            (999, "999µs"),
            (2_500, "2.5ms"),
            (12_340, "12.3ms"),
            (30_000_000, "30s"),
            (3_600_000_000, "1h"),
        ] {
            assert_eq!(Length(Duration::from_micros(micros)).to_string(), shown);
        }
    }
}

//! Moments as logs write them, in UTC, formed once a second.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::choice::Format;

/// Writes moments in the way of one format.
#[derive(Debug)]
pub(crate) struct Stamp {
    format: Format,
    second: u64,
    text: String,
}

impl Stamp {
    /// `2026-11-26T13:16:15.123Z` (RFC 3339), or `26/Nov/2026:13:16:15 +0000`.
    pub(crate) const fn new(format: Format) -> Self {
        Self { format, second: u64::MAX, text: String::new() }
    }

    /// Appends a moment.
    pub(crate) fn push(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            self.text = self.form();
        }
        out.extend_from_slice(self.text.as_bytes());
        if self.format == Format::Json {
            // A vector takes whatever is written.
            let _ = write!(out, ".{:03}Z", since.subsec_millis());
        }
    }

    fn form(&self) -> String {
        let second = i64::try_from(self.second).unwrap_or(i64::MAX);
        let time = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        let form = match self.format {
            Format::Json => "%Y-%m-%dT%H:%M:%S",
            Format::Common => "%d/%b/%Y:%H:%M:%S +0000",
        };
        time.strftime(form).to_string()
    }
}

/// The moment now.
#[expect(clippy::disallowed_methods, reason = "notes of the master, which no simulator runs")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, times: &[SystemTime]) -> Vec<String> {
        let mut stamp = Stamp::new(format);
        let mut one = |time: &SystemTime| {
            let mut out = Vec::new();
            stamp.push(*time, &mut out);
            String::from_utf8(out).unwrap()
        };
        times.iter().map(&mut one).collect()
    }

    #[test]
    fn moments_are_written_as_the_formats_have_them() {
        let base = UNIX_EPOCH + Duration::from_secs(1_795_699_199);
        let times = [base, base + Duration::from_micros(7_999), base + Duration::from_secs(1)];
        assert_eq!(
            written(Format::Json, &times),
            ["2026-11-26T13:19:59.000Z", "2026-11-26T13:19:59.007Z", "2026-11-26T13:20:00.000Z"]
        );
        assert_eq!(
            written(Format::Common, &times),
            [
                "26/Nov/2026:13:19:59 +0000",
                "26/Nov/2026:13:19:59 +0000",
                "26/Nov/2026:13:20:00 +0000"
            ]
        );
    }

    #[test]
    fn no_moment_is_too_early_or_too_late() {
        let late = UNIX_EPOCH + Duration::from_secs(1 << 60);
        let times = written(Format::Json, &[UNIX_EPOCH - Duration::from_secs(1), late]);
        assert_eq!(times[0], "1970-01-01T00:00:00.000Z");
        assert!(times[1].starts_with("9999-12-"), "{}", times[1]);
    }
}

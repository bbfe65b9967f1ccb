//! The calendar time as `Date` fields write it, formed once a second (RFC 9110 §5.6.7).

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An IMF-fixdate, kept until the second changes.
pub(crate) struct DateCache {
    wall: SystemTime,
    second: u64,
    text: [u8; 29],
}

impl DateCache {
    pub(crate) fn new() -> Self {
        let mut cache = Self { wall: UNIX_EPOCH, second: u64::MAX, text: [b' '; 29] };
        cache.refresh(UNIX_EPOCH);
        cache
    }

    pub(crate) fn refresh(&mut self, wall: SystemTime) {
        self.wall = wall;
        let second = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        // The library formats years up to 9999 and panics beyond.
        let second = second.min(253_402_300_799);
        if second == self.second {
            return;
        }
        self.second = second;
        let date = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(second));
        // 29 bytes always suffice: the format has a fixed length.
        let _ = write!(&mut self.text[..], "{date}");
    }

    /// The time itself.
    pub(crate) const fn wall(&self) -> SystemTime {
        self.wall
    }

    pub(crate) const fn text(&self) -> &[u8; 29] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_fixed_format() {
        let mut cache = DateCache::new();
        cache.refresh(UNIX_EPOCH + Duration::from_secs(784_111_777));
        assert_eq!(cache.text(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        cache.refresh(UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX) * 100));
        assert_eq!(&cache.text()[26..], b"GMT");
    }
}

//! Bodies that tell whose they are: each is a stretch of one long random text, and where it begins
//! depends on its number. So any part of any body can be checked anywhere, by comparing slices.

use std::sync::LazyLock;

use base::mix::mix;

/// Places where a body may begin.
const PLACES: usize = 1 << 20;
/// The longest body.
pub(super) const LONGEST: usize = 1 << 20;

static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..(PLACES + LONGEST) / 8).flat_map(|word| mix(word as u64).to_le_bytes()).collect()
});

/// Which body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// That of request `n`.
    Request(u32),
    /// That of the response to request `n`.
    Response(u32),
    /// What an end of a tunnel says.
    End(usize),
}

/// The bytes of a body from `at` on, `length` of them.
pub(super) fn stretch(key: Key, at: usize, length: usize) -> &'static [u8] {
    let number = match key {
        Key::Request(number) => u64::from(number) << 1,
        Key::Response(number) => u64::from(number) << 1 | 1,
        Key::End(number) => (number as u64) << 1 | 1 << 40,
    };
    let begin = usize::try_from(mix(number)).unwrap_or(0) % PLACES;
    let end = (begin + at + length).min(TEXT.len());
    &TEXT[(begin + at).min(end)..end]
}

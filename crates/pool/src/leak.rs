//! Finds what was dropped instead of given back, where it happens.

// For `panicking` alone, and only while debugging: release builds of this crate have no std.
#[cfg(debug_assertions)]
extern crate std;

/// Panics in debug builds when `what` is dropped unsettled, unless a panic is under way.
#[inline]
pub(crate) fn check(settled: bool, what: &str) {
    #[cfg(debug_assertions)]
    assert!(settled || std::thread::panicking(), "{what} was dropped, not given back to its pool");
    #[cfg(not(debug_assertions))]
    let _ = (settled, what);
}

//! loom's atomics, with `SeqCst` as it is.
//!
//! loom takes a sequentially consistent access for one that acquires and releases, and would see
//! both of two threads miss each other that publish and then look. Its fences are exact, so each
//! such access gets one, as a compiler does it for a machine that knows only fences: before each,
//! or behind each. Both are right, and each hides what the other shows (a store that should have
//! been `SeqCst` and is followed by such a load; a load that should have been), so a model is run
//! in both ways.
//!
//! loom looks for orders worth trying from the last access to a cell alone, so that who reads and
//! then exchanges hides from it who read before. Here each access takes a turn first, an exchange
//! that orders nothing, so that no order of two accesses to one cell is left out.

use core::cell::Cell;
use core::fmt;

pub use loom::sync::atomic::{Ordering, fence};

std::thread_local! {
    static BEHIND: Cell<bool> = const { Cell::new(false) };
}

/// Whether the fences of what runs on this thread from now on stand behind accesses.
pub(super) fn fences_behind(behind: bool) {
    BEHIND.set(behind);
}

/// An access with its fence, if it gets one.
fn around<R>(order: Ordering, access: impl FnOnce(Ordering) -> R) -> R {
    if order != Ordering::SeqCst {
        return access(order);
    }
    let behind = BEHIND.get();
    if !behind {
        fence(Ordering::SeqCst);
    }
    let result = access(Ordering::AcqRel);
    if behind {
        fence(Ordering::SeqCst);
    }
    result
}

/// How a load of that order is done once the fences are there.
fn loads(order: Ordering) -> Ordering {
    if order == Ordering::AcqRel { Ordering::Acquire } else { order }
}

/// How a store of that order is done once the fences are there.
fn stores(order: Ordering) -> Ordering {
    if order == Ordering::AcqRel { Ordering::Release } else { order }
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        /// See `core::sync::atomic`.
        #[derive(Default)]
        pub struct $name {
            value: loom::sync::atomic::$name,
            turn: loom::sync::atomic::AtomicUsize,
        }

        impl $name {
            /// Holds `value`.
            pub fn new(value: $value) -> Self {
                let turn = loom::sync::atomic::AtomicUsize::new(0);
                Self { value: loom::sync::atomic::$name::new(value), turn }
            }

            fn access<R>(
                &self,
                order: Ordering,
                access: impl FnOnce(&loom::sync::atomic::$name, Ordering) -> R,
            ) -> R {
                self.turn.fetch_add(1, Ordering::Relaxed);
                around(order, |order| access(&self.value, order))
            }

            /// Reads.
            pub fn load(&self, order: Ordering) -> $value {
                self.access(order, |cell, order| cell.load(loads(order)))
            }

            /// Writes.
            pub fn store(&self, value: $value, order: Ordering) {
                self.access(order, |cell, order| cell.store(value, stores(order)));
            }

            /// Writes, and gives what was there.
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.access(order, |cell, order| cell.swap(value, order))
            }

            /// Writes `new` where `current` is.
            ///
            /// # Errors
            /// What is there instead.
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.access(success, |cell, order| {
                    cell.compare_exchange(current, new, order, loads(weaker(failure)))
                })
            }

            /// Changes what is there as long as `change` says to what.
            ///
            /// # Errors
            /// What is there, if it did not.
            pub fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut seen = self.load(failure);
                while let Some(new) = change(seen) {
                    match self.compare_exchange(seen, new, success, failure) {
                        Ok(before) => return Ok(before),
                        Err(now) => seen = now,
                    }
                }
                Err(seen)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

/// The order of a failure that shares the fence of a success.
fn weaker(order: Ordering) -> Ordering {
    if order == Ordering::SeqCst { Ordering::Acquire } else { order }
}

macro_rules! arithmetic {
    ($name:ident, $value:ty) => {
        atomic!($name, $value);

        impl $name {
            /// Adds, and gives what was there.
            pub fn fetch_add(&self, more: $value, order: Ordering) -> $value {
                self.access(order, |cell, order| cell.fetch_add(more, order))
            }

            /// Subtracts, and gives what was there.
            pub fn fetch_sub(&self, less: $value, order: Ordering) -> $value {
                self.access(order, |cell, order| cell.fetch_sub(less, order))
            }
        }
    };
}

atomic!(AtomicBool, bool);
arithmetic!(AtomicU32, u32);
arithmetic!(AtomicU64, u64);
arithmetic!(AtomicUsize, usize);

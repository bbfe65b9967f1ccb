//! The status of each buffer: how much was written, how much was read, which buffer is next.

use alloc::vec::Vec;
use base::limits::POOL_BUFFERS_MAX;
use core::num::NonZeroU32;
use core::ops::{Index, IndexMut};

/// Names one buffer of a pool. `Option<BufferId>` is 4 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferId(NonZeroU32);

impl BufferId {
    /// The buffer with this number, counted from 0.
    pub(crate) const fn new(index: u32) -> Self {
        debug_assert!(index < POOL_BUFFERS_MAX);
        Self(NonZeroU32::MIN.saturating_add(index))
    }

    /// Its number, counted from 0 at the start of the region.
    pub const fn index(self) -> u32 {
        self.0.get() - 1
    }
}

const ALLOCATED: u32 = 1 << 31;
const SHARED: u32 = 1 << 30;
const NEXT: u32 = SHARED - 1;

const _: () = {
    assert!(POOL_BUFFERS_MAX <= NEXT, "a link must be able to name every buffer");
    assert!(size_of::<Register>() == 8);
    assert!(size_of::<Option<BufferId>>() == 4);
};

/// The 8-byte status of one buffer (the invention's status register 1302).
///
/// Unread bytes are those from `read` to `written`. In the first buffer of a shared chain
/// `read` counts the sharers instead.
#[derive(Clone, Copy)]
pub(crate) struct Register {
    pub(crate) written: u16,
    pub(crate) read: u16,
    /// Bit 31: allocated. Bit 30: first of a shared chain. The rest: the next buffer's number
    /// counted from 1, or 0.
    link: u32,
}

impl Register {
    /// A buffer just lent: unlinked, empty, to be written from `at` on.
    pub(crate) const fn lent(at: u16) -> Self {
        Self { written: at, read: at, link: ALLOCATED }
    }

    /// A buffer given back, on top of the free list whose top was `next`.
    pub(crate) fn free(next: Option<BufferId>) -> Self {
        Self { written: 0, read: 0, link: raw(next) }
    }

    pub(crate) const fn is_allocated(self) -> bool {
        self.link & ALLOCATED != 0
    }

    pub(crate) const fn is_shared(self) -> bool {
        self.link & SHARED != 0
    }

    /// The buffer linked behind this one.
    pub(crate) fn next(self) -> Option<BufferId> {
        NonZeroU32::new(self.link & NEXT).map(BufferId)
    }

    /// Links `next` behind this one.
    pub(crate) fn set_next(&mut self, next: Option<BufferId>) {
        self.link = self.link & !NEXT | raw(next);
    }

    /// Bytes written and not yet read.
    pub(crate) fn unread(self) -> u32 {
        debug_assert!(!self.is_shared(), "a shared buffer is read through cursors");
        u32::from(self.written) - u32::from(self.read)
    }

    /// Makes this the first buffer of a chain with one sharer.
    pub(crate) fn share(&mut self) {
        self.read = 1;
        self.link |= SHARED;
    }
}

fn raw(id: Option<BufferId>) -> u32 {
    id.map_or(0, |id| id.0.get())
}

/// The registers of all buffers ever lent, by buffer.
///
/// Its length is the pool's high-water mark: a buffer never lent has no register yet, so that
/// a large pool that is hardly used touches few pages.
pub(crate) struct Registers(Vec<Register>);

impl Registers {
    /// Room for the registers of `count` buffers, none of them lent yet.
    pub(crate) fn with_capacity(count: u32) -> Self {
        Self(Vec::with_capacity(count as usize))
    }

    /// How many buffers were ever lent.
    #[expect(clippy::cast_possible_truncation, reason = "at most POOL_BUFFERS_MAX")]
    pub(crate) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    /// Gives the next buffer never lent before its register.
    pub(crate) fn push(&mut self, register: Register) -> BufferId {
        debug_assert!(self.0.len() < self.0.capacity(), "more buffers than the region has");
        let id = BufferId::new(self.len());
        self.0.push(register);
        id
    }
}

impl Index<BufferId> for Registers {
    type Output = Register;

    #[inline]
    fn index(&self, id: BufferId) -> &Register {
        &self.0[id.index() as usize]
    }
}

impl IndexMut<BufferId> for Registers {
    #[inline]
    fn index_mut(&mut self, id: BufferId) -> &mut Register {
        &mut self.0[id.index() as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_keeps_link_and_flags_apart() {
        let mut register = Register::lent(7);
        assert!(register.is_allocated() && !register.is_shared());
        assert_eq!((register.next(), register.unread()), (None, 0));
        let last = BufferId::new(POOL_BUFFERS_MAX - 1);
        register.set_next(Some(last));
        register.written = 1000;
        assert_eq!((register.next(), register.unread()), (Some(last), 993));
        register.share();
        assert!(register.is_allocated() && register.is_shared());
        assert_eq!((register.next(), register.read, register.written), (Some(last), 1, 1000));
        register.set_next(None);
        assert!(register.is_allocated() && register.is_shared() && register.next().is_none());
        let freed = Register::free(Some(last));
        assert!(!freed.is_allocated() && !freed.is_shared());
        assert_eq!(freed.next(), Some(last));
    }
}

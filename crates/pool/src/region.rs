//! The memory of all buffers: one anonymous private mapping, fixed at start.
//!
//! The kernel gives it pages as they are first touched, and they read as zeroes until written.

use crate::register::BufferId;
use arrayvec::ArrayVec;
use base::limits::RECEIVE_BUFFERS;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::slice;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Most slices one receive writes to: the rest of a tail buffer and as many fresh ones as one
/// receive fills.
pub const MAX_SPACES: usize = RECEIVE_BUFFERS as usize + 1;

/// Writable pieces of different buffers, in the order they are filled.
pub(crate) type Spaces<'a> = ArrayVec<&'a mut [u8], MAX_SPACES>;

/// Under the address sanitizer (`cargo xtask sanitize`) as many bytes as a buffer has follow each one,
/// and whoever touches them is stopped.
const GAP: u32 = if cfg!(asan) { 1 } else { 0 };

/// `count` buffers of `1 << shift` bytes each, side by side.
pub(crate) struct Region {
    base: NonNull<u8>,
    count: u32,
    shift: u32,
}

// SAFETY: the mapping is private to this value, which is its only owner, and nothing in it is
// tied to a thread.
unsafe impl Send for Region {}

impl Region {
    /// Maps `count` (not 0) buffers of `buffer_bytes` (a power of two) bytes.
    ///
    /// # Errors
    /// What the kernel says when it has no such stretch of address space.
    pub(crate) fn map(count: u32, buffer_bytes: u32) -> Result<Self, Errno> {
        assert!(count > 0 && buffer_bytes.is_power_of_two());
        let step = (buffer_bytes as usize) << GAP;
        let bytes = (count as usize).checked_mul(step).ok_or(Errno::NOMEM)?;
        // A slice must not be longer than isize::MAX, and neither may what it is cut from.
        isize::try_from(bytes).map_err(|_| Errno::NOMEM)?;
        // SAFETY: without an address and MAP_FIXED the kernel chooses a free stretch, so no
        // existing mapping changes.
        let base = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        let region = Self { base, count, shift: buffer_bytes.trailing_zeros() };
        #[cfg(asan)]
        region.fence();
        Ok(region)
    }

    /// Bytes of one buffer.
    pub(crate) const fn buffer_bytes(&self) -> u32 {
        1 << self.shift
    }

    /// All bytes of buffer `id`.
    #[inline]
    pub(crate) fn bytes(&self, id: BufferId) -> &[u8] {
        let start = self.start(id);
        // SAFETY: `start` begins a whole buffer inside the mapping, which lives as long as self
        // and holds initialised bytes (zeroes at first); writing them takes &mut self.
        unsafe { slice::from_raw_parts(start, self.buffer_bytes() as usize) }
    }

    /// All bytes of buffer `id`, to be written.
    #[inline]
    pub(crate) fn bytes_mut(&mut self, id: BufferId) -> &mut [u8] {
        let start = self.start(id);
        // SAFETY: as in `bytes`, and &mut self makes this the only reference into the mapping.
        unsafe { slice::from_raw_parts_mut(start, self.buffer_bytes() as usize) }
    }

    /// Pieces of several buffers at once, for one vectored receive; empty pieces are left out.
    ///
    /// Panics when a buffer comes twice, when a piece exceeds its buffer, or when there are more
    /// than [`MAX_SPACES`].
    pub(crate) fn spaces(
        &mut self,
        pieces: impl Iterator<Item = (BufferId, Range<usize>)>,
    ) -> Spaces<'_> {
        let mut seen: ArrayVec<BufferId, MAX_SPACES> = ArrayVec::new();
        let mut spaces = Spaces::new();
        for (id, piece) in pieces.filter(|(_, piece)| !piece.is_empty()) {
            assert!(!seen.contains(&id), "a buffer would be written through two slices");
            seen.push(id);
            let start = self.start(id);
            // SAFETY: as in `bytes_mut`, except that the slices made so far are alive too; they
            // lie in other buffers, as `seen` has just proved, and all borrow self mutably.
            let bytes: &mut [u8] =
                unsafe { slice::from_raw_parts_mut(start, self.buffer_bytes() as usize) };
            spaces.push(&mut bytes[piece]);
        }
        spaces
    }

    /// Copies the bytes `range` of buffer `from` to buffer `to`, beginning at `at` there.
    pub(crate) fn copy(&mut self, from: BufferId, range: Range<usize>, to: BufferId, at: usize) {
        let mut both = ArrayVec::<_, 2>::new();
        let end = at + range.len();
        both.push((from, range));
        both.push((to, at..end));
        if let [from, to] = self.spaces(both.into_iter()).as_mut_slice() {
            to.copy_from_slice(from);
        }
    }

    /// Where buffer `id` begins. Panics when this region has no such buffer.
    #[inline]
    fn start(&self, id: BufferId) -> *mut u8 {
        assert!(id.index() < self.count, "a buffer of another pool");
        let offset = (id.index() as usize) << (self.shift + GAP);
        // SAFETY: index < count, so the offset is inside the mapping, whose length fits isize.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

#[cfg(asan)]
mod asan {
    unsafe extern "C" {
        pub(super) fn __asan_poison_memory_region(at: *const u8, bytes: usize);
        pub(super) fn __asan_unpoison_memory_region(at: *const u8, bytes: usize);
    }
}

#[cfg(asan)]
impl Region {
    /// Forbids the bytes behind each buffer.
    fn fence(&self) {
        let bytes = self.buffer_bytes() as usize;
        for index in 0..self.count {
            let start = self.start(BufferId::new(index));
            // SAFETY: the gap lies inside the mapping, and no reference leads into it.
            unsafe { asan::__asan_poison_memory_region(start.add(bytes), bytes) };
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let bytes = (self.count as usize) << (self.shift + GAP);
        #[cfg(asan)]
        // SAFETY: it changes nothing but what the sanitizer thinks of our own mapping.
        unsafe {
            asan::__asan_unpoison_memory_region(self.base.as_ptr(), bytes);
        }
        // SAFETY: exactly what `map` mapped; every reference into it borrowed self and is gone.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), bytes) };
        debug_assert!(unmapped.is_ok(), "the kernel refuses to unmap its own mapping");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_lie_side_by_side_and_begin_zeroed() {
        let mut region = Region::map(4, 512).unwrap();
        assert_eq!(region.buffer_bytes(), 512);
        for index in 0..4u8 {
            assert!(region.bytes(BufferId::new(index.into())).iter().all(|&byte| byte == 0));
            region.bytes_mut(BufferId::new(index.into())).fill(index + 1);
        }
        for index in 0..4u8 {
            assert!(region.bytes(BufferId::new(index.into())).iter().all(|&b| b == index + 1));
        }
        let step =
            region.start(BufferId::new(1)) as usize - region.start(BufferId::new(0)) as usize;
        assert_eq!(step, 512 << GAP);
    }

    #[test]
    fn spaces_are_the_pieces_asked_for() {
        let mut region = Region::map(4, 512).unwrap();
        let pieces = [(2, 500..512), (0, 7..7), (3, 0..512)];
        let mut spaces =
            region.spaces(pieces.into_iter().map(|(index, piece)| (BufferId::new(index), piece)));
        assert_eq!(spaces.iter().map(|s| s.len()).collect::<std::vec::Vec<_>>(), [12, 512]);
        spaces[0].fill(1);
        spaces[1].fill(2);
        drop(spaces);
        assert_eq!(region.bytes(BufferId::new(2))[499..501], [0, 1]);
        assert_eq!(region.bytes(BufferId::new(3))[..2], [2, 2]);
        region.copy(BufferId::new(3), 0..3, BufferId::new(0), 509);
        assert_eq!(region.bytes(BufferId::new(0))[508..], [0, 2, 2, 2]);
    }

    #[test]
    #[should_panic(expected = "two slices")]
    fn one_buffer_is_never_lent_to_two_slices() {
        let mut region = Region::map(4, 512).unwrap();
        let id = BufferId::new(1);
        region.spaces([(id, 0..10), (id, 10..20)].into_iter());
    }

    #[test]
    #[should_panic(expected = "another pool")]
    fn a_buffer_of_a_larger_region_is_refused() {
        Region::map(4, 512).unwrap().bytes(BufferId::new(4));
    }

    /// Shows that the sanitizer is awake: it must not come back from this.
    #[cfg(asan)]
    #[test]
    #[ignore = "planted: run by `cargo xtask sanitize`, which wants it stopped"]
    fn planted_a_byte_behind_a_buffer() {
        let region = Region::map(4, 512).unwrap();
        // SAFETY: none. It is one byte behind the buffer, though inside the mapping.
        let byte = unsafe { region.start(BufferId::new(1)).add(512).read_volatile() };
        assert_eq!(byte, 0);
    }

    #[test]
    fn what_no_address_space_can_hold_is_an_error() {
        assert!(Region::map(u32::MAX, 1 << 31).is_err());
    }
}

//! What the holder of buffers keeps: the ends of a chain, and positions in it.

use crate::leak;
use crate::register::BufferId;

/// Buffers linked through their registers: written at the tail, read at the head.
///
/// It must go back with [`Pool::release`](crate::Pool::release); a debug build panics where a
/// chain that still holds buffers is dropped. Its bytes stay in the pool, so every operation on
/// them is the pool's. 16 bytes.
#[must_use = "its buffers must go back to the pool"]
#[derive(Debug, Default)]
pub struct Chain {
    pub(crate) head: Option<BufferId>,
    pub(crate) tail: Option<BufferId>,
    pub(crate) len: u32,
    pub(crate) buffers: u32,
}

const _: () = assert!(size_of::<Chain>() == 16 && size_of::<Cursor>() == 12);

impl Chain {
    /// A chain that holds no buffer.
    pub const fn new() -> Self {
        Self { head: None, tail: None, len: 0, buffers: 0 }
    }

    /// Whether it holds no buffer. (A chain may hold buffers and yet no unread byte.)
    pub const fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Unread bytes.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Buffers held.
    pub const fn buffers(&self) -> u32 {
        self.buffers
    }

    /// The last buffer, where writing goes on.
    pub const fn tail(&self) -> Option<BufferId> {
        self.tail
    }

    /// Takes the buffers, leaving an empty chain.
    #[must_use = "its buffers must go back to the pool"]
    pub const fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new())
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        leak::check(self.head.is_none(), "a chain");
    }
}

/// A position inside a chain, for reading without releasing: a request that may have to be sent
/// again, or one reader of a shared chain.
///
/// It is good while the buffers from it on stay in the chain; it ends where the chain ended when
/// it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) buffer: Option<BufferId>,
    pub(crate) offset: u16,
    pub(crate) left: u32,
}

impl Cursor {
    /// Bytes from here to the end.
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// A cursor at the same place that ends `bytes` earlier, if there are so many.
    #[must_use = "it is another cursor"]
    pub const fn before_last(self, bytes: u32) -> Self {
        Self { left: self.left.saturating_sub(bytes), ..self }
    }
}

/// The end of a chain at some moment, from which later bytes can be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub(crate) buffer: Option<BufferId>,
    pub(crate) offset: u16,
}

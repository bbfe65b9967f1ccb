//! Where records are written: somebody's memory, and how much of it is written.

/// Memory for records that are to be sent.
#[derive(Debug)]
pub struct Output<'o> {
    memory: &'o mut [u8],
    len: usize,
}

impl<'o> Output<'o> {
    /// Nothing written yet.
    pub const fn new(memory: &'o mut [u8]) -> Self {
        Self { memory, len: 0 }
    }

    /// What is written.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// How much is written.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is free behind it.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.memory[self.len..]
    }

    /// Counts the first `n` bytes of the space as written.
    pub(crate) fn grow(&mut self, n: usize) {
        self.len += n;
        debug_assert!(self.len <= self.memory.len(), "more written than there is memory");
    }
}

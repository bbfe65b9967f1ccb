//! What holds the bytes of others: the pool and the spool, any operations in any order, each
//! against a simple model.

pub mod pool;
pub mod spool;

/// Numbers, one after the other, until the bytes end.
struct Feed<'b>(&'b [u8]);

impl Feed<'_> {
    /// The next operation, if there is one.
    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// Small numbers and large ones.
    fn number(&mut self) -> usize {
        let byte = usize::from(self.byte());
        if byte < 128 { byte } else { (byte - 128) * 23 }
    }
}

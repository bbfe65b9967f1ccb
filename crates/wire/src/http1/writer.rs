//! Writing into a fixed slice.

use core::fmt::{self, Write as _};
use core::net::IpAddr;

/// The slice has no room for what was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Writes from the front of a fixed slice. Once it is [`Full`], what it holds is of no use.
#[derive(Debug)]
pub struct Writer<'b> {
    room: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    /// A writer at the front of `room`.
    pub const fn new(room: &'b mut [u8]) -> Self {
        Self { room, len: 0 }
    }

    /// Bytes written so far.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written so far.
    pub fn written(&self) -> &[u8] {
        &self.room[..self.len]
    }

    /// Appends all of `bytes` or nothing.
    ///
    /// # Errors
    /// [`Full`] when they do not fit.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.len.checked_add(bytes.len()).ok_or(Full)?;
        self.room.get_mut(self.len..end).ok_or(Full)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Appends a field line.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Full> {
        let length = name.len() + value.len() + 4;
        let line = self.room.get_mut(self.len..).and_then(|rest| rest.get_mut(..length));
        let (name_room, rest) = line.ok_or(Full)?.split_at_mut(name.len());
        let (value_room, end) = rest[2..].split_at_mut(value.len());
        name_room.copy_from_slice(name);
        value_room.copy_from_slice(value);
        end.copy_from_slice(b"\r\n");
        rest[..2].copy_from_slice(b": ");
        self.len += length;
        Ok(())
    }

    /// Appends a number in decimal.
    pub(super) fn number(&mut self, number: u64) -> Result<(), Full> {
        let mut digits = [0; 20];
        let mut start = digits.len();
        let mut rest = number;
        loop {
            start -= 1;
            digits[start] = b"0123456789"[(rest % 10) as usize];
            rest /= 10;
            if rest == 0 {
                return self.push(&digits[start..]);
            }
        }
    }

    /// Appends an address as text.
    pub(super) fn address(&mut self, address: IpAddr) -> Result<(), Full> {
        match address {
            IpAddr::V4(address) => {
                let [first, others @ ..] = address.octets();
                self.number(u64::from(first))?;
                others.into_iter().try_for_each(|octet| {
                    self.push(b".")?;
                    self.number(u64::from(octet))
                })
            }
            IpAddr::V6(address) => write!(self, "{address}").map_err(|_| Full),
        }
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).map_err(|Full| fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn all_or_nothing() {
        let mut room = [0; 8];
        let mut writer = Writer::new(&mut room);
        assert!(writer.is_empty());
        assert_eq!(writer.push(b"abc"), Ok(()));
        assert_eq!(writer.field(b"A", b"bc"), Err(Full));
        assert_eq!(writer.push(b"123456"), Err(Full));
        assert_eq!(writer.field(b"A", b""), Ok(()));
        assert_eq!(writer.push(b"x"), Err(Full));
        assert_eq!(writer.push(b""), Ok(()));
        assert_eq!((writer.written(), writer.len()), (&b"abcA: \r\n"[..], 8));
    }

    #[test]
    fn numbers() {
        for number in [0, 9, 10, 1234, u64::MAX - 1, u64::MAX] {
            let mut room = [0; 20];
            let mut writer = Writer::new(&mut room);
            writer.number(number).unwrap();
            assert_eq!(writer.written(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn addresses() {
        for address in ["0.0.0.0", "255.10.9.100", "::", "2001:db8::1", "::ffff:1.2.3.4"] {
            let mut room = [0; 40];
            let mut writer = Writer::new(&mut room);
            writer.address(address.parse().unwrap()).unwrap();
            assert_eq!(writer.written(), address.as_bytes());
        }
    }
}

//! Bytes as a play: nearly every byte is said as it is, a few do something else. So an input can
//! be read, and what is put together from pieces of others still means something.

use std::time::Duration;

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Says this.
    Say(Vec<u8>),
    /// Says this, over TLS as it is, without regard to records.
    SayBetween(Vec<u8>),
    /// Waits until everybody did what there was to do.
    Settle,
    /// Time passes.
    Pass(Duration),
    /// Reads so many bytes, if they have come.
    Take(usize),
    /// Ends its direction.
    End,
    /// Resets the connection.
    Reset,
    /// Lets at most so many bytes come unread.
    Window(usize),
    /// Another connection acts from here on.
    Turn(usize),
}

/// How long time passes, from just enough to longer than anybody waits.
const LENGTHS: [Duration; 8] = [
    Duration::from_micros(500),
    Duration::from_millis(60),
    Duration::from_millis(150),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(6),
    Duration::from_secs(31),
    Duration::from_secs(61),
];

/// Reads a play.
pub(super) fn acts(bytes: &[u8]) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut said = Vec::new();
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        if byte < 0xf8 {
            said.push(byte);
            continue;
        }
        let mut number = || usize::from(rest.next().unwrap_or(0));
        let act = match byte {
            0xf8 => Act::Settle,
            0xf9 => Act::Pass(LENGTHS[number() % LENGTHS.len()]),
            0xfa => Act::Take(1 + number() * 16),
            0xfb => Act::End,
            0xfc => Act::Reset,
            0xfd => Act::Window(number() * 32),
            0xfe => Act::Turn(number()),
            _ => match rest.next() {
                Some(byte) if byte < 0xf8 => Act::SayBetween(vec![byte]),
                literal => {
                    said.extend(literal);
                    continue;
                }
            },
        };
        if !said.is_empty() {
            acts.push(Act::Say(std::mem::take(&mut said)));
        }
        match (&act, acts.last_mut()) {
            (Act::SayBetween(more), Some(Act::SayBetween(bytes))) => bytes.extend_from_slice(more),
            _ => acts.push(act),
        }
    }
    if !said.is_empty() {
        acts.push(Act::Say(said));
    }
    acts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_unless_they_do_something() {
        let said = |text: &[u8]| Act::Say(text.to_vec());
        assert_eq!(acts(b"ab\xf8c\xff\xf8d"), [said(b"ab"), Act::Settle, said(b"c\xf8d")]);
        assert_eq!(
            acts(b"\xfa\x02\xfd\x00\xfe\x01\xfb\xfc"),
            [Act::Take(33), Act::Window(0), Act::Turn(1), Act::End, Act::Reset]
        );
        assert_eq!(acts(b"\xf9"), [Act::Pass(LENGTHS[0])]);
        assert_eq!(acts(b"a\xff"), [said(b"a")]);
        let between = Act::SayBetween(b"bc".to_vec());
        assert_eq!(acts(b"a\xffb\xffcd"), [said(b"a"), between, said(b"d")]);
    }
}

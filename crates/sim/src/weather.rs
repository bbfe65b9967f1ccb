//! What the network does by chance, within the driver's contract.

use crate::dice::Dice;

/// How unkind a world's drivers are: when completions come, and in which order those of different
/// sockets do. What is told of one socket keeps its order.
#[derive(Debug)]
pub struct Weather {
    /// What decides.
    pub dice: Dice,
    /// In how many of 256 cases something that happened is not noticed by a poll, but by a later
    /// one; or, four times less often, noticed and told after a later one.
    pub late: u32,
    /// Whether sockets are looked at in any order, not in that in which something happened there.
    pub shuffled: bool,
    /// In how many of 256 cases a socket is said to be readable, or to have room, in vain.
    pub in_vain: u32,
    /// In how many of 256 cases the kernel refuses to watch a connection that changes hands.
    pub unwatched: u32,
    /// Most clients that one poll accepts.
    pub accepts: u32,
}

impl Weather {
    /// Whether what happened at a socket waits for a later poll.
    pub(crate) fn is_late(&mut self) -> bool {
        self.dice.chance(self.late)
    }

    /// Whether the next completion waits for a later poll, and those behind it.
    pub(crate) fn holds_back(&mut self) -> bool {
        self.late > 0 && self.dice.chance(self.late / 4)
    }

    /// Which of `count` sockets is looked at next.
    pub(crate) fn next(&mut self, count: usize) -> usize {
        if !self.shuffled || count < 2 {
            return 0;
        }
        self.dice.below(u32::try_from(count).unwrap_or(u32::MAX)) as usize
    }

    /// Whether something is told in vain.
    pub(crate) fn is_in_vain(&mut self) -> bool {
        self.dice.chance(self.in_vain)
    }

    /// Whether the kernel refuses to watch a connection.
    pub(crate) fn refuses_to_watch(&mut self) -> bool {
        self.dice.chance(self.unwatched)
    }
}

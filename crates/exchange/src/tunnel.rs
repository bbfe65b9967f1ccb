//! What is left of an exchange once its two sides speak a protocol of their own: bytes both ways.

use base::id::{ClientId, ConnectionId};
use pool::{Chain, Pool, Rank};

/// One client and one server joined: what either sends is for the other, unread.
///
/// It owns what one side has sent and the other has not yet taken. While both are silent that is
/// nothing: no buffer, no promise (law 2), and its exchange's record is another's.
#[derive(Debug)]
pub struct Tunnel {
    /// Whose it is.
    pub client: ClientId,
    /// The upstream connection, pinned.
    pub connection: ConnectionId,
    /// From the client to the server.
    pub up: Flow,
    /// From the server to the client.
    pub down: Flow,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// One direction of a tunnel.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state")]
#[derive(Debug)]
pub struct Flow {
    /// What was sent and not yet taken.
    pub chain: Chain,
    /// Bytes given to the receiver's transport wait for room there.
    pub sending: bool,
    /// A buffer is waited for.
    pub starved: bool,
    /// Nothing more is received until the receiver has taken some of it.
    pub held: bool,
    /// The sender ended its direction.
    pub ended: bool,
    /// That was passed on, behind the last byte.
    pub passed_on: bool,
    /// Buffers to offer to the next receive: few for those who say little at a time.
    appetite: u8,
}

// With its number on the free list an idle tunnel has 60 bytes beside its client and its upstream
// connection.
const _: () = assert!(size_of::<Option<Tunnel>>() <= 56);
const _: () = assert!(base::limits::TUNNEL_BUFFERS <= u8::MAX as u16);

/// Buffers offered to the first receive.
const APPETITE: u8 = 2;

impl Tunnel {
    /// Between these two, with what each is to be given first.
    pub const fn new(client: ClientId, connection: ConnectionId, up: Chain, down: Chain) -> Self {
        Self { client, connection, up: Flow::new(up), down: Flow::new(down) }
    }

    /// That direction.
    pub const fn flow(&self, way: Way) -> &Flow {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    /// That direction, to be changed.
    pub const fn flow_mut(&mut self, way: Way) -> &mut Flow {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    /// Buffers held.
    pub const fn buffers(&self) -> u32 {
        self.up.chain.buffers() + self.down.chain.buffers()
    }

    /// Whether both sides have ended, and each knows that of the other.
    pub const fn is_over(&self) -> bool {
        self.up.passed_on && self.down.passed_on
    }

    /// The direction that waits for a buffer, the more urgent one first: what comes of a server
    /// before what comes of a client (law 5).
    pub const fn starved(&self) -> Option<Way> {
        match (self.down.starved, self.up.starved) {
            (true, _) => Some(Way::Down),
            (false, true) => Some(Way::Up),
            (false, false) => None,
        }
    }

    /// Gives everything back.
    pub fn give_up(&mut self, pool: &mut Pool) {
        pool.clear(&mut self.up.chain);
        pool.clear(&mut self.down.chain);
    }
}

impl Flow {
    const fn new(chain: Chain) -> Self {
        Self {
            chain,
            sending: false,
            starved: false,
            held: false,
            ended: false,
            passed_on: false,
            appetite: APPETITE,
        }
    }

    /// Buffers to offer to a receive where the direction may hold `most`; 0 if it holds them
    /// already.
    pub fn offer(&self, most: u16) -> u16 {
        let held = u16::try_from(self.chain.buffers()).unwrap_or(u16::MAX);
        most.saturating_sub(held).min(u16::from(self.appetite))
    }

    /// A receive found `bytes` where `room` were offered. Who fills what is offered is offered
    /// more; who does not, less: empty buffers cost time.
    pub fn received(&mut self, bytes: u32, room: usize) {
        let most = u8::try_from(base::limits::TUNNEL_BUFFERS).unwrap_or(u8::MAX);
        self.appetite = if bytes as usize >= room {
            self.appetite.saturating_mul(2).min(most)
        } else if (bytes as usize) < room / 4 {
            (self.appetite / 2).max(1)
        } else {
            self.appetite
        };
    }

    /// Whether the sender's end may be passed on now: it has ended, and the receiver's transport
    /// has its last byte.
    pub const fn may_pass_on_end(&self) -> bool {
        self.ended && !self.passed_on && self.chain.is_empty()
    }
}

impl Way {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];

    /// The other one.
    #[must_use]
    pub const fn back(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    /// How urgent a buffer for it is (law 5).
    pub const fn rank(self) -> Rank {
        match self {
            Self::Up => Rank::Client,
            Self::Down => Rank::Upstream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_much_is_offered_more_and_who_sends_little_one_buffer() {
        let mut flow = Flow::new(Chain::new());
        assert_eq!(flow.offer(32), 2);
        for expected in [4, 8, 16, 32, 32] {
            let room = 2048 * usize::from(flow.offer(32));
            flow.received(u32::try_from(room).unwrap(), room);
            assert_eq!(flow.offer(32), expected);
        }
        for expected in [16, 8, 4, 2, 1, 1] {
            flow.received(100, 2048 * usize::from(flow.offer(32)));
            assert_eq!(flow.offer(32), expected);
        }
        assert_eq!(flow.offer(0), 0);
        // A quarter is enough to be offered as much again.
        flow.received(2048, 2048);
        flow.received(1024, 4096);
        assert_eq!(flow.offer(32), 2);
        flow.received(1023, 4096);
        assert_eq!(flow.offer(32), 1);
    }

    #[test]
    fn an_end_is_passed_on_once() {
        let mut flow = Flow::new(Chain::new());
        assert!(!flow.may_pass_on_end());
        flow.ended = true;
        assert!(flow.may_pass_on_end());
        flow.passed_on = true;
        assert!(!flow.may_pass_on_end());
    }
}

//! The pool's books, walked through: for simulators, tests and debug assertions. Nothing of it is
//! on the data path.

use crate::chain::Chain;
use crate::grant::Promise;
use crate::pool::Pool;
use crate::register::BufferId;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// The first contradiction that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A chain holds a buffer that is free, or is held elsewhere, too.
    NotItsOwn(u32),
    /// A chain's ends, count or length are not those of its links.
    Chain {
        /// What the chain says: buffers and unread bytes.
        says: [u32; 2],
        /// What its links come to.
        comes_to: [u32; 2],
    },
    /// So many buffers are counted as lent; so many are held.
    Used([u32; 2]),
    /// So many buffers are counted as promised; so many promises are held.
    Promised([u32; 2]),
    /// The free list holds a buffer that is lent, or so few that some are lost.
    FreeList(u32),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotItsOwn(buffer) => write!(f, "buffer {buffer} is in a chain and elsewhere"),
            Self::Chain { says: [buffers, bytes], comes_to } => write!(
                f,
                "a chain of {buffers} buffers and {bytes} bytes comes to {} and {}",
                comes_to[0], comes_to[1]
            ),
            Self::Used([counted, held]) => write!(f, "{counted} buffers are lent, {held} are held"),
            Self::Promised([counted, held]) => {
                write!(f, "{counted} buffers are promised, {held} promises are held")
            }
            Self::FreeList(listed) => write!(f, "the free list is wrong after {listed} buffers"),
        }
    }
}

/// An audit under way: shown everything that is held, it says at its end whether that is what the
/// pool lent.
#[derive(Debug)]
pub struct Audit<'p> {
    pool: &'p Pool,
    seen: Vec<bool>,
    held: u32,
    promised: u32,
}

impl Pool {
    /// Begins an audit.
    pub fn audit(&self) -> Audit<'_> {
        let seen = vec![false; self.registers.len() as usize];
        Audit { pool: self, seen, held: 0, promised: 0 }
    }
}

impl Audit<'_> {
    /// This chain is held.
    ///
    /// # Errors
    /// When it is not in order, or a buffer of it is not its own.
    pub fn chain(&mut self, chain: &Chain) -> Result<(), Flaw> {
        let (mut buffers, mut bytes, mut last) = (0, 0, None);
        let mut next = chain.head;
        while let Some(id) = next {
            let register = self.pool.registers[id];
            self.see(id, register.is_allocated())?;
            buffers += 1;
            bytes += register.unread();
            (last, next) = (Some(id), register.next());
        }
        self.held += buffers;
        if last != chain.tail || buffers != chain.buffers || bytes != chain.len {
            let says = [chain.buffers, chain.len];
            return Err(Flaw::Chain { says, comes_to: [buffers, bytes] });
        }
        Ok(())
    }

    /// This promise is held, if it is one.
    pub fn promise(&mut self, promise: Option<&Promise>) {
        self.promised += u32::from(promise.is_some());
    }

    /// Everything that is held was shown.
    ///
    /// # Errors
    /// When the pool lent or promised more or less than that, or its free list is not the rest.
    pub fn close(mut self) -> Result<(), Flaw> {
        let pool = self.pool;
        if pool.used() != self.held {
            return Err(Flaw::Used([pool.used(), self.held]));
        }
        if pool.promised() != self.promised {
            return Err(Flaw::Promised([pool.promised(), self.promised]));
        }
        let mut listed = 0;
        for id in pool.stock.returned(&pool.registers) {
            let free = !pool.registers[id].is_allocated();
            self.see(id, free).map_err(|_| Flaw::FreeList(listed))?;
            listed += 1;
        }
        if listed + self.held == pool.registers.len() {
            Ok(())
        } else {
            Err(Flaw::FreeList(listed))
        }
    }

    fn see(&mut self, id: BufferId, right: bool) -> Result<(), Flaw> {
        let seen = core::mem::replace(&mut self.seen[id.index() as usize], true);
        if right && !seen { Ok(()) } else { Err(Flaw::NotItsOwn(id.index())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Rank;
    use crate::model::{bytes, pool};

    #[test]
    fn what_is_held_is_what_was_lent() {
        let mut pool = pool(8);
        let (mut one, mut two) = (Chain::new(), Chain::new());
        pool.append(&mut one, &bytes(1200), Rank::Send).unwrap();
        pool.append(&mut two, &bytes(10), Rank::Send).unwrap();
        pool.consume(&mut one, 600);
        let promise = pool.promise(Rank::Send);
        let mut audit = pool.audit();
        assert_eq!((audit.chain(&one), audit.chain(&two)), (Ok(()), Ok(())));
        audit.promise(promise.as_ref());
        assert_eq!(audit.close(), Ok(()));

        let mut audit = pool.audit();
        assert_eq!(audit.chain(&one), Ok(()));
        assert!(matches!(audit.chain(&one), Err(Flaw::NotItsOwn(_))), "shown twice");
        let mut audit = pool.audit();
        audit.promise(promise.as_ref());
        assert_eq!(audit.chain(&one), Ok(()));
        assert_eq!(audit.close(), Err(Flaw::Used([3, 2])), "one was lost");
        let mut audit = pool.audit();
        let all = [audit.chain(&one), audit.chain(&two)];
        assert_eq!((all, audit.close()), ([Ok(()); 2], Err(Flaw::Promised([1, 0]))));

        one.len -= 1;
        let says = [2, 599];
        assert_eq!(pool.audit().chain(&one), Err(Flaw::Chain { says, comes_to: [2, 600] }));
        one.len += 1;
        pool.forgive(promise.unwrap());
        pool.release(one);
        pool.release(two);
        assert_eq!(pool.audit().close(), Ok(()));
    }
}

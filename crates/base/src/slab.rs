//! A table of records: its size fixed at start, its numbers reused last-in first-out, so that
//! the pages in use stay few.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

use crate::fifo::{Linked, Links};

/// A fixed table of `T`. Memory is set aside at once but touched only as records are used.
#[derive(Debug)]
pub struct Slab<T> {
    records: Vec<Option<T>>,
    free: Vec<u32>,
    capacity: u32,
}

impl<T> Slab<T> {
    /// A table for at most `capacity` records.
    pub fn new(capacity: u32) -> Self {
        Self {
            records: Vec::with_capacity(capacity as usize),
            free: Vec::with_capacity(capacity as usize),
            capacity,
        }
    }

    /// Bytes that one record takes in the table, its number on the free list included.
    pub const fn record_bytes() -> usize {
        size_of::<Option<T>>() + size_of::<u32>()
    }

    /// Puts `record` into the table and returns its number.
    ///
    /// # Errors
    /// Gives the record back when the table is full.
    pub fn insert(&mut self, record: T) -> Result<u32, T> {
        if let Some(index) = self.free.pop() {
            self.records[index as usize] = Some(record);
            return Ok(index);
        }
        match u32::try_from(self.records.len()) {
            Ok(index) if index < self.capacity => {
                self.records.push(Some(record));
                Ok(index)
            }
            _ => Err(record),
        }
    }

    /// Takes record `index` out; its number may be given to another at once.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let record = self.records.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(record)
    }

    /// The record `index`, if there is one.
    pub fn get(&self, index: u32) -> Option<&T> {
        self.records.get(index as usize)?.as_ref()
    }

    /// The record `index`, if there is one.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.records.get_mut(index as usize)?.as_mut()
    }

    /// How many records there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.records.len() - self.free.len()).unwrap_or(u32::MAX)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no more fit.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity
    }

    /// How many records fit.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// All records with their numbers, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..).zip(&self.records).filter_map(|(index, record)| Some((index, record.as_ref()?)))
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    /// # Panics
    /// If there is no record `index`: the caller holds a number it gave back.
    fn index(&self, index: u32) -> &T {
        self.get(index).expect("a record's number outlives the record")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.get_mut(index).expect("a record's number outlives the record")
    }
}

/// A record that carries the links of one queue.
pub trait HasLinks {
    /// Those links.
    fn links_mut(&mut self) -> &mut Links;
}

impl<T: HasLinks> Linked for Slab<T> {
    fn links(&mut self, index: u32) -> &mut Links {
        self[index].links_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reuses_the_number_freed_last() {
        let mut slab = Slab::new(3);
        let numbers = [slab.insert('a'), slab.insert('b'), slab.insert('c')];
        assert_eq!(numbers, [Ok(0), Ok(1), Ok(2)]);
        assert_eq!(slab.insert('d'), Err('d'));
        assert!(slab.is_full());
        assert_eq!(slab.remove(0), Some('a'));
        assert_eq!(slab.remove(2), Some('c'));
        assert_eq!(slab.remove(2), None);
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.insert('e'), Ok(2));
        assert_eq!(slab.insert('f'), Ok(0));
        assert_eq!(slab.iter().map(|(_, c)| *c).collect::<Vec<_>>(), ['f', 'b', 'e']);
        assert_eq!((slab.get(0), slab.get(9)), (Some(&'f'), None));
    }
}

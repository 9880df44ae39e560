//! Who holds which slice of the array of policy intervals.
//!
//! Promises: a slice that a row refers to is never written again; equal contents share one; a slice is free again only when
//! its owner says that no packet can be reading it.

use std::collections::{BTreeMap, HashMap};

use crate::abi::Row;
use crate::entry::Content;
use crate::error::Error;

/// The array's slices, held and free.
#[derive(Debug)]
pub(crate) struct Slices {
    capacity: u32,
    held: HashMap<Content, Held>,
    /// Length of each free slice by its first index; no two touch.
    free: BTreeMap<u32, u32>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    row: Row,
    owners: u32,
}

/// A slice given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) row: Row,
    /// Nobody held this content: it must be written to the array.
    pub(crate) is_new: bool,
}

impl Slices {
    pub(crate) fn new(capacity: u32) -> Self {
        Self { capacity, held: HashMap::new(), free: BTreeMap::from([(0, capacity)]) }
    }

    /// Takes the content's slice as found in the array, one owner more.
    pub(crate) fn adopt(&mut self, content: &Content, row: Row) {
        if row.count == 0 {
            return;
        }
        if let Some(held) = self.held.get_mut(content) {
            held.owners += 1;
            // A second slice of the same content stays out of use until the next start.
            if held.row != row {
                self.cut(row);
            }
            return;
        }
        self.held.insert(content.clone(), Held { row, owners: 1 });
        self.cut(row);
    }

    /// A slice for the content, the first that is large enough. Errors: [`Error::Intervals`].
    pub(crate) fn acquire(&mut self, content: &Content) -> Result<Slice, Error> {
        if content.is_empty() {
            return Ok(Slice { row: Row { first: 0, count: 0 }, is_new: false });
        }
        if let Some(held) = self.held.get_mut(content) {
            held.owners += 1;
            return Ok(Slice { row: held.row, is_new: false });
        }
        let wanted = content.len() as u32;
        let place = self.free.iter().find(|(_, length)| **length >= wanted).map(|(first, _)| *first);
        let Some(first) = place else {
            return Err(Error::Intervals {
                wanted: content.len(),
                free: self.unused(),
                capacity: self.capacity,
            });
        };
        let row = Row { first, count: wanted };
        self.cut(row);
        self.held.insert(content.clone(), Held { row, owners: 1 });
        Ok(Slice { row, is_new: true })
    }

    /// Where the content is; `None` where nobody holds it.
    pub(crate) fn find(&self, content: &Content) -> Option<Row> {
        if content.is_empty() {
            return Some(Row { first: 0, count: 0 });
        }
        self.held.get(content).map(|held| held.row)
    }

    /// One owner less; the last one's slice is free.
    pub(crate) fn release(&mut self, content: &Content) {
        let Some(held) = self.held.get_mut(content) else { return };
        held.owners -= 1;
        if held.owners == 0 {
            let row = held.row;
            self.held.remove(content);
            self.give_back(row);
        }
    }

    /// Intervals free.
    pub(crate) fn unused(&self) -> u32 {
        self.free.values().sum()
    }

    fn cut(&mut self, row: Row) {
        let around = self.free.range(..=row.first).next_back().map(|(first, length)| (*first, *length));
        let Some((first, length)) = around else { return };
        let (end, row_end) = (first + length, row.first + row.count);
        if row_end > end {
            return;
        }
        self.free.remove(&first);
        if row.first > first {
            self.free.insert(first, row.first - first);
        }
        if end > row_end {
            self.free.insert(row_end, end - row_end);
        }
    }

    fn give_back(&mut self, row: Row) {
        let (mut first, mut length) = (row.first, row.count);
        if let Some((before, free)) =
            self.free.range(..first).next_back().map(|(first, length)| (*first, *length))
            && before + free == first
        {
            self.free.remove(&before);
            first = before;
            length += free;
        }
        if let Some(free) = self.free.remove(&(row.first + row.count)) {
            length += free;
        }
        self.free.insert(first, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Interval;

    fn content(decisions: std::ops::Range<u32>) -> Content {
        decisions.map(|decision| Interval { start: decision, decision }).collect()
    }

    #[test]
    fn equal_contents_share_a_slice_until_the_last_owner_goes() {
        let mut slices = Slices::new(8);
        let first = slices.acquire(&content(0..3)).unwrap();
        let second = slices.acquire(&content(0..3)).unwrap();
        assert!(first.is_new && !second.is_new);
        assert_eq!(first.row, second.row);
        assert_eq!(slices.unused(), 5);
        slices.release(&content(0..3));
        assert_eq!((slices.unused(), slices.find(&content(0..3))), (5, Some(first.row)));
        slices.release(&content(0..3));
        assert_eq!((slices.unused(), slices.find(&content(0..3))), (8, None));
    }

    #[test]
    fn freed_neighbors_become_one_slice_again() {
        let mut slices = Slices::new(6);
        for start in [0, 10, 20] {
            slices.acquire(&content(start..start + 2)).unwrap();
        }
        assert!(slices.acquire(&content(40..41)).unwrap_err().is_full());
        for start in [0, 20, 10] {
            slices.release(&content(start..start + 2));
        }
        assert_eq!(slices.acquire(&content(50..56)).unwrap().row, Row { first: 0, count: 6 });
    }

    #[test]
    fn adopted_slices_are_not_given_out() {
        let mut slices = Slices::new(8);
        slices.adopt(&content(0..3), Row { first: 2, count: 3 });
        slices.adopt(&content(0..3), Row { first: 2, count: 3 });
        assert_eq!(slices.unused(), 5);
        let next = slices.acquire(&content(5..8)).unwrap();
        assert_eq!(next.row, Row { first: 5, count: 3 });
        slices.release(&content(0..3));
        slices.release(&content(0..3));
        assert_eq!(slices.unused(), 5);
    }
}

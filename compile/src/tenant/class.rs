//! Address classes: the ranges of a tenant's address selectors and the holes in them, cut into disjoint cells.
//!
//! Each range and hole is a mark on the tree of prefixes. The class of a mark is the set of selectors whose range holds it and
//! whose holes do not: what an address is matched by that lies in the mark and in no longer one. A mark is *shown* (becomes a
//! record) where its class differs from the nearest mark's around it, so the longest shown prefix gives an address its class.
//!
//! Promises: a selector that comes or goes visits the marks inside its range alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use record::selector::Selector;
use record::{Group, Prefix, SelectorId};

use super::index::last_address;

/// The selectors that match the addresses of one cell.
pub(super) type Class = BTreeSet<SelectorId>;

/// The marks of a tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    /// In the order of keys a prefix comes right before all that it covers.
    marks: BTreeMap<Prefix, Mark>,
    /// How many marks there are of each length: v4 and v6.
    lengths: [BTreeMap<u8, u32>; 2],
    shown: BTreeMap<Prefix, Group>,
    /// How many of them have no group for want of a number.
    waiting: usize,
    dirty: BTreeSet<Prefix>,
}

#[derive(Clone, Debug, Default)]
struct Mark {
    ranges: BTreeSet<SelectorId>,
    holes: BTreeSet<SelectorId>,
}

/// What has become of a prefix: its class if it is shown now.
pub(super) type Redrawn = (Prefix, Option<Class>);

impl Classes {
    pub(super) fn cut(&mut self, id: SelectorId, selector: &Selector) {
        let Selector::Addresses { prefix, except } = selector else { return };
        self.mark(*prefix).ranges.insert(id);
        for hole in except {
            self.mark(*hole).holes.insert(id);
        }
        self.dirty.insert(*prefix);
    }

    pub(super) fn mend(&mut self, id: SelectorId, selector: &Selector) {
        let Selector::Addresses { prefix, except } = selector else { return };
        for marked in std::iter::once(prefix).chain(except) {
            let Some(mark) = self.marks.get_mut(marked) else { continue };
            if marked == prefix {
                mark.ranges.remove(&id);
            }
            if except.contains(marked) {
                mark.holes.remove(&id);
            }
            if mark.ranges.is_empty() && mark.holes.is_empty() {
                self.marks.remove(marked);
                let lengths = &mut self.lengths[family(*marked)];
                if let Some(count) = lengths.get_mut(&marked.length()) {
                    *count -= 1;
                }
                lengths.retain(|_, count| *count > 0);
            }
        }
        self.dirty.insert(*prefix);
    }

    /// The address selectors that match an address.
    pub(super) fn matching(&self, address: IpAddr) -> Class {
        let host = Prefix::host(address);
        self.class(host, host.length())
    }

    /// The shown prefix around an address, and the group that it gives.
    pub(super) fn shown_for(&self, address: IpAddr) -> Option<(Prefix, Group)> {
        let host = Prefix::host(address);
        let lengths = (0..=host.length()).rev();
        lengths
            .filter_map(|length| Prefix::containing(address, length).ok())
            .find_map(|prefix| self.shown(prefix).map(|group| (prefix, group)))
    }

    /// Whether a cell waits for a group number.
    pub(super) fn waits(&self) -> bool {
        self.waiting > 0
    }

    /// Tries those that wait for a group number again.
    pub(super) fn soil_waiting(&mut self) {
        if self.waits() {
            let waiting = self.shown.iter().filter(|(_, group)| **group == Group::UNKNOWN);
            self.dirty.extend(waiting.map(|(prefix, _)| *prefix));
        }
    }

    /// Notes the group that a prefix shows now; gives back the one that it showed before.
    pub(super) fn show(&mut self, prefix: Prefix, group: Option<Group>) -> Option<Group> {
        self.waiting += usize::from(group == Some(Group::UNKNOWN));
        let old = match group {
            Some(group) => self.shown.insert(prefix, group),
            None => self.shown.remove(&prefix),
        };
        self.waiting -= usize::from(old == Some(Group::UNKNOWN));
        old
    }

    /// The group that a prefix shows.
    pub(super) fn shown(&self, prefix: Prefix) -> Option<Group> {
        self.shown.get(&prefix).copied()
    }

    /// Works out anew what is shown inside the ranges that changed: all of it, whether it is different or not. What is no longer
    /// shown comes first.
    pub(super) fn redraw(&mut self) -> Vec<Redrawn> {
        let mut redrawn = Vec::new();
        let mut done: Option<Prefix> = None;
        for root in std::mem::take(&mut self.dirty) {
            // In the order of prefixes whatever lies inside a root comes right after it.
            if done.is_some_and(|done| done.covers(root)) {
                continue;
            }
            done = Some(root);
            let now = self.drawn(root);
            let old = within(&self.shown, root).map(|(prefix, _)| *prefix);
            redrawn.extend(old.filter(|prefix| !now.contains_key(prefix)).map(|prefix| (prefix, None)));
            redrawn.extend(now.into_iter().map(|(prefix, class)| (prefix, Some(class))));
        }
        redrawn
    }

    /// What is to be shown inside a range.
    fn drawn(&self, root: Prefix) -> BTreeMap<Prefix, Class> {
        let around = root.length().checked_sub(1).map(|length| self.class(root, length)).unwrap_or_default();
        let mut drawn = BTreeMap::new();
        let mut path: Vec<(Prefix, Class)> = vec![(Prefix::everything(root.address()), around)];
        for (prefix, _) in within(&self.marks, root) {
            while path.len() > 1 && path.last().is_some_and(|(outer, _)| !outer.covers(*prefix)) {
                path.pop();
            }
            let class = self.class(*prefix, prefix.length());
            if path.last().is_some_and(|(_, outer)| *outer != class) {
                drawn.insert(*prefix, class.clone());
            }
            path.push((*prefix, class));
        }
        drawn
    }

    /// The class of a prefix as the marks of at most `longest` bits around it make it.
    fn class(&self, prefix: Prefix, longest: u8) -> Class {
        let mut class = Class::new();
        let mut holes = Class::new();
        for (length, _) in self.lengths[family(prefix)].range(..=longest) {
            let around = Prefix::containing(prefix.address(), *length).ok();
            if let Some(mark) = around.and_then(|around| self.marks.get(&around)) {
                class.extend(&mark.ranges);
                holes.extend(&mark.holes);
            }
        }
        &class - &holes
    }

    fn mark(&mut self, prefix: Prefix) -> &mut Mark {
        let count = self.lengths[family(prefix)].entry(prefix.length()).or_default();
        self.marks.entry(prefix).or_insert_with(|| {
            *count += 1;
            Mark::default()
        })
    }
}

fn family(prefix: Prefix) -> usize {
    usize::from(!prefix.is_ipv4())
}

/// The entries of a map that lie inside a prefix, itself included.
fn within<T>(map: &BTreeMap<Prefix, T>, root: Prefix) -> impl Iterator<Item = (&Prefix, &T)> {
    map.range(root..=Prefix::host(last_address(root)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(prefix: &str, holes: &[&str]) -> Selector {
        let except = holes.iter().map(|hole| hole.parse().unwrap()).collect();
        Selector::Addresses { prefix: prefix.parse().unwrap(), except }
    }

    fn shown(classes: &mut Classes) -> Vec<(String, Vec<u32>)> {
        let shown =
            classes.redraw().into_iter().filter_map(|(prefix, class)| class.map(|class| (prefix, class)));
        shown.map(|(prefix, class)| (prefix.to_string(), class.iter().map(|id| id.0).collect())).collect()
    }

    #[test]
    fn a_cell_is_shown_where_it_differs_from_what_is_around_it() {
        let mut classes = Classes::default();
        classes.cut(SelectorId(1), &range("10.0.0.0/8", &["10.1.0.0/16"]));
        classes.cut(SelectorId(2), &range("10.1.2.0/24", &[]));
        // Holes that leave nothing of their range.
        classes.cut(SelectorId(3), &range("10.2.0.0/16", &["10.2.0.0/17", "10.2.128.0/17"]));
        let of = |prefix: &str, ids: &[u32]| (prefix.to_owned(), ids.to_vec());
        assert_eq!(
            shown(&mut classes),
            [
                of("10.0.0.0/8", &[1]),
                of("10.1.0.0/16", &[]),
                of("10.1.2.0/24", &[2]),
                of("10.2.0.0/16", &[1, 3]),
                of("10.2.0.0/17", &[1]),
                of("10.2.128.0/17", &[1]),
            ]
        );
        assert_eq!(classes.matching("10.2.3.4".parse().unwrap()), Class::from([SelectorId(1)]));
    }

    #[test]
    fn what_is_mended_leaves_no_mark() {
        let mut classes = Classes::default();
        let selectors = [
            range("10.0.0.0/8", &["10.1.0.0/16", "10.2.0.0/16"]),
            range("10.1.0.0/16", &[]),
            range("::/0", &["fd00::/8"]),
        ];
        for (id, selector) in (1..).map(SelectorId).zip(&selectors) {
            classes.cut(id, selector);
        }
        classes.redraw();
        for (id, selector) in (1..).map(SelectorId).zip(&selectors) {
            classes.mend(id, selector);
        }
        assert_eq!(shown(&mut classes), []);
        assert!(classes.marks.is_empty(), "{:?}", classes.marks);
        assert!(classes.lengths.iter().all(BTreeMap::is_empty), "{:?}", classes.lengths);
    }
}

//! What differs between two sets of records.

use std::collections::BTreeMap;

use record::{Key, Record};

/// One record that is not the same in two sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only in the new set.
    Added(Record),
    /// Only in the old one.
    Removed(Record),
    /// In both, with another content.
    Changed {
        /// As it was.
        old: Record,
        /// As it is.
        new: Record,
    },
}

/// What differs, in the order of keys.
pub fn diff(old: &BTreeMap<Key, Record>, new: &BTreeMap<Key, Record>) -> Vec<Difference> {
    let mut differences: BTreeMap<&Key, Difference> = BTreeMap::new();
    for (key, record) in old {
        match new.get(key) {
            Some(now) if now == record => {}
            Some(now) => {
                let (old, new) = (record.clone(), now.clone());
                differences.insert(key, Difference::Changed { old, new });
            }
            None => _ = differences.insert(key, Difference::Removed(record.clone())),
        }
    }
    for (key, record) in new.iter().filter(|(key, _)| !old.contains_key(key)) {
        differences.insert(key, Difference::Added(record.clone()));
    }
    differences.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::NodeId;
    use record::record::Node;

    #[test]
    fn a_difference_is_told_with_both_its_sides_and_what_is_equal_is_not() {
        let set = |nodes: &[(u32, &str)]| -> BTreeMap<Key, Record> {
            let record = |(id, name): &(u32, &str)| Node {
                id: NodeId(*id),
                name: (*name).into(),
                underlay: Vec::new(),
            };
            let records = nodes.iter().map(record).map(Record::Node);
            records.map(|record| (record.key(), record)).collect()
        };
        let (old, new) = (set(&[(1, "a"), (2, "b"), (3, "c")]), set(&[(0, "z"), (2, "b"), (3, "d")]));
        let node = |set: &BTreeMap<Key, Record>, id| set[&Key::Node(NodeId(id))].clone();
        assert_eq!(
            diff(&old, &new),
            [
                Difference::Added(node(&new, 0)),
                Difference::Removed(node(&old, 1)),
                Difference::Changed { old: node(&old, 3), new: node(&new, 3) },
            ]
        );
    }
}

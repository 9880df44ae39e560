//! Indexes from a thing to the set of those that have it, without empty sets, and the order of prefixes.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use record::Prefix;

/// Takes one value out of the set under a key, and an empty set out of the index.
pub(super) fn drop_from<K, V, Q>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &Q)
where
    K: Ord,
    V: Ord + Borrow<Q>,
    Q: Ord + ?Sized,
{
    if let Some(values) = index.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            index.remove(key);
        }
    }
}

/// The last address inside a prefix.
pub(super) fn last_address(prefix: Prefix) -> IpAddr {
    prefix.net().broadcast()
}

//! Things by name: those of a whole level, and those of each namespace apart.

use std::collections::{BTreeMap, HashMap};

/// Things by namespace (or none) and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places<T> {
    wide: BTreeMap<String, T>,
    within: HashMap<String, BTreeMap<String, T>>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { wide: BTreeMap::new(), within: HashMap::new() }
    }
}

impl<T> Places<T> {
    pub(crate) fn find(&self, namespace: Option<&str>, name: &str) -> Option<&T> {
        self.at(namespace)?.get(name)
    }

    /// What is in one namespace, or in none.
    pub(crate) fn at(&self, namespace: Option<&str>) -> Option<&BTreeMap<String, T>> {
        namespace.map_or(Some(&self.wide), |namespace| self.within.get(namespace))
    }

    /// What is in no namespace, to change.
    pub(crate) fn wide_mut(&mut self) -> &mut BTreeMap<String, T> {
        &mut self.wide
    }

    pub(crate) fn put(&mut self, namespace: Option<&str>, name: &str, thing: T) -> Option<T> {
        match namespace {
            None => self.wide.insert(name.to_owned(), thing),
            Some(namespace) => {
                self.within.entry(namespace.to_owned()).or_default().insert(name.to_owned(), thing)
            }
        }
    }

    pub(crate) fn remove(&mut self, namespace: Option<&str>, name: &str) -> Option<T> {
        let Some(namespace) = namespace else { return self.wide.remove(name) };
        let inside = self.within.get_mut(namespace)?;
        let removed = inside.remove(name);
        if inside.is_empty() {
            self.within.remove(namespace);
        }
        removed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wide.is_empty() && self.within.is_empty()
    }
}

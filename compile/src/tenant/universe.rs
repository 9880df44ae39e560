//! The selectors and port names that cut a tenant into groups, each for as long as something uses it.

use std::collections::BTreeMap;

use record::record::{NamedSelector, PortName};
use record::selector::Selector;
use record::{Key, Record, SelectorId};

use super::Desk;
use crate::number::SelectorName;

/// What is in use, and how often.
#[derive(Clone, Debug, Default)]
pub(super) struct Universe {
    used: BTreeMap<SelectorId, Used>,
    ids: BTreeMap<Selector, SelectorId>,
    ports: BTreeMap<PortName, u32>,
}

#[derive(Clone, Debug)]
struct Used {
    selector: Selector,
    uses: u32,
}

impl Universe {
    pub(super) fn selector(&self, id: SelectorId) -> Option<&Selector> {
        self.used.get(&id).map(|used| &used.selector)
    }

    pub(super) fn id(&self, selector: &Selector) -> Option<SelectorId> {
        self.ids.get(selector).copied()
    }

    pub(super) fn selectors(&self) -> impl Iterator<Item = (SelectorId, &Selector)> {
        self.used.iter().map(|(id, used)| (*id, &used.selector))
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = &PortName> {
        self.ports.keys()
    }

    pub(super) fn names(&self, port: &PortName) -> bool {
        self.ports.contains_key(port)
    }

    /// One more use of a selector; `true`: the first.
    pub(super) fn take(&mut self, selector: &Selector, desk: &mut Desk<'_>) -> (SelectorId, bool) {
        if let Some(id) = self.ids.get(selector) {
            self.used.get_mut(id).expect("a selector with an id is in use").uses += 1;
            return (*id, false);
        }
        let name = SelectorName { tenant: desk.tenant, selector: selector.clone() };
        let id = desk.numbers.selector(&name);
        self.ids.insert(selector.clone(), id);
        self.used.insert(id, Used { selector: selector.clone(), uses: 1 });
        let record = NamedSelector { tenant: desk.tenant, id, selector: selector.clone() };
        desk.put(Record::Selector(record));
        (id, true)
    }

    /// One use fewer; the selector itself when it was the last.
    pub(super) fn drop(&mut self, id: SelectorId, desk: &mut Desk<'_>) -> Option<Selector> {
        let used = self.used.get_mut(&id)?;
        used.uses -= 1;
        if used.uses > 0 {
            return None;
        }
        let used = self.used.remove(&id)?;
        self.ids.remove(&used.selector);
        desk.numbers.release_selector(id);
        desk.ledger.remove(&Key::Selector(desk.tenant, id));
        Some(used.selector)
    }

    /// One more use of a port's name; `true`: the first.
    pub(super) fn take_port(&mut self, port: &PortName) -> bool {
        let uses = self.ports.entry(port.clone()).or_default();
        *uses += 1;
        *uses == 1
    }

    /// One use fewer; `true`: it was the last.
    pub(super) fn drop_port(&mut self, port: &PortName) -> bool {
        let Some(uses) = self.ports.get_mut(port) else { return false };
        *uses -= 1;
        let last = *uses == 0;
        if last {
            self.ports.remove(port);
        }
        last
    }
}

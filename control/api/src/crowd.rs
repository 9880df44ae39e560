//! How many connections each caller may hold at once, and all of them together, so that nobody keeps the others out.
//!
//! Root of this host is not counted: agents and operators come in when nobody else does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::Limits;

/// Whose places are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Party {
    User(u32),
    Host(IpAddr),
}

/// Connections by party.
pub(crate) struct Crowd {
    held: Mutex<Held>,
    limits: Limits,
}

#[derive(Default)]
struct Held {
    by_party: HashMap<Party, usize>,
    all: usize,
}

/// A connection's place, until it is dropped.
pub(crate) struct Place {
    /// `None`: not counted.
    taken: Option<(Arc<Crowd>, Party)>,
}

impl Party {
    /// Everybody of an address; of IPv6, everybody of its network, as a host can choose the rest.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Host(address),
            IpAddr::V6(address) => Self::Host(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()),
        }
    }
}

impl Crowd {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { held: Mutex::default(), limits: *limits }
    }

    /// A place, if there is one left.
    pub(crate) fn enter(crowd: &Arc<Self>, party: Party) -> Option<Place> {
        if party == Party::User(0) {
            return Some(Place { taken: None });
        }
        let mut held = crowd.held.lock();
        let count = held.by_party.get(&party).copied().unwrap_or_default();
        let most = match party {
            Party::User(_) => crowd.limits.of_user,
            Party::Host(_) => crowd.limits.of_address,
        };
        if count >= most || held.all >= crowd.limits.in_all {
            return None;
        }
        held.by_party.insert(party, count + 1);
        held.all += 1;
        Some(Place { taken: Some((Arc::clone(crowd), party)) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((crowd, party)) = &self.taken else { return };
        let mut held = crowd.held.lock();
        held.all -= 1;
        if let Some(count) = held.by_party.get_mut(party) {
            *count -= 1;
            if *count == 0 {
                held.by_party.remove(party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(of_user: usize, in_all: usize) -> Arc<Crowd> {
        Arc::new(Crowd::new(&Limits { of_user, in_all, ..Limits::default() }))
    }

    #[test]
    fn a_party_has_so_many_places_and_others_have_theirs() {
        let crowd = crowd(3, 100);
        let enter = |party| Crowd::enter(&crowd, party);
        let mut places: Vec<_> = (0..3).map(|_| enter(Party::User(1)).unwrap()).collect();
        assert!(enter(Party::User(1)).is_none());
        let other = enter(Party::User(2)).unwrap();
        places.pop();
        places.push(enter(Party::User(1)).unwrap());
        assert!(enter(Party::User(1)).is_none());
        drop((places, other));
        let held = crowd.held.lock();
        assert!(held.by_party.is_empty() && held.all == 0, "nothing is kept of those who left");
    }

    #[test]
    fn when_all_places_are_taken_root_comes_in_nevertheless() {
        let crowd = crowd(3, 2);
        let _places = [1, 2].map(|uid| Crowd::enter(&crowd, Party::User(uid)).unwrap());
        assert!(Crowd::enter(&crowd, Party::of([192, 0, 2, 1].into())).is_none());
        assert!(Crowd::enter(&crowd, Party::User(0)).is_some());
    }

    #[test]
    fn an_ipv6_host_gains_no_places_by_changing_its_address() {
        let party = |text: &str| Party::of(text.parse().unwrap());
        assert_eq!(party("2001:db8::1"), party("2001:db8::ffff:1"));
        assert_ne!(party("2001:db8::1"), party("2001:db8:0:1::1"));
        assert_ne!(party("192.0.2.1"), party("192.0.2.2"));
    }
}

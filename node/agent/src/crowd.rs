//! How many connections to the doors each user of this host may hold, so that no user keeps the others out.
//!
//! Promises: root's connections have places of their own, which nobody else can take; of the others, each user has [`OF_A_USER`]
//! and all together [`OF_ALL`], for one person may be many users (subordinate user numbers).

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connections that are open.
#[derive(Debug)]
pub(crate) struct Crowd {
    root: Arc<Semaphore>,
    others: Arc<Mutex<HashMap<u32, usize>>>,
}

/// A connection's place, given back with this value.
#[derive(Debug)]
pub(crate) struct Place {
    _root: Option<OwnedSemaphorePermit>,
    other: Option<Other>,
}

#[derive(Debug)]
struct Other {
    others: Arc<Mutex<HashMap<u32, usize>>>,
    uid: u32,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        Self { root: Arc::new(Semaphore::new(OF_ROOT)), others: Arc::default() }
    }

    /// A place for root, waited for if root has all of them.
    pub(crate) async fn enter_as_root(&self) -> io::Result<Place> {
        let permit = Arc::clone(&self.root).acquire_owned().await.map_err(io::Error::other)?;
        Ok(Place { _root: Some(permit), other: None })
    }

    /// A place for another user; `None` if there is none left for it.
    pub(crate) fn enter(&self, uid: u32) -> Option<Place> {
        let mut others = self.others.lock();
        if others.values().sum::<usize>() >= OF_ALL || others.get(&uid).is_some_and(|held| *held >= OF_A_USER)
        {
            return None;
        }
        *others.entry(uid).or_default() += 1;
        Some(Place { _root: None, other: Some(Other { others: Arc::clone(&self.others), uid }) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(Other { others, uid }) = self.other.take() else { return };
        let mut others = others.lock();
        if let Some(held) = others.get_mut(&uid) {
            *held -= 1;
            if *held == 0 {
                others.remove(&uid);
            }
        }
    }
}

/// Connections that root may hold.
const OF_ROOT: usize = 1024;
/// Connections that each other user may hold.
pub(crate) const OF_A_USER: usize = 64;
/// Connections that all other users may hold together.
const OF_ALL: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_places_all_together_have_more_and_those_who_leave_are_forgotten() {
        let crowd = Crowd::new();
        let mut places: Vec<Place> = (0..OF_A_USER).map(|_| crowd.enter(1).unwrap()).collect();
        assert!(crowd.enter(1).is_none());
        places.pop();
        places.push(crowd.enter(1).unwrap());
        while let Some(place) = (2..100).find_map(|uid| crowd.enter(uid)) {
            places.push(place);
        }
        assert_eq!(places.len(), OF_ALL);
        assert!(crowd.enter(100).is_none(), "all places are taken");
        drop(places);
        assert!(crowd.others.lock().is_empty());
    }

    #[tokio::test]
    async fn nobody_takes_roots_places() {
        let crowd = Crowd::new();
        let places: Vec<Place> = (1..=OF_ALL as u32).map(|uid| crowd.enter(uid).unwrap()).collect();
        crowd.enter_as_root().await.unwrap();
        drop(places);
    }
}

//! Doors to pass one at a time: work on one container, or one question to the server, does not overtake itself.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// A gate for each key that is in use.
#[derive(Debug)]
pub(crate) struct Gates<K> {
    gates: Mutex<HashMap<K, Arc<AsyncMutex<()>>>>,
}

/// The right to be inside; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Inside<'g, K: Eq + Hash> {
    gates: &'g Gates<K>,
    key: K,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<K> Default for Gates<K> {
    fn default() -> Self {
        Self { gates: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone> Gates<K> {
    /// Waits until nobody else is inside the gate of `key`.
    pub(crate) async fn enter(&self, key: K) -> Inside<'_, K> {
        let gate = Arc::clone(self.gates.lock().entry(key.clone()).or_default());
        // Made first, so that a caller that stops waiting leaves nothing behind either.
        let mut inside = Inside { gates: self, key, guard: None };
        inside.guard = Some(gate.lock_owned().await);
        inside
    }

    #[cfg(test)]
    fn in_use(&self) -> usize {
        self.gates.lock().len()
    }
}

impl<K: Eq + Hash> Drop for Inside<'_, K> {
    fn drop(&mut self) {
        let mut gates = self.gates.gates.lock();
        self.guard.take();
        // One reference is the map's own: with no other, nobody is inside or waits.
        if gates.get(&self.key).is_some_and(|gate| Arc::strong_count(gate) == 1) {
            gates.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn one_is_inside_at_a_time_and_nothing_is_left_when_all_have_gone() {
        let gates: Arc<Gates<u8>> = Arc::default();
        let inside: Arc<[AtomicUsize; 2]> = Arc::default();
        let workers: Vec<_> = (0..100_u8)
            .map(|worker| {
                let (gates, inside) = (Arc::clone(&gates), Arc::clone(&inside));
                tokio::spawn(async move {
                    let key = worker % 2;
                    let _pass = gates.enter(key).await;
                    let count = &inside[usize::from(key)];
                    assert_eq!(count.fetch_add(1, Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    count.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        assert_eq!(gates.in_use(), 0);
    }
}

//! A shelf in memory.

use std::collections::BTreeMap;

use authority::{Shelf, ShelfError, Slip};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use serde_json::Value;

/// Named values; a revision that counts every change.
#[derive(Default)]
pub(crate) struct Memory(Mutex<(u64, BTreeMap<String, Slip>)>);

impl Shelf for Memory {
    fn list(&self) -> BoxFuture<'_, Result<Vec<Slip>, ShelfError>> {
        ready(Ok(self.0.lock().1.values().cloned().collect())).boxed()
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Slip>, ShelfError>> {
        ready(Ok(self.0.lock().1.get(name).cloned())).boxed()
    }

    fn put<'a>(
        &'a self,
        name: &'a str,
        value: Value,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<bool, ShelfError>> {
        let fit =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        assert!(name.len() <= 63 && name.bytes().all(fit), "{name} is what a shelf promises to take");
        let mut held = self.0.lock();
        if held.1.get(name).map(|slip| slip.revision) != expected {
            return ready(Ok(false)).boxed();
        }
        held.0 += 1;
        let revision = held.0;
        held.1.insert(name.to_owned(), Slip { name: name.to_owned(), value, revision });
        ready(Ok(true)).boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, ShelfError>> {
        ready(Ok(self.0.lock().1.remove(name).is_some())).boxed()
    }
}

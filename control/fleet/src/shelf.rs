//! Where the authority's notes are kept: objects of the store at the provider's level, which the API does not serve.

use std::sync::Arc;

use authority::{Shelf, ShelfError, Slip};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use store::{Cached, Expect, Object, ObjectKey, Scope, Store, StoreError, Transaction};

/// What is revoked.
pub(crate) const REVOCATIONS: &str = "revocations.authority.sealane.dev";

/// What lets in whoever has no certificate.
pub(crate) const TOKENS: &str = "tokens.authority.sealane.dev";
/// Which certificate is the newest of each node.
pub(crate) const HOLDERS: &str = "holders.authority.sealane.dev";

/// Notes of one kind.
pub(crate) struct StoreShelf {
    store: Arc<Cached>,
    resource: &'static str,
}

impl StoreShelf {
    pub(crate) fn new(store: Arc<Cached>, resource: &'static str) -> Self {
        Self { store, resource }
    }

    fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(ObjectKey::SYSTEM, self.resource, None, name)
    }

    async fn write(&self, name: &str, transaction: Transaction) -> Result<bool, ShelfError> {
        match self.store.write(transaction).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => {
                Err(ShelfError::Failed { operation: "write", name: name.to_owned(), source: Box::new(error) })
            }
        }
    }
}

impl Shelf for StoreShelf {
    fn list(&self) -> BoxFuture<'_, Result<Vec<Slip>, ShelfError>> {
        let objects = self.store.objects(&Scope::resource(self.resource)).objects;
        futures_util::future::ready(Ok(objects.iter().map(slip).collect())).boxed()
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Slip>, ShelfError>> {
        let found = self.store.find(&self.key(name));
        futures_util::future::ready(Ok(found.as_ref().map(slip))).boxed()
    }

    fn put<'a>(
        &'a self,
        name: &'a str,
        value: Value,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<bool, ShelfError>> {
        let expect = expected.map_or(Expect::Absent, Expect::Revision);
        self.write(name, Transaction::put(self.key(name), expect, value)).boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, ShelfError>> {
        let found = self.store.find(&self.key(name));
        async move {
            match found {
                None => Ok(false),
                // A note that another has deleted meanwhile was there, and is gone.
                Some(found) => {
                    self.write(name, Transaction::delete((*found.key).clone(), Expect::Anything)).await
                }
            }
        }
        .boxed()
    }
}

fn slip(object: &Object) -> Slip {
    let name = object.key.name().to_owned();
    Slip { name, value: (*object.value).clone(), revision: object.revision }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use store::{FileStore, Retention};

    use super::*;

    #[tokio::test]
    async fn a_note_is_changed_by_whoever_knows_its_revision_and_outlives_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        let shelf = async || {
            let home = FileStore::open(&path, Retention::default()).unwrap();
            let store = Arc::new(Cached::start(Arc::new(home)).await.unwrap());
            StoreShelf::new(store, REVOCATIONS)
        };
        let before = shelf().await;
        assert!(before.put("a", json!(1), None).await.unwrap());
        assert!(!before.put("a", json!(2), None).await.unwrap(), "it is there already");
        let held = before.get("a").await.unwrap().unwrap();
        assert!(before.put("a", json!(3), Some(held.revision)).await.unwrap());
        assert!(!before.put("a", json!(4), Some(held.revision)).await.unwrap(), "it has changed meanwhile");
        drop(before);
        let after = shelf().await;
        let values: Vec<_> =
            after.list().await.unwrap().into_iter().map(|slip| (slip.name, slip.value)).collect();
        assert_eq!(values, [("a".to_owned(), json!(3))]);
        assert!(after.delete("a").await.unwrap() && !after.delete("a").await.unwrap());
        assert_eq!(after.get("a").await.unwrap(), None);
    }
}

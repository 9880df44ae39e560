//! The layout of the file: tables, their encoding, and the schema version.
//!
//! ```text
//!     objects  (resource, tenant, namespace or "", name) -> (revision, created, JSON)
//!     history  (revision, index in the transaction)      -> JSON of a `Change`
//!     meta     "schema" | "revision" | "compacted"       -> u64
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use redb::{ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Event, Object, ObjectKey, Span};

/// The schema that this release writes. It opens older ones as far as it knows the steps, and refuses newer ones.
pub const SCHEMA: u64 = 1;

/// `MIGRATIONS[i]` turns schema `SCHEMA - MIGRATIONS.len() + i` into the next. Add a step with each new schema.
const MIGRATIONS: &[Migration] = &[];

type Migration = fn(&WriteTransaction) -> Result<(), redb::Error>;
type Name = (&'static str, &'static str, &'static str, &'static str);
type Stored = (u64, u64, &'static [u8]);

const OBJECTS: TableDefinition<'_, Name, Stored> = TableDefinition::new("objects");
const HISTORY: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("history");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Events in order, each with its encoded size in bytes.
pub(super) type History = Vec<(Arc<Event>, usize)>;

/// Why a file cannot be used; the caller adds the path.
#[derive(Debug)]
pub(super) enum Fault {
    Newer(u64),
    Older(u64),
    Damaged(String, serde_json::Error),
    Failed(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(cause: E) -> Self {
        Self::Failed(cause.into())
    }
}

/// The oldest schema that can be migrated.
pub(super) const fn oldest() -> u64 {
    SCHEMA - MIGRATIONS.len() as u64
}

/// Makes the tables of a new file, migrates an older one, refuses a newer one.
pub(super) fn prepare(database: &redb::Database) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    let found = transaction.open_table(META)?.get("schema")?.map(|schema| schema.value());
    match found {
        Some(SCHEMA) => return Ok(transaction.abort()?),
        Some(newer) if newer > SCHEMA => return Err(Fault::Newer(newer)),
        Some(older) if older < oldest() => return Err(Fault::Older(older)),
        Some(older) => {
            for step in &MIGRATIONS[(older - oldest()) as usize..] {
                step(&transaction)?;
            }
        }
        None => {
            transaction.open_table(OBJECTS)?;
            transaction.open_table(HISTORY)?;
            transaction.open_table(META)?.insert("revision", 0)?;
            transaction.open_table(META)?.insert("compacted", 0)?;
        }
    }
    transaction.open_table(META)?.insert("schema", SCHEMA)?;
    Ok(transaction.commit()?)
}

/// The span of revisions in the file, and its history.
pub(super) fn read_history(database: &redb::Database) -> Result<(Span, History), Fault> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let number = |name| Ok::<_, redb::Error>(meta.get(name)?.map_or(0, |entry| entry.value()));
    let span = Span { compacted: number("compacted")?, revision: number("revision")? };
    let mut events = Vec::new();
    for entry in transaction.open_table(HISTORY)?.iter()? {
        let (place, bytes) = entry?;
        let (revision, index) = place.value();
        let event = decode_event(revision, bytes.value())
            .map_err(|cause| Fault::Damaged(format!("event {index} of revision {revision}"), cause))?;
        events.push((Arc::new(event), bytes.value().len()));
    }
    Ok((span, events))
}

/// The object, if it exists.
pub(super) fn find(database: &redb::Database, key: &ObjectKey) -> Result<Option<Object>, Fault> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(OBJECTS)?;
    let stored = table.get(key.parts())?;
    stored.map(|stored| decode_object(Arc::new(key.clone()), stored.value())).transpose()
}

/// Every object, by key.
pub(super) fn read_objects(database: &redb::Database) -> Result<Vec<Object>, Fault> {
    let transaction = database.begin_read()?;
    let mut objects = Vec::new();
    for entry in transaction.open_table(OBJECTS)?.iter()? {
        let (name, stored) = entry?;
        objects.push(decode_object(Arc::new(ObjectKey::from_parts(name.value())), stored.value())?);
    }
    Ok(objects)
}

/// The tables, open for writing.
pub(super) struct Tables<'t> {
    objects: Table<'t, Name, Stored>,
    history: Table<'t, (u64, u32), &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            objects: transaction.open_table(OBJECTS)?,
            history: transaction.open_table(HISTORY)?,
            meta: transaction.open_table(META)?,
        })
    }

    /// The object, with what this transaction did before.
    pub(super) fn find(&self, key: &ObjectKey) -> Result<Option<Object>, Fault> {
        let stored = self.objects.get(key.parts())?;
        stored.map(|stored| decode_object(Arc::new(key.clone()), stored.value())).transpose()
    }

    /// Writes an event, as the `index`th of its revision, and the object it leaves. Returns the event's size in bytes.
    pub(super) fn record(&mut self, event: &Event, index: u32) -> Result<usize, Fault> {
        match &event.object {
            Some(object) => {
                let bytes = encode(&*object.value);
                self.objects
                    .insert(event.key.parts(), (object.revision, object.created, bytes.as_slice()))?;
            }
            None => {
                self.objects.remove(event.key.parts())?;
            }
        }
        let bytes = encode(&Change::of(event));
        self.history.insert((event.revision, index), bytes.as_slice())?;
        Ok(bytes.len())
    }

    /// Writes an object, and no event.
    pub(super) fn put(&mut self, object: &Object) -> Result<(), Fault> {
        let bytes = encode(&*object.value);
        self.objects.insert(object.key.parts(), (object.revision, object.created, bytes.as_slice()))?;
        Ok(())
    }

    /// Forgets the history up to and including `through`.
    pub(super) fn compact(&mut self, through: u64) -> Result<(), Fault> {
        self.history.retain_in(..=(through, u32::MAX), |_, _| false)?;
        self.meta.insert("compacted", through)?;
        Ok(())
    }

    pub(super) fn set_revision(&mut self, revision: u64) -> Result<(), Fault> {
        self.meta.insert("revision", revision)?;
        Ok(())
    }
}

/// An event as the history keeps it.
#[derive(Serialize, Deserialize)]
struct Change<'a> {
    key: Cow<'a, ObjectKey>,
    object: Option<Version<'a>>,
    previous: Option<Version<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Version<'a> {
    revision: u64,
    created: u64,
    value: Cow<'a, Value>,
}

impl<'a> Change<'a> {
    fn of(event: &'a Event) -> Self {
        let version = |object: &'a Object| Version {
            revision: object.revision,
            created: object.created,
            value: Cow::Borrowed(&*object.value),
        };
        Self {
            key: Cow::Borrowed(&event.key),
            object: event.object.as_ref().map(version),
            previous: event.previous.as_ref().map(version),
        }
    }
}

fn decode_event(revision: u64, bytes: &[u8]) -> Result<Event, serde_json::Error> {
    let change: Change<'_> = serde_json::from_slice(bytes)?;
    let key = Arc::new(change.key.into_owned());
    let object = |version: Version<'_>| Object {
        key: Arc::clone(&key),
        value: Arc::new(version.value.into_owned()),
        revision: version.revision,
        created: version.created,
    };
    Ok(Event {
        revision,
        object: change.object.map(object),
        previous: change.previous.map(object),
        key: Arc::clone(&key),
    })
}

fn decode_object(
    key: Arc<ObjectKey>,
    (revision, created, bytes): (u64, u64, &[u8]),
) -> Result<Object, Fault> {
    let value =
        serde_json::from_slice(bytes).map_err(|cause| Fault::Damaged(format!("object {key}"), cause))?;
    Ok(Object { key, value: Arc::new(value), revision, created })
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON values with text keys always encode")
}

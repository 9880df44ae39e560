//! The journal's file: its tables, its schema, its encoding.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use record::record::{decode, encode};
use record::{Generation, Key, NodeId, Record};
use redb::{Database, ReadableDatabase, ReadableTable, StorageError, TableDefinition};

use super::{Contents, Entry, JournalError};
use crate::attachment::Attachment;

/// The open file. After a failure of the disk it is opened again: the handle of one that failed answers nothing more.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    database: Option<Database>,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        if let Some(folder) = path.parent() {
            // What is held tells of every tenant: it is the agent's own.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|source| JournalError::Folder { path: path.to_owned(), source: Arc::new(source) })?;
        }
        let mut file = Self { path: path.to_owned(), database: None };
        file.database()?;
        file.settle_schema()?;
        Ok(file)
    }

    /// Everything in it.
    pub(super) fn contents(&self) -> Result<Contents, JournalError> {
        let Some(database) = &self.database else {
            return Err(JournalError::Closed { path: self.path.clone() });
        };
        let failed = |source: redb::Error| self.failed("read", source);
        let transaction = database.begin_read().map_err(|source| failed(source.into()))?;
        let mut contents = Contents { next_number: 1, ..Contents::default() };
        let meta = transaction.open_table(META).map_err(|source| failed(source.into()))?;
        let number = |name: &str| -> Result<Option<u64>, JournalError> {
            let value = meta.get(name).map_err(|source| failed(source.into()))?;
            Ok(value.map(|value| value.value()))
        };
        contents.generation = Generation(number(GENERATION)?.unwrap_or(0));
        let narrow = |name: &str, value: u64| u32::try_from(value).map_err(|_| self.damaged(name));
        contents.node = number(NODE)?.map(|value| narrow(NODE, value)).transpose()?.map(NodeId);
        if let Some(next) = number(NEXT_NUMBER)? {
            contents.next_number = narrow(NEXT_NUMBER, next)?;
        }
        let records = transaction.open_table(RECORDS).map_err(|source| failed(source.into()))?;
        for row in records.iter().map_err(|source| failed(source.into()))? {
            let (key, value) = row.map_err(|source| failed(source.into()))?;
            let record: Record = decode(value.value()).map_err(|_| self.damaged(&shown(key.value())))?;
            contents.records.push(record);
        }
        contents.records.sort_by_cached_key(Record::key);
        let attachments = transaction.open_table(ATTACHMENTS).map_err(|source| failed(source.into()))?;
        for row in attachments.iter().map_err(|source| failed(source.into()))? {
            let (uid, value) = row.map_err(|source| failed(source.into()))?;
            let attachment: Attachment =
                serde_json::from_slice(value.value()).map_err(|_| self.damaged(uid.value()))?;
            contents.attachments.push(attachment);
        }
        Ok(contents)
    }

    /// Writes the entries in one transaction, once more on a file opened anew when the first attempt fails.
    pub(super) fn write<'e>(
        &mut self,
        entries: impl Iterator<Item = &'e Entry> + Clone,
    ) -> Result<(), JournalError> {
        if self.attempt(entries.clone()).is_ok() {
            return Ok(());
        }
        self.database = None;
        let again = self.attempt(entries);
        if again.is_err() {
            self.database = None;
        }
        again
    }

    fn attempt<'e>(&mut self, entries: impl Iterator<Item = &'e Entry>) -> Result<(), JournalError> {
        let path = self.path.clone();
        let failed = |source: redb::Error| storage("write", &path, source);
        let transaction = self.database()?.begin_write().map_err(|source| failed(source.into()))?;
        put(&transaction, entries).map_err(failed)?;
        transaction.commit().map_err(|source| failed(source.into()))
    }

    fn database(&mut self) -> Result<&Database, JournalError> {
        if self.database.is_none() {
            let opened = Database::create(&self.path).map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => JournalError::InUse { path: self.path.clone() },
                redb::DatabaseError::Storage(StorageError::Corrupted(_)) => self.damaged("the file"),
                redb::DatabaseError::Storage(StorageError::Io(source))
                    if source.kind() == ErrorKind::InvalidData =>
                {
                    self.damaged("the file")
                }
                other => storage("open", &self.path, other.into()),
            })?;
            self.database = Some(opened);
        }
        Ok(self.database.as_ref().expect("it was opened above"))
    }

    /// Writes the schema into a new file; refuses a newer one.
    fn settle_schema(&mut self) -> Result<(), JournalError> {
        let path = self.path.clone();
        let failed = |source: redb::Error| storage("open", &path, source);
        let transaction = self.database()?.begin_write().map_err(|source| failed(source.into()))?;
        let found = {
            let mut meta = transaction.open_table(META).map_err(|source| failed(source.into()))?;
            let found = meta.get(SCHEMA).map_err(|source| failed(source.into()))?.map(|value| value.value());
            if found.is_none() {
                meta.insert(SCHEMA, KNOWN_SCHEMA).map_err(|source| failed(source.into()))?;
            }
            transaction.open_table(RECORDS).map_err(|source| failed(source.into()))?;
            transaction.open_table(ATTACHMENTS).map_err(|source| failed(source.into()))?;
            found
        };
        match found {
            Some(found) if found > KNOWN_SCHEMA => {
                transaction.abort().map_err(|source| failed(source.into()))?;
                Err(JournalError::Newer { path: self.path.clone(), found, known: KNOWN_SCHEMA })
            }
            _ => transaction.commit().map_err(|source| failed(source.into())),
        }
    }

    fn failed(&self, operation: &'static str, source: redb::Error) -> JournalError {
        storage(operation, &self.path, source)
    }

    fn damaged(&self, entry: &str) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), entry: entry.to_owned() }
    }
}

fn put<'e>(
    transaction: &redb::WriteTransaction,
    entries: impl Iterator<Item = &'e Entry>,
) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let mut records = transaction.open_table(RECORDS)?;
    let mut attachments = transaction.open_table(ATTACHMENTS)?;
    for entry in entries {
        match entry {
            Entry::Attachment(attachment) => {
                let bytes =
                    serde_json::to_vec(attachment).expect("an attachment is plain data with text keys");
                attachments.insert(attachment.uid.as_str(), bytes.as_slice())?;
                let next = u64::from(attachment.number.saturating_add(1));
                let before = meta.get(NEXT_NUMBER)?.map_or(0, |value| value.value());
                if next > before {
                    meta.insert(NEXT_NUMBER, next)?;
                }
            }
            Entry::Forget(uid) => drop(attachments.remove(uid.as_str())?),
            Entry::Record(record) => {
                records.insert(encode(&record.key()).as_slice(), encode(&**record).as_slice())?;
            }
            Entry::Remove(key) => drop(records.remove(encode(key).as_slice())?),
            Entry::Generation(generation) => drop(meta.insert(GENERATION, generation.0)?),
            Entry::Node(node) => drop(meta.insert(NODE, u64::from(node.0))?),
        }
    }
    Ok(())
}

fn storage(operation: &'static str, path: &Path, source: redb::Error) -> JournalError {
    JournalError::Storage { operation, path: path.to_owned(), source: Arc::new(source) }
}

fn shown(key: &[u8]) -> String {
    decode::<Key>(key).map_or_else(|_| "a record".to_owned(), |key| format!("record {key:?}"))
}

/// The schema that this program writes; the first there is.
const KNOWN_SCHEMA: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const ATTACHMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("attachments");

const SCHEMA: &str = "schema";
const GENERATION: &str = "generation";
const NODE: &str = "node";
const NEXT_NUMBER: &str = "next-number";

#[cfg(test)]
pub(super) fn pretend_schema(path: &Path, schema: u64) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(SCHEMA, schema).unwrap();
    transaction.commit().unwrap();
}

//! Files of documents.

//! Containers on the fabric that no journal knows: the journal was lost while they ran.
//!
//! Whose a link is, by which door and under which name, is in the journal alone: without it nobody could take the container off
//! again, nor tell the server of it. What the kernel holds goes on judging them meanwhile, so nothing is done and the choice is told.

use std::path::Path;

use datapath::link::Links;

use crate::error::Error;

/// Refuses a start with a journal that knows nothing while containers are attached here.
pub(crate) fn refuse(journal: &Path) -> Result<(), Error> {
    let found = Links::open().and_then(|mut links| links.inventory()).map_err(Error::of_links)?;
    match found.as_slice() {
        [] => Ok(()),
        [first, ..] => {
            Err(Error::Orphans { journal: journal.to_owned(), count: found.len(), first: first.name.clone() })
        }
    }
}

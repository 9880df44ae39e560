//! The hooks of containers that are pinned: `PIN_DIR/links/NUMBER-in` and `NUMBER-out`.
//!
//! The datapath removes them with the endpoint; a kill between the two leaves them without one.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// The numbers that anything is pinned for.
pub(super) fn numbers(pin_dir: &Path) -> io::Result<BTreeSet<u32>> {
    let entries = match std::fs::read_dir(pin_dir.join("links")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let mut numbers = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.split_once('-'));
        numbers.extend(
            number
                .filter(|(_, side)| SIDES.contains(side))
                .and_then(|(number, _)| number.parse::<u32>().ok()),
        );
    }
    Ok(numbers)
}

/// Removes what is pinned for a number; nothing is no error.
pub(super) fn remove(pin_dir: &Path, number: u32) -> io::Result<()> {
    for side in SIDES {
        match std::fs::remove_file(pin_dir.join("links").join(format!("{number}-{side}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

const SIDES: [&str; 2] = ["in", "out"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_of_containers_are_told_from_those_of_the_node() {
        let folder = tempfile::TempDir::new().unwrap();
        assert_eq!(numbers(folder.path()).unwrap(), BTreeSet::new());
        std::fs::create_dir(folder.path().join("links")).unwrap();
        for name in ["7-in", "7-out", "8-out", "overlay", "leg", "uplink0", "x-in", "9-up"] {
            std::fs::write(folder.path().join("links").join(name), "").unwrap();
        }
        assert_eq!(numbers(folder.path()).unwrap(), BTreeSet::from([7, 8]));
        remove(folder.path(), 7).unwrap();
        remove(folder.path(), 7).unwrap();
        assert_eq!(numbers(folder.path()).unwrap(), BTreeSet::from([8]));
    }
}

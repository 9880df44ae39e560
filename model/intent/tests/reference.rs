//! The reference in `docs/reference` against the types that it is made from.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use intent::schema::{Field, Schema, Shape};
use intent::{Kind, UnknownFields, admit, crd, manifest, reference};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference")
}

#[test]
fn the_pages_say_what_the_types_say() {
    let folder = folder();
    let pages = reference::pages();
    if std::env::var_os("REWRITE").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in &pages {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    let stale: Vec<_> = pages
        .iter()
        .filter(|(name, text)| std::fs::read_to_string(folder.join(name)).ok().as_ref() != Some(text))
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(
        stale.is_empty(),
        "{stale:?} of docs/reference are not what the types say: run `REWRITE=1 cargo test -p intent --test reference`"
    );
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            pages.iter().any(|(page, _)| *page == name),
            "docs/reference/{name} is no page of the reference"
        );
    }
}

#[test]
fn every_example_is_admitted_and_is_of_its_kind() {
    for kind in Kind::ALL {
        let documents = manifest::read(reference::example(kind), "example").unwrap();
        let [document] = &documents[..] else { panic!("{kind}: {} documents", documents.len()) };
        let admitted = admit(kind, document.value.clone(), UnknownFields::Refuse);
        let admitted = admitted.unwrap_or_else(|problems| panic!("{kind}: {problems:?}"));
        assert!(admitted.warnings.is_empty(), "{kind}: {:?}", admitted.warnings);
        assert_eq!(admitted.parsed.kind(), kind);
    }
}

/// Every place where a description is shown, and the description.
fn descriptions(path: &str, schema: &Schema, found: &mut Vec<(String, &'static str)>) {
    found.push((path.to_owned(), schema.about));
    match schema.shape {
        Shape::Object { fields, .. } => {
            fields.iter().for_each(|field: &Field| {
                descriptions(&format!("{path}.{}", field.name), &field.schema, found);
            });
        }
        Shape::List { items, .. } => descriptions(&format!("{path}[]"), items, found),
        _ => {}
    }
}

#[test]
fn every_field_is_described_in_a_sentence() {
    for kind in Kind::ALL {
        let mut found = Vec::new();
        descriptions(kind.descriptor().kind, kind.descriptor().schema, &mut found);
        for (path, about) in found {
            assert!(about.ends_with('.') && about.len() > 8, "{path} is described as {about:?}");
        }
    }
}

#[test]
fn every_kind_of_our_own_has_a_definition_and_no_other() {
    let defined: Vec<_> = Kind::ALL.into_iter().filter(|kind| crd::definition(*kind).is_some()).collect();
    assert_eq!(defined, [Kind::Tenant, Kind::Node, Kind::VirtualNetwork, Kind::Endpoint]);
}

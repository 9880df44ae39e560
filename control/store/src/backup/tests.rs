use proptest::prelude::*;
use serde_json::json;

use super::*;

fn listing(values: Vec<Value>) -> Listing {
    let object = |(index, value): (usize, Value)| Object {
        key: Arc::new(ObjectKey::new("acme", "things.test", Some("shop"), &format!("n{index:04}"))),
        value: value.into(),
        revision: 7,
        created: 3,
    };
    Listing { revision: 9, objects: values.into_iter().enumerate().map(object).collect() }
}

fn bytes(listing: &Listing) -> Vec<u8> {
    lines(listing.clone(), "2026-11-20T00:00:00Z".to_owned(), "0.1.0").flatten().collect()
}

fn read(bytes: &[u8]) -> Result<Listing, BackupError> {
    let mut reader = Reader::open(bytes)?;
    let mut objects = Vec::new();
    while let Some(object) = reader.read()? {
        objects.push(object);
    }
    Ok(Listing { revision: reader.header().revision, objects })
}

#[test]
fn nothing_at_all_is_a_backup_too() {
    assert_eq!(read(&bytes(&listing(Vec::new()))).unwrap(), listing(Vec::new()));
}

#[test]
fn what_is_no_backup_or_a_newer_one_is_refused_with_words() {
    for foreign in ["", "\n", "{}", "PK\u{3}\u{4}", "{\"kind\":\"other\",\"format\":1}\n"] {
        let error = read(foreign.as_bytes()).unwrap_err();
        assert!(matches!(error, BackupError::Foreign), "{foreign:?}: {error}");
    }
    let newer = br#"{"kind":"sealane backup","format":2,"release":"9.0.0","unheard":"of"}"#;
    let error = read(newer).unwrap_err().to_string();
    assert!(error.contains("format 2") && error.contains("9.0.0"), "{error}");
    let text = String::from_utf8(bytes(&listing(vec![json!(1)]))).unwrap();
    let schema = text.replacen(&format!("\"schema\":{SCHEMA}"), "\"schema\":99", 1);
    let error = read(schema.as_bytes()).unwrap_err();
    assert!(matches!(error, BackupError::Newer { what: "schema", found: 99, .. }), "{error}");
}

#[test]
fn a_backup_with_something_behind_it_is_refused() {
    let mut whole = bytes(&listing(vec![json!({ "a": 1 })]));
    whole.extend(b"\n");
    assert!(matches!(read(&whole), Err(BackupError::Trailing)));
}

fn values() -> impl Strategy<Value = Vec<Value>> {
    let value = (any::<u32>(), "\\PC{0,12}").prop_map(|(number, text)| json!({ "n": number, "text": text }));
    proptest::collection::vec(value, 0..8)
}

proptest! {
    #[test]
    fn what_was_backed_up_is_read_back(values in values()) {
        let listing = listing(values);
        prop_assert_eq!(read(&bytes(&listing)).unwrap(), listing);
    }

    #[test]
    fn a_backup_that_is_cut_off_anywhere_is_refused(values in values(), at in any::<prop::sample::Index>()) {
        let whole = bytes(&listing(values));
        let cut = &whole[..at.index(whole.len())];
        prop_assert!(read(cut).is_err());
    }

    #[test]
    fn a_backup_with_a_changed_bit_anywhere_is_refused(
        values in values(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut flipped = bytes(&listing(values));
        let at = at.index(flipped.len());
        flipped[at] ^= 1 << bit;
        prop_assert!(read(&flipped).is_err(), "{}", String::from_utf8_lossy(&flipped));
    }

    #[test]
    fn no_input_makes_the_reader_panic(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut input = bytes(&listing(vec![json!(1), json!(2)]));
        input.truncate(150);
        input.extend(&noise);
        prop_assert!(read(&noise).is_err() && read(&input).is_err());
    }
}

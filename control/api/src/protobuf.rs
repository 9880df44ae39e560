//! Bodies in Kubernetes' protobuf form (`application/vnd.kubernetes.protobuf`), which some clients send for upstream kinds:
//! `kubectl create namespace` does. Answers are always JSON.
//!
//! Understood are the kinds here that have such a form, by the field numbers of their `generated.proto`; what the server sets
//! itself (timestamps, managed fields) is passed over.
//!
//! ```text
//!     "k8s\0"  Unknown { 1: TypeMeta { 1: apiVersion, 2: kind }, 2: the object's own message }
//! ```

use serde_json::{Map, Value, json};

use crate::status::Refusal;

/// A field of a message.
struct Field {
    number: u64,
    name: &'static str,
    shape: Shape,
    many: bool,
}

/// What a field holds.
enum Shape {
    /// Text; empty text is the same as none.
    Text,
    Number,
    Flag,
    Message(&'static [Field]),
    /// A map from text to text.
    Labels,
    /// `IntOrString` (util/intstr).
    NumberOrText,
}

/// A field as it is on the wire.
enum Wire<'b> {
    Number(u64),
    Bytes(&'b [u8]),
    /// Fixed-width numbers, which no field here is.
    Other,
}

/// Reads a body. Errors: 400.
pub(crate) fn parse(body: &[u8]) -> Result<Value, Refusal> {
    read(body).map_err(|fault| Refusal::bad_request(format!("read the body as protobuf: {fault}")))
}

fn read(body: &[u8]) -> Result<Value, String> {
    let envelope =
        body.strip_prefix(b"k8s\0").ok_or("it does not begin with the mark of Kubernetes' envelope")?;
    let mut said = Map::new();
    let mut raw: &[u8] = &[];
    for field in fields(envelope) {
        match field? {
            (1, Wire::Bytes(bytes)) => said = message(bytes, TYPE)?,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            (3, Wire::Bytes(bytes)) if !bytes.is_empty() => {
                return Err("its content is encoded once more".to_owned());
            }
            _ => {}
        }
    }
    let kind = said.get("kind").and_then(Value::as_str).unwrap_or_default();
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    let (_, shape) =
        known.ok_or_else(|| format!("kind {kind:?} is not understood in this form: send JSON"))?;
    let mut document = message(raw, shape)?;
    document.extend(said);
    Ok(Value::Object(document))
}

fn message(bytes: &[u8], shape: &'static [Field]) -> Result<Map<String, Value>, String> {
    let mut document = Map::new();
    for found in fields(bytes) {
        let (number, wire) = found?;
        let Some(field) = shape.iter().find(|field| field.number == number) else { continue };
        let Some(value) = value(field, &wire)? else { continue };
        match (&field.shape, field.many) {
            (Shape::Labels, _) => {
                let labels = document.entry(field.name).or_insert_with(|| json!({}));
                labels[value["key"].as_str().unwrap_or_default()] =
                    json!(value["value"].as_str().unwrap_or_default());
            }
            (_, true) => {
                let list = document.entry(field.name).or_insert_with(|| json!([]));
                list.as_array_mut().expect("made a list above").push(value);
            }
            (_, false) => {
                document.insert(field.name.to_owned(), value);
            }
        }
    }
    Ok(document)
}

/// `None`: as good as not given.
fn value(field: &Field, wire: &Wire<'_>) -> Result<Option<Value>, String> {
    match (&field.shape, wire) {
        (Shape::Text, Wire::Bytes(bytes)) => {
            let text = std::str::from_utf8(bytes).map_err(|error| format!("{}: {error}", field.name))?;
            Ok((field.many || !text.is_empty()).then(|| json!(text)))
        }
        // Negative numbers are ten bytes of two's complement on the wire.
        (Shape::Number, Wire::Number(number)) => Ok(Some(json!(number.cast_signed()))),
        (Shape::Flag, Wire::Number(number)) => Ok(Some(json!(*number != 0))),
        (Shape::Message(shape), Wire::Bytes(bytes)) => Ok(Some(Value::Object(message(bytes, shape)?))),
        (Shape::Labels, Wire::Bytes(bytes)) => Ok(Some(Value::Object(message(bytes, ENTRY)?))),
        (Shape::NumberOrText, Wire::Bytes(bytes)) => {
            let either = message(bytes, EITHER)?;
            let is_text = either.get("type").is_some_and(|kind| *kind == 1);
            let value = if is_text { either.get("text") } else { either.get("number") };
            Ok(Some(value.cloned().unwrap_or_else(|| if is_text { json!("") } else { json!(0) })))
        }
        _ => Err(format!("{}: the field has another type", field.name)),
    }
}

/// The fields of a message, in order, with their numbers.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u64, Wire<'_>), String>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = next_field(&mut bytes);
        if field.is_none() {
            bytes = &[];
        }
        Some(field.ok_or_else(|| "a field is cut short or of no known type".to_owned()))
    })
}

fn next_field<'b>(bytes: &mut &'b [u8]) -> Option<(u64, Wire<'b>)> {
    let tag = varint(bytes)?;
    let wire = match tag & 7 {
        0 => Wire::Number(varint(bytes)?),
        1 => bytes.split_off(..8).map(|_| Wire::Other)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Wire::Bytes(bytes.split_off(..length)?)
        }
        5 => bytes.split_off(..4).map(|_| Wire::Other)?,
        _ => return None,
    };
    Some((tag >> 3, wire))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

const fn one(number: u64, name: &'static str, shape: Shape) -> Field {
    Field { number, name, shape, many: false }
}

const fn many(number: u64, name: &'static str, shape: Shape) -> Field {
    Field { number, name, shape, many: true }
}

const KINDS: &[(&str, &[Field])] = &[
    ("Namespace", NAMESPACE),
    ("NetworkPolicy", NETWORK_POLICY),
    ("Role", ROLE),
    ("ClusterRole", ROLE),
    ("RoleBinding", BINDING),
    ("ClusterRoleBinding", BINDING),
    ("SelfSubjectAccessReview", ACCESS_REVIEW),
    ("SubjectAccessReview", SUBJECT_REVIEW),
    ("LocalSubjectAccessReview", SUBJECT_REVIEW),
    ("SelfSubjectRulesReview", RULES_REVIEW),
    ("SelfSubjectReview", &[one(1, "metadata", Shape::Message(METADATA))]),
    ("TokenReview", TOKEN_REVIEW),
    ("DeleteOptions", DELETE_OPTIONS),
];

const TYPE: &[Field] = &[one(1, "apiVersion", Shape::Text), one(2, "kind", Shape::Text)];
const ENTRY: &[Field] = &[one(1, "key", Shape::Text), one(2, "value", Shape::Text)];
const EITHER: &[Field] =
    &[one(1, "type", Shape::Number), one(2, "number", Shape::Number), one(3, "text", Shape::Text)];

/// k8s.io/apimachinery/pkg/apis/meta/v1 `ObjectMeta`.
const METADATA: &[Field] = &[
    one(1, "name", Shape::Text),
    one(2, "generateName", Shape::Text),
    one(3, "namespace", Shape::Text),
    one(5, "uid", Shape::Text),
    one(6, "resourceVersion", Shape::Text),
    many(11, "labels", Shape::Labels),
    many(12, "annotations", Shape::Labels),
    many(13, "ownerReferences", Shape::Message(OWNER)),
    many(14, "finalizers", Shape::Text),
];

const OWNER: &[Field] = &[
    one(1, "kind", Shape::Text),
    one(3, "name", Shape::Text),
    one(4, "uid", Shape::Text),
    one(5, "apiVersion", Shape::Text),
    one(6, "controller", Shape::Flag),
    one(7, "blockOwnerDeletion", Shape::Flag),
];

/// k8s.io/apimachinery/pkg/apis/meta/v1 `DeleteOptions`.
const DELETE_OPTIONS: &[Field] = &[
    one(
        2,
        "preconditions",
        Shape::Message(&[one(1, "uid", Shape::Text), one(2, "resourceVersion", Shape::Text)]),
    ),
    one(4, "propagationPolicy", Shape::Text),
    many(5, "dryRun", Shape::Text),
];

/// k8s.io/api/core/v1 `Namespace`.
const NAMESPACE: &[Field] = &[
    one(1, "metadata", Shape::Message(METADATA)),
    one(2, "spec", Shape::Message(&[many(1, "finalizers", Shape::Text)])),
    one(3, "status", Shape::Message(&[one(1, "phase", Shape::Text)])),
];

/// k8s.io/api/networking/v1 `NetworkPolicy`.
const NETWORK_POLICY: &[Field] =
    &[one(1, "metadata", Shape::Message(METADATA)), one(2, "spec", Shape::Message(POLICY_SPEC))];

const POLICY_SPEC: &[Field] = &[
    one(1, "podSelector", Shape::Message(SELECTOR)),
    many(
        2,
        "ingress",
        Shape::Message(&[many(1, "ports", Shape::Message(PORT)), many(2, "from", Shape::Message(PEER))]),
    ),
    many(
        3,
        "egress",
        Shape::Message(&[many(1, "ports", Shape::Message(PORT)), many(2, "to", Shape::Message(PEER))]),
    ),
    many(4, "policyTypes", Shape::Text),
];

const PORT: &[Field] =
    &[one(1, "protocol", Shape::Text), one(2, "port", Shape::NumberOrText), one(3, "endPort", Shape::Number)];

const PEER: &[Field] = &[
    one(1, "podSelector", Shape::Message(SELECTOR)),
    one(2, "namespaceSelector", Shape::Message(SELECTOR)),
    one(3, "ipBlock", Shape::Message(&[one(1, "cidr", Shape::Text), many(2, "except", Shape::Text)])),
];

const SELECTOR: &[Field] = &[
    many(1, "matchLabels", Shape::Labels),
    many(
        2,
        "matchExpressions",
        Shape::Message(&[
            one(1, "key", Shape::Text),
            one(2, "operator", Shape::Text),
            many(3, "values", Shape::Text),
        ]),
    ),
];

/// k8s.io/api/rbac/v1 `Role`, and `ClusterRole`, which has the third field beside the same two.
const ROLE: &[Field] = &[
    one(1, "metadata", Shape::Message(METADATA)),
    many(
        2,
        "rules",
        Shape::Message(&[
            many(1, "verbs", Shape::Text),
            many(2, "apiGroups", Shape::Text),
            many(3, "resources", Shape::Text),
            many(4, "resourceNames", Shape::Text),
            many(5, "nonResourceURLs", Shape::Text),
        ]),
    ),
    one(3, "aggregationRule", Shape::Message(&[many(1, "clusterRoleSelectors", Shape::Message(SELECTOR))])),
];

/// k8s.io/api/rbac/v1 `RoleBinding`, `ClusterRoleBinding`.
const BINDING: &[Field] = &[
    one(1, "metadata", Shape::Message(METADATA)),
    many(
        2,
        "subjects",
        Shape::Message(&[
            one(1, "kind", Shape::Text),
            one(2, "apiGroup", Shape::Text),
            one(3, "name", Shape::Text),
            one(4, "namespace", Shape::Text),
        ]),
    ),
    one(
        3,
        "roleRef",
        Shape::Message(&[
            one(1, "apiGroup", Shape::Text),
            one(2, "kind", Shape::Text),
            one(3, "name", Shape::Text),
        ]),
    ),
];

/// k8s.io/api/authorization/v1 `SelfSubjectAccessReview`.
const ACCESS_REVIEW: &[Field] = &[
    one(1, "metadata", Shape::Message(METADATA)),
    one(
        2,
        "spec",
        Shape::Message(&[
            one(1, "resourceAttributes", Shape::Message(RESOURCE)),
            one(2, "nonResourceAttributes", Shape::Message(PATH)),
        ]),
    ),
];

/// k8s.io/api/authorization/v1 `SubjectAccessReview`, `LocalSubjectAccessReview`.
const SUBJECT_REVIEW: &[Field] = &[
    one(1, "metadata", Shape::Message(METADATA)),
    one(
        2,
        "spec",
        Shape::Message(&[
            one(1, "resourceAttributes", Shape::Message(RESOURCE)),
            one(2, "nonResourceAttributes", Shape::Message(PATH)),
            one(3, "user", Shape::Text),
            many(4, "groups", Shape::Text),
        ]),
    ),
];

const RESOURCE: &[Field] = &[
    one(1, "namespace", Shape::Text),
    one(2, "verb", Shape::Text),
    one(3, "group", Shape::Text),
    one(4, "version", Shape::Text),
    one(5, "resource", Shape::Text),
    one(6, "subresource", Shape::Text),
    one(7, "name", Shape::Text),
];

const PATH: &[Field] = &[one(1, "path", Shape::Text), one(2, "verb", Shape::Text)];

/// k8s.io/api/authorization/v1 `SelfSubjectRulesReview`.
const RULES_REVIEW: &[Field] = &[
    one(1, "metadata", Shape::Message(METADATA)),
    one(2, "spec", Shape::Message(&[one(1, "namespace", Shape::Text)])),
];

/// k8s.io/api/authentication/v1 `TokenReview`.
const TOKEN_REVIEW: &[Field] = &[
    one(1, "metadata", Shape::Message(METADATA)),
    one(2, "spec", Shape::Message(&[one(1, "token", Shape::Text), many(2, "audiences", Shape::Text)])),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A length-delimited field.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn envelope(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let said = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
        [b"k8s\0".to_vec(), field(1, &said), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn a_policy_means_the_same_as_in_json() {
        let label = field(1, &[field(1, b"app"), field(2, b"web")].concat());
        let expression =
            field(2, &[field(1, b"tier"), field(2, b"In"), field(3, b"a"), field(3, b"b")].concat());
        let named = field(
            1,
            &[field(1, b"TCP"), field(2, &[vec![8, 1, 16, 0], field(3, b"http")].concat())].concat(),
        );
        let range = field(1, &[field(2, &[8, 0, 16, 80, 26, 0]), vec![24, 90]].concat());
        let from = field(2, &field(2, &[]));
        let block = field(2, &field(3, &[field(1, b"10.0.0.0/8"), field(2, b"10.1.0.0/16")].concat()));
        let ingress = field(2, &[named, range, from, block].concat());
        let spec =
            field(2, &[field(1, &[label, expression].concat()), ingress, field(4, b"Ingress")].concat());
        let metadata = field(1, &[field(1, b"p"), field(2, b""), field(8, b"")].concat());
        let body = envelope("networking.k8s.io/v1", "NetworkPolicy", &[metadata, spec].concat());
        let expected = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "p" },
            "spec": {
                "podSelector": { "matchLabels": { "app": "web" },
                    "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["a", "b"] }] },
                "ingress": [{
                    "ports": [{ "protocol": "TCP", "port": "http" }, { "port": 80, "endPort": 90 }],
                    "from": [{ "namespaceSelector": {} },
                        { "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] } }],
                }],
                "policyTypes": ["Ingress"],
            },
        });
        assert_eq!(parse(&body).unwrap(), expected);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            raw in proptest::collection::vec(proptest::num::u8::ANY, 0..120),
            kind in proptest::sample::select(KINDS.iter().map(|(kind, _)| *kind).chain([""]).collect::<Vec<_>>()),
        ) {
            parse(&[b"k8s\0", &raw[..]].concat()).ok();
            parse(&envelope("v1", kind, &raw)).ok();
        }

        #[test]
        fn no_damage_to_a_message_makes_the_parser_panic(at in 0..60_usize, byte in proptest::num::u8::ANY) {
            let label = field(11, &[field(1, b"key"), field(2, b"value")].concat());
            let metadata = field(1, &[field(1, b"shop"), label, field(14, b"a.example/x")].concat());
            let mut message = envelope("v1", "Namespace", &metadata);
            let at = at % message.len();
            message[at] = byte;
            parse(&message).ok();
        }
    }

    #[test]
    fn garbage_is_refused_and_never_read_beyond_its_end() {
        let good = envelope("v1", "Namespace", &field(1, &field(1, b"shop")));
        assert_eq!(parse(&good).unwrap()["metadata"]["name"], "shop");
        for end in 0..good.len() - 4 {
            // A cut between two fields is a message too, without the rest.
            assert!(parse(&good[..end]).ok().is_none_or(|read| read.get("metadata").is_none()), "{end}");
        }
        let cases: [&[u8]; 4] =
            [b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"k8s\0\x07", b"k8s\0\x12\xff\x01", b"{}"];
        for body in cases {
            parse(body).unwrap_err();
        }
        parse(&envelope("v1", "Pod", b"")).unwrap_err();
        parse(&envelope("v1", "Namespace", &[8, 1])).unwrap_err();
        parse(&envelope("v1", "Namespace", &field(1, &field(1, b"\xff")))).unwrap_err();
    }
}

//! What OpenAPI's documents call the kinds, and how they refer to a definition.

use intent::Kind;
use intent::schema::Dialect;
use serde_json::{Value, json};

/// A reference to a definition.
pub(super) fn reference(name: &str, dialect: Dialect) -> Value {
    let place = if dialect == Dialect::V2 { "definitions" } else { "components/schemas" };
    json!({ "$ref": format!("#/{place}/{name}") })
}

/// The name of a kind's definition: upstream's for upstream's kinds, else the group's words in reverse order before version
/// and kind.
pub(super) fn schema_name(kind: Kind) -> String {
    let known = kind.descriptor();
    match known.group.strip_suffix(".k8s.io").unwrap_or(known.group).split('.').next() {
        Some("") | None => format!("io.k8s.api.core.{}.{}", known.version, known.kind),
        Some(first) if known.group.ends_with(".k8s.io") => {
            format!("io.k8s.api.{first}.{}.{}", known.version, known.kind)
        }
        Some(_) => {
            let words: Vec<_> = known.group.split('.').rev().collect();
            format!("{}.{}.{}", words.join("."), known.version, known.kind)
        }
    }
}

/// The name of the definition of a kind's lists.
pub(super) fn list_name(kind: Kind) -> String {
    format!("{}List", schema_name(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_kinds_have_upstream_names() {
        assert_eq!(schema_name(Kind::Namespace), "io.k8s.api.core.v1.Namespace");
        assert_eq!(schema_name(Kind::NetworkPolicy), "io.k8s.api.networking.v1.NetworkPolicy");
        assert_eq!(schema_name(Kind::VirtualNetwork), "dev.sealane.v1alpha1.VirtualNetwork");
    }
}

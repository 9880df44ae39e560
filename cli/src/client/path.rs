//! Paths of objects, and queries.

use std::fmt::Write as _;

use intent::Kind;
use intent::object::SYSTEM_TENANT;
use intent::registry::Scope;

/// Where objects are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The tenant; `None`: the server's default.
    pub(crate) tenant: Option<&'a str>,
    /// The namespace; `None`: all of them, or none where the kind is in none.
    pub(crate) namespace: Option<&'a str>,
}

/// The part of an address behind the question mark.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(String);

impl Place<'_> {
    /// The path of all objects of a kind.
    pub(crate) fn of_all(&self, kind: Kind) -> String {
        let known = kind.descriptor();
        let tenant = if known.scope == Scope::Provider { Some(SYSTEM_TENANT) } else { self.tenant };
        let mut path = tenant_prefix(tenant);
        let root = if known.group.is_empty() { "api" } else { "apis" };
        path.push_str(&format!("/{root}/{}", known.api_version()));
        if let Some(namespace) = self.namespace.filter(|_| known.namespaced()) {
            path.push_str(&format!("/namespaces/{}", encoded(namespace)));
        }
        format!("{path}/{}", known.plural)
    }

    /// The path of one object.
    pub(crate) fn of(&self, kind: Kind, name: &str) -> String {
        format!("{}/{}", self.of_all(kind), encoded(name))
    }

    /// The path of something that the fabric tells of a tenant.
    pub(crate) fn of_fabric(&self, what: &str) -> String {
        format!("{}/fabric/v1/{what}", tenant_prefix(self.tenant))
    }
}

impl Query {
    /// With one more parameter.
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let sign = if self.0.is_empty() { '?' } else { '&' };
        self.0.push_str(&format!("{sign}{name}={}", encoded(value.as_ref())));
        self
    }

    /// With one more parameter, if it has a value.
    pub(crate) fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The path with it.
    pub(crate) fn on(&self, path: &str) -> String {
        format!("{path}{}", self.0)
    }
}

fn tenant_prefix(tenant: Option<&str>) -> String {
    tenant.map(|tenant| format!("/clusters/{}", encoded(tenant))).unwrap_or_default()
}

/// A text as it stands in a path or a query (RFC 3986 section 2.1).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to memory does not fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_where_its_kind_says() {
        let place = Place { tenant: Some("acme"), namespace: Some("shop") };
        assert_eq!(
            place.of(Kind::NetworkPolicy, "a"),
            "/clusters/acme/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/a"
        );
        assert_eq!(place.of(Kind::Namespace, "shop"), "/clusters/acme/api/v1/namespaces/shop");
        assert_eq!(place.of(Kind::Tenant, "a/b"), "/clusters/system/apis/sealane.dev/v1alpha1/tenants/a%2Fb");
        let place = Place { tenant: None, namespace: None };
        assert_eq!(place.of_all(Kind::Endpoint), "/apis/sealane.dev/v1alpha1/endpoints");
        assert_eq!(place.of_fabric("flows"), "/fabric/v1/flows");
    }

    #[test]
    fn queries_are_encoded() {
        let query = Query::default().with("from", "shop/web:80").with_some("x", None).with("l", "a=b");
        assert_eq!(query.on("/e"), "/e?from=shop%2Fweb%3A80&l=a%3Db");
    }
}

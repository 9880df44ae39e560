//! What a path is about.
//!
//! ```text
//!     [/clusters/TENANT] /api/v1/…                                  the core group
//!     [/clusters/TENANT] /apis/GROUP/VERSION/…                      any other
//!         …/PLURAL[/NAME[/status]]                                  cluster scoped, or all namespaces
//!         …/namespaces/NAMESPACE/PLURAL[/NAME[/status]]             in a namespace
//!     Questions about rights are resources of authorization.k8s.io and authentication.k8s.io that are answered, not kept.
//! ```

use intent::Kind;
use intent::object::{DEFAULT_TENANT, SYSTEM_TENANT};
use intent::registry::Scope as Place;
use store::{ObjectKey, Scope};

use crate::review::Review;

/// What a path is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Objects of a kind.
    Objects(Objects),
    /// A question about rights.
    Review { tenant: String, namespace: Option<String>, review: Review },
    /// What the API of a tenant offers.
    Discovery { tenant: String, document: Discovery },
    /// Whether the server lives.
    Health(Health),
    /// Which release it is.
    Version,
}

/// One of the documents that say what the API offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// `/`
    Paths,
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`
    Resources { group: String, version: String },
    /// `/openapi/v2`
    OpenApi2,
    /// `/openapi/v3`
    OpenApiIndex,
    /// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`
    OpenApi { group: String, version: String },
}

/// Which health is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Live,
    Ready,
}

/// Objects of a kind: one by name, or those of a namespace, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Objects {
    /// The tenant that holds them.
    pub(crate) tenant: String,
    pub(crate) kind: Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) status: bool,
}

impl Target {
    /// `None`: there is nothing at this path.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        if parts.last() == Some(&"") {
            parts.pop();
        }
        let (tenant, parts) = match &parts[..] {
            ["clusters", tenant, rest @ ..] if intent::schema::Format::Label.accepts(tenant) => {
                (*tenant, rest)
            }
            ["clusters", ..] => return None,
            rest => (DEFAULT_TENANT, rest),
        };
        let discovery = |document| Some(Self::Discovery { tenant: tenant.to_owned(), document });
        match parts {
            [] => discovery(Discovery::Paths),
            ["version"] => Some(Self::Version),
            ["healthz" | "livez", ..] => Some(Self::Health(Health::Live)),
            ["readyz", ..] => Some(Self::Health(Health::Ready)),
            ["api"] => discovery(Discovery::CoreVersions),
            ["apis"] => discovery(Discovery::Groups),
            ["apis", group] => discovery(Discovery::Group((*group).to_owned())),
            ["api", version] => {
                discovery(Discovery::Resources { group: String::new(), version: (*version).to_owned() })
            }
            ["apis", group, version] => {
                discovery(Discovery::Resources { group: (*group).to_owned(), version: (*version).to_owned() })
            }
            ["openapi", "v2"] => discovery(Discovery::OpenApi2),
            ["openapi", "v3"] => discovery(Discovery::OpenApiIndex),
            ["openapi", "v3", "api", version] => {
                discovery(Discovery::OpenApi { group: String::new(), version: (*version).to_owned() })
            }
            ["openapi", "v3", "apis", group, version] => {
                discovery(Discovery::OpenApi { group: (*group).to_owned(), version: (*version).to_owned() })
            }
            ["api", version, rest @ ..] => Objects::parse(tenant, "", version, rest).map(Self::Objects),
            ["apis", group, version, plural] if Review::at(group, version, plural, false).is_some() => {
                let review = Review::at(group, version, plural, false)?;
                Some(Self::Review { tenant: tenant.to_owned(), namespace: None, review })
            }
            ["apis", group, version, "namespaces", namespace, plural]
                if Review::at(group, version, plural, true).is_some() =>
            {
                let (tenant, namespace) = (tenant.to_owned(), Some((*namespace).to_owned()));
                Some(Self::Review { tenant, namespace, review: Review::at(group, version, plural, true)? })
            }
            ["apis", group, version, rest @ ..] => {
                Objects::parse(tenant, group, version, rest).map(Self::Objects)
            }
            _ => None,
        }
    }
}

impl Objects {
    fn parse(tenant: &str, group: &str, version: &str, parts: &[&str]) -> Option<Self> {
        if parts.contains(&"") {
            return None;
        }
        let (namespace, plural, rest) = match parts {
            ["namespaces", _, "status"] => (None, "namespaces", &parts[1..]),
            ["namespaces", namespace, plural, rest @ ..] => (Some((*namespace).to_owned()), *plural, rest),
            [plural, rest @ ..] => (None, *plural, rest),
            [] => return None,
        };
        let kind = Kind::at(group, version, plural)?;
        let scope = kind.descriptor().scope;
        let (name, status) = match rest {
            [] => (None, false),
            [name] => (Some(decoded(name)?), false),
            [name, "status"] => (Some(decoded(name)?), true),
            _ => return None,
        };
        let fits = match scope {
            Place::Namespaced => namespace.is_some() || name.is_none(),
            Place::Tenant | Place::Provider | Place::Level => namespace.is_none(),
        };
        let tenant = if fits { home(tenant, scope)? } else { return None };
        Some(Self { tenant: tenant.to_owned(), kind, namespace, name, status })
    }

    /// The full name of the resource.
    pub(crate) fn resource(&self) -> String {
        self.kind.descriptor().resource()
    }

    /// Where the objects are in the store.
    pub(crate) fn scope(&self) -> Scope {
        let scope = Scope::resource(&self.resource()).of_tenant(&self.tenant);
        match &self.namespace {
            Some(namespace) => scope.in_namespace(namespace),
            None => scope,
        }
    }

    /// The key of the object of this name.
    pub(crate) fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(&self.tenant, &self.resource(), self.namespace.as_deref(), name)
    }
}

/// A segment of a path as it was meant (RFC 3986, section 2.1): clients write a role's `:` as `%3A`. `None`: it is no text.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.split_off(..2)?).ok()?;
        let digits = Some(digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The kinds that a tenant's API offers.
pub(crate) fn kinds_of(tenant: &str) -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(move |kind| home(tenant, kind.descriptor().scope).is_some())
}

/// The tenant whose store holds what is reached through `tenant`. The provider's level is reached through its own path
/// and, for whoever administers all, through the default tenant's.
pub(crate) fn home(tenant: &str, scope: Place) -> Option<&str> {
    match (scope, tenant) {
        (Place::Provider, SYSTEM_TENANT | DEFAULT_TENANT) => Some(SYSTEM_TENANT),
        (Place::Level, tenant) => Some(tenant),
        (Place::Provider, _) | (_, SYSTEM_TENANT) => None,
        (Place::Tenant | Place::Namespaced, tenant) => Some(tenant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(tenant: &str, kind: Kind, namespace: Option<&str>, name: Option<&str>) -> Target {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Target::Objects(Objects {
            tenant: tenant.into(),
            kind,
            namespace: owned(namespace),
            name: owned(name),
            status: false,
        })
    }

    #[test]
    fn paths_lead_to_what_they_name() {
        let policies = "/apis/networking.k8s.io/v1";
        let cases = [
            ("/api/v1/namespaces".to_owned(), objects("default", Kind::Namespace, None, None)),
            (
                "/clusters/acme/api/v1/namespaces/shop".to_owned(),
                objects("acme", Kind::Namespace, None, Some("shop")),
            ),
            (format!("{policies}/networkpolicies"), objects("default", Kind::NetworkPolicy, None, None)),
            (
                format!("{policies}/namespaces/a/networkpolicies"),
                objects("default", Kind::NetworkPolicy, Some("a"), None),
            ),
            (
                format!("/clusters/acme{policies}/namespaces/a/networkpolicies/p/"),
                objects("acme", Kind::NetworkPolicy, Some("a"), Some("p")),
            ),
            ("/apis/sealane.dev/v1alpha1/tenants".to_owned(), objects("system", Kind::Tenant, None, None)),
            (
                "/clusters/system/apis/sealane.dev/v1alpha1/nodes/n".to_owned(),
                objects("system", Kind::Node, None, Some("n")),
            ),
        ];
        for (path, expected) in cases {
            assert_eq!(Target::parse(&path), Some(expected), "{path}");
        }
        let Some(Target::Objects(status)) = Target::parse("/api/v1/namespaces/shop/status") else {
            panic!("no objects")
        };
        assert!(status.status && status.kind == Kind::Namespace && status.name.as_deref() == Some("shop"));
    }

    #[test]
    fn names_in_paths_are_read_as_they_were_meant() {
        let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        for (written, meant) in
            [("system%3anode", "system:node"), ("system:node", "system:node"), ("a%20b", "a b")]
        {
            let expected = objects("default", Kind::ClusterRole, None, Some(meant));
            assert_eq!(Target::parse(&format!("{roles}/{written}")), Some(expected));
        }
        for broken in ["%", "a%3", "%zz", "%+1", "%ff"] {
            assert_eq!(Target::parse(&format!("{roles}/{broken}")), None, "{broken}");
        }
    }

    #[test]
    fn what_is_not_served_leads_nowhere() {
        for path in [
            "/nowhere",
            "/clusters",
            "/clusters/Bad_Tenant/api/v1",
            "/clusters/acme/apis/sealane.dev/v1alpha1/tenants",
            "/clusters/system/api/v1/namespaces",
            "/api/v1/pods",
            "/api/v2/namespaces/x",
            "/api/v1/namespaces//networkpolicies",
            "/api/v1/namespaces/a/finalize",
            "/apis/networking.k8s.io/v1/networkpolicies/p",
            "/apis/networking.k8s.io/v1/namespaces/a/networkpolicies/p/status/x",
            "/apis/sealane.dev/v1alpha1/namespaces/a/virtualnetworks",
        ] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }
}

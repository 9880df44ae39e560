//! Whether somebody may do something: the one question that every request passes, and the plain answer of [`Rights`].

use intent::rights::{ALL, Reach, Rule};

use crate::status::{self, Reason, Refusal, qualified};
use crate::who::{AUTHENTICATED, LOCAL, LOOPBACK, MASTERS, NODE_PREFIX, NODES, REMOTE, Who};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// Many objects.
    List,
    /// What happens to objects.
    Watch,
    /// A new object.
    Create,
    /// An object replaced.
    Update,
    /// An object changed in part.
    Patch,
    /// An object deleted.
    Delete,
    /// Many objects deleted.
    DeleteCollection,
    /// A node's stream of records.
    Connect,
}

/// What somebody wants to do with what.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// What.
    pub verb: Verb,
    /// In which tenant ([`store::ObjectKey::SYSTEM`]: the provider's level).
    pub tenant: &'a str,
    /// With what.
    pub what: What<'a>,
}

/// What a deed is done with.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// Objects of a resource.
    Objects {
        /// The API group.
        group: &'a str,
        /// The resource (plural).
        resource: &'a str,
        /// The part of the object, such as `status`.
        subresource: Option<&'a str>,
        /// The namespace, if in one.
        namespace: Option<&'a str>,
        /// The object; `None`: all of them.
        name: Option<&'a str>,
    },
    /// A document that is no object, by its path without the tenant's prefix: `/apis`, `/openapi/v3`.
    Path(&'a str),
}

/// A deed as the authorizer judges it: by names alone, so that it can be asked about others and about verbs that no request
/// has.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The caller's name.
    pub user: &'a str,
    /// The caller's groups.
    pub groups: &'a [String],
    /// In which tenant ([`store::ObjectKey::SYSTEM`]: the provider's level).
    pub tenant: &'a str,
    /// What: `get`, `escalate`, `*`, …
    pub verb: &'a str,
    /// With what.
    pub what: What<'a>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be done, and by what right.
    Allowed(String),
    /// It may not, and why if that helps.
    Denied(Option<String>),
}

/// Decides who may do what. Every request but those for health and version passes it. Asked on every request: must be quick
/// and never block.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether it may be done.
    fn decide(&self, asked: &Asked<'_>) -> Decision;

    /// All that somebody may do in a namespace (`None`: everywhere) of a tenant.
    fn rules(&self, user: &str, groups: &[String], tenant: &str, namespace: Option<&str>) -> Vec<Rule>;

    /// By what right `who` may do it. Errors: 403.
    fn authorize(&self, who: &Who, deed: &Deed<'_>) -> Result<String, Refusal> {
        let Deed { verb, tenant, what } = *deed;
        match self.decide(&Asked { user: &who.user, groups: &who.groups, tenant, verb: verb.word(), what }) {
            Decision::Allowed(right) => Ok(right),
            Decision::Denied(why) => Err(deed.forbidden(who, why.as_deref())),
        }
    }
}

/// What a kind of caller may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Get, list, watch.
    pub read: bool,
    /// Everything that changes objects.
    pub write: bool,
    /// Be a node.
    pub connect: bool,
}

/// The rights of callers by how they come. `system:masters` may do everything, a node may connect under its own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Users of this host, through the unix socket.
    pub users: Access,
    /// The loopback interface, while there is no TLS.
    pub loopback: Access,
    /// Other hosts, while there is no TLS.
    pub remote: Access,
    /// Whoever has shown a certificate or a token.
    pub authenticated: Access,
}

impl Access {
    /// Nothing.
    pub const NONE: Self = Self { read: false, write: false, connect: false };
    /// Read alone.
    pub const READ: Self = Self { read: true, write: false, connect: false };
    /// Be a node, nothing else.
    pub const CONNECT: Self = Self { read: false, write: false, connect: true };
    /// Everything.
    pub const FULL: Self = Self { read: true, write: true, connect: true };

    fn allows(self, verb: &str) -> bool {
        match verb {
            "get" | "list" | "watch" => self.read,
            "connect" => self.connect,
            _ => self.write,
        }
    }

    fn verbs(self) -> Vec<String> {
        let verbs: &[&str] = match self {
            Self { write: true, .. } => &[ALL],
            Self { read: true, .. } => &["get", "list", "watch"],
            Self { .. } => &[],
        };
        verbs.iter().map(|verb| (*verb).to_owned()).collect()
    }
}

impl Default for Rights {
    /// Users read; without TLS, loopback does everything and other hosts are nodes alone; a certificate or token alone
    /// gives nothing.
    fn default() -> Self {
        Self {
            users: Access::READ,
            loopback: Access::FULL,
            remote: Access::CONNECT,
            authenticated: Access::NONE,
        }
    }
}

impl Authorizer for Rights {
    fn decide(&self, asked: &Asked<'_>) -> Decision {
        let node = asked.user.strip_prefix(NODE_PREFIX).filter(|_| is_in(asked.groups, NODES));
        let own_stream = matches!(
            (asked.verb, asked.what, node),
            ("connect", What::Objects { resource: "nodes", name: Some(name), .. }, Some(own)) if name == own
        );
        if own_stream {
            return Decision::Allowed("a node may connect under its own name".to_owned());
        }
        let group = self.accesses(asked.groups).find(|(_, access)| access.allows(asked.verb));
        match group {
            Some((group, _)) => Decision::Allowed(format!("the settings allow it to {group}")),
            None => Decision::Denied(None),
        }
    }

    fn rules(&self, _: &str, groups: &[String], _: &str, _: Option<&str>) -> Vec<Rule> {
        let all = || vec![ALL.to_owned()];
        let verbs = self.accesses(groups).map(|(_, access)| access.verbs()).filter(|verbs| !verbs.is_empty());
        let on = |verbs: Vec<String>| {
            let objects = Reach::Resources { groups: all(), resources: all(), names: Vec::new() };
            [Rule { verbs: verbs.clone(), reach: objects }, Rule { verbs, reach: Reach::Paths(all()) }]
        };
        verbs.flat_map(on).collect()
    }
}

impl Rights {
    /// What each group that counts may do, of those given.
    fn accesses(&self, groups: &[String]) -> impl Iterator<Item = (&'static str, Access)> {
        let accesses = [
            (MASTERS, Access::FULL),
            (LOCAL, self.users),
            (LOOPBACK, self.loopback),
            (REMOTE, self.remote),
            (AUTHENTICATED, self.authenticated),
        ];
        accesses.into_iter().filter(move |(group, _)| is_in(groups, group))
    }
}

fn is_in(groups: &[String], group: &str) -> bool {
    groups.iter().any(|own| own == group)
}

impl Verb {
    /// The word that messages and the audit use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Connect => "connect",
        }
    }

    /// Whether it changes objects.
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch | Self::Connect)
    }
}

impl Deed<'_> {
    /// 403 that says what was not allowed to whom, and why if that helps.
    pub fn forbidden(&self, who: &Who, why: Option<&str>) -> Refusal {
        let (verb, tenant) = (self.verb.word(), self.tenant);
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        let asked = |group: &str, resource: &str| status::Asked {
            verb,
            tenant: tenant.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
        };
        match self.what {
            What::Path(path) => Refusal::new(
                Reason::Forbidden,
                format!(
                    "forbidden: User {:?} cannot {verb} path {path:?} of tenant {tenant:?}{why}",
                    who.user
                ),
            )
            .of(asked("", "")),
            What::Objects { group, resource, subresource, namespace, name } => {
                let object = name.map_or(String::new(), |name| format!(" {name:?}"));
                let part = subresource.map_or(String::new(), |part| format!("/{part}"));
                let place = namespace
                    .map_or("at the cluster scope".to_owned(), |name| format!("in the namespace {name:?}"));
                let message = format!(
                    "{}{object} is forbidden: User {:?} cannot {verb} resource \"{resource}{part}\" in API group {group:?} \
                     {place} of tenant {tenant:?}{why}",
                    qualified(resource, group),
                    who.user,
                );
                Refusal::new(Reason::Forbidden, message)
                    .about(resource, group, name.unwrap_or_default())
                    .of(asked(group, resource))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::who::{Identity, Origin};

    const READS: &[Verb] = &[Verb::Get, Verb::List, Verb::Watch];
    const WRITES: &[Verb] = &[Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::DeleteCollection];

    fn deed(verb: Verb, name: Option<&str>) -> Deed<'_> {
        let (group, resource) = ("fabric.sealane.dev", "nodes");
        Deed {
            verb,
            tenant: "system",
            what: What::Objects { group, resource, subresource: None, namespace: None, name },
        }
    }

    fn signed(user: &str, group: &str) -> Who {
        let identity = Identity { user: user.to_owned(), groups: vec![group.to_owned()] };
        Who::identified(identity, Origin::Address([192, 0, 2, 1].into()))
    }

    #[test]
    fn each_caller_may_do_what_its_rights_say_and_nothing_else() {
        let rights = Rights::default();
        let callers = [
            (Who::local(0), [true, true, true]),
            (Who::local(1000), [true, false, false]),
            (Who::plain([127, 0, 0, 1].into()), [true, true, true]),
            (Who::plain([192, 0, 2, 1].into()), [false, false, true]),
            (Who::anonymous(Origin::Address([127, 0, 0, 1].into())), [false, false, false]),
            (signed("root", "people"), [false, false, false]),
            (signed("admin", MASTERS), [true, true, true]),
            (signed("mallory", LOOPBACK), [false, false, false]),
            (signed("system:node:n1", NODES), [false, false, false]),
        ];
        for (who, expected) in callers {
            for (verbs, expected) in [READS, WRITES, &[Verb::Connect]].iter().zip(expected) {
                for verb in *verbs {
                    let outcome = rights.authorize(&who, &deed(*verb, None));
                    assert_eq!(outcome.is_ok(), expected, "{who:?} {verb:?}");
                }
            }
        }
    }

    #[test]
    fn a_node_connects_under_its_own_name_alone_and_does_nothing_else() {
        let (rights, node) = (Rights::default(), signed("system:node:n1", NODES));
        rights.authorize(&node, &deed(Verb::Connect, Some("n1"))).unwrap();
        rights.authorize(&node, &deed(Verb::Connect, Some("n2"))).unwrap_err();
        rights.authorize(&signed("system:node:n1", "people"), &deed(Verb::Connect, Some("n1"))).unwrap_err();
        for verb in READS.iter().chain(WRITES) {
            rights.authorize(&node, &deed(*verb, Some("n1"))).unwrap_err();
        }
    }
}

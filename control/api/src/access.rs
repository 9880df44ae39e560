//! Who asks, and whether they may: the one `authorize` that every request passes.

use std::net::IpAddr;

use crate::status::{Reason, Refusal, qualified};

/// Who is at the other end of a connection, as the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// User 0, through the unix socket.
    Root,
    /// Another user of this host, through the unix socket.
    User {
        /// The user's number.
        uid: u32,
    },
    /// Somebody on this host, through the loopback interface.
    Loopback,
    /// Somebody elsewhere.
    Remote(IpAddr),
}

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

/// The rights of every caller who is not root; root may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Users of this host, through the unix socket.
    pub users: Access,
    /// The loopback interface.
    pub loopback: Access,
    /// Other hosts.
    pub remote: Access,
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

    fn allows(self, verb: Verb) -> bool {
        match verb {
            Verb::Get | Verb::List | Verb::Watch => self.read,
            Verb::Connect => self.connect,
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => self.write,
        }
    }
}

impl Default for Rights {
    /// Users read, loopback does everything, other hosts are nodes alone.
    fn default() -> Self {
        Self { users: Access::READ, loopback: Access::FULL, remote: Access::CONNECT }
    }
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

impl Who {
    /// The name under which messages and the audit know the caller.
    pub fn name(&self) -> String {
        match self {
            Self::Root => "root".to_owned(),
            Self::User { uid } => format!("uid:{uid}"),
            Self::Loopback => "loopback".to_owned(),
            Self::Remote(address) => format!("remote:{address}"),
        }
    }

    /// The address that the caller came from; `None`: the unix socket.
    pub fn address(&self) -> Option<String> {
        match self {
            Self::Root | Self::User { .. } => None,
            Self::Loopback => Some("127.0.0.1".to_owned()),
            Self::Remote(address) => Some(address.to_string()),
        }
    }
}

/// What somebody wants to do with what.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// What.
    pub verb: Verb,
    /// In which tenant ([`store::ObjectKey::SYSTEM`]: the provider's level).
    pub tenant: &'a str,
    /// With which resource (plural).
    pub resource: &'a str,
    /// Of which API group.
    pub group: &'a str,
    /// In which namespace, if in one.
    pub namespace: Option<&'a str>,
    /// With which object; `None`: with all of them.
    pub name: Option<&'a str>,
}

/// Whether `who` may do it. Errors: 403 that says what was not allowed to whom.
pub fn authorize(rights: &Rights, who: &Who, deed: &Deed<'_>) -> Result<(), Refusal> {
    let access = match who {
        Who::Root => Access::FULL,
        Who::User { .. } => rights.users,
        Who::Loopback => rights.loopback,
        Who::Remote(_) => rights.remote,
    };
    if access.allows(deed.verb) {
        return Ok(());
    }
    let object = deed.name.map_or(String::new(), |name| format!(" {name:?}"));
    let place =
        deed.namespace.map_or("at the cluster scope".to_owned(), |name| format!("in the namespace {name:?}"));
    let message = format!(
        "{}{object} is forbidden: User {:?} cannot {} resource {:?} in API group {:?} {place} of tenant {:?}",
        qualified(deed.resource, deed.group),
        who.name(),
        deed.verb.word(),
        deed.resource,
        deed.group,
        deed.tenant,
    );
    Err(Refusal::new(Reason::Forbidden, message).about(
        deed.resource,
        deed.group,
        deed.name.unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_may_do_what_its_rights_say_and_nothing_else() {
        let rights = Rights::default();
        let callers = [
            (Who::Root, [true, true, true]),
            (Who::User { uid: 1000 }, [true, false, false]),
            (Who::Loopback, [true, true, true]),
            (Who::Remote([192, 0, 2, 1].into()), [false, false, true]),
        ];
        let deeds: [&[Verb]; 3] = [
            &[Verb::Get, Verb::List, Verb::Watch],
            &[Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::DeleteCollection],
            &[Verb::Connect],
        ];
        for (who, expected) in callers {
            for (verbs, expected) in deeds.iter().zip(expected) {
                for verb in *verbs {
                    let deed = Deed {
                        verb: *verb,
                        tenant: "t",
                        resource: "r",
                        group: "g",
                        namespace: None,
                        name: None,
                    };
                    assert_eq!(authorize(&rights, &who, &deed).is_ok(), expected, "{who:?} {verb:?}");
                }
            }
        }
    }
}

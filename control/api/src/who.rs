//! Who asks: a name, groups and where from, in the Kubernetes manner.
//!
//! ```text
//!     client certificate   CN = user, O = groups       + system:authenticated
//!     bearer token         what `Authenticate` says     + system:authenticated
//!     unix socket, uid 0   root in system:masters       + system:authenticated
//!     unix socket, other   uid:N in sealane:local       + system:authenticated
//!     TLS with neither     system:anonymous in system:unauthenticated
//!     TCP without TLS      loopback in sealane:loopback, or remote:ADDRESS in sealane:remote
//! ```

use std::net::IpAddr;

use futures_util::future::BoxFuture;

/// Everybody whose name is vouched for.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everybody whose name is not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Those who may do everything.
pub const MASTERS: &str = "system:masters";
/// The nodes; each is the user [`NODE_PREFIX`] and its name.
pub const NODES: &str = "system:nodes";
/// Users of this host, through the unix socket.
pub const LOCAL: &str = "sealane:local";
/// Whoever comes through the loopback interface while there is no TLS.
pub const LOOPBACK: &str = "sealane:loopback";
/// Other hosts while there is no TLS.
pub const REMOTE: &str = "sealane:remote";
/// What a node's user name begins with.
pub const NODE_PREFIX: &str = "system:node:";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The name under which rights, messages and the audit know the caller.
    pub user: String,
    /// The groups that the caller is in.
    pub groups: Vec<String>,
    /// Where the request came from.
    pub from: Origin,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A user of this host, as the kernel says.
    Unix {
        /// The user's number.
        uid: u32,
    },
    /// A host.
    Address(IpAddr),
}

/// A name that somebody vouches for, with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: String,
    /// The groups; [`AUTHENTICATED`] is understood, and [the connection's own](Who::identified) count for nothing.
    pub groups: Vec<String>,
}

/// Knows whose a bearer token is.
pub trait Authenticate: Send + Sync + 'static {
    /// The owner of this token; `None`: it is nobody's, expired or withdrawn. Asked for each request that bears one, so an
    /// answer stops to hold as soon as it changes.
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Option<Identity>>;
}

impl Who {
    /// A user of this host.
    pub fn local(uid: u32) -> Self {
        let (user, group) =
            if uid == 0 { ("root".to_owned(), MASTERS) } else { (format!("uid:{uid}"), LOCAL) };
        Self { user, groups: vec![group.to_owned(), AUTHENTICATED.to_owned()], from: Origin::Unix { uid } }
    }

    /// Somebody whose certificate or token was found good. Groups that only a connection gives ([`LOCAL`], [`LOOPBACK`],
    /// [`REMOTE`], [`UNAUTHENTICATED`]) are left out: nobody signs them to anybody.
    pub fn identified(identity: Identity, from: Origin) -> Self {
        let Identity { user, mut groups } = identity;
        groups.retain(|group| ![LOCAL, LOOPBACK, REMOTE, UNAUTHENTICATED, AUTHENTICATED].contains(&&**group));
        groups.push(AUTHENTICATED.to_owned());
        Self { user, groups, from }
    }

    /// Somebody who says nothing of themselves.
    pub fn anonymous(from: Origin) -> Self {
        Self { user: "system:anonymous".to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], from }
    }

    /// Somebody at the other end of a TCP connection without TLS.
    pub(crate) fn plain(address: IpAddr) -> Self {
        let (user, group) = if address.is_loopback() {
            ("loopback".to_owned(), LOOPBACK)
        } else {
            (format!("remote:{address}"), REMOTE)
        };
        Self { user, groups: vec![group.to_owned()], from: Origin::Address(address) }
    }

    /// Whether the caller is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The name of the node that the caller is, if it is one.
    pub fn node(&self) -> Option<&str> {
        self.user.strip_prefix(NODE_PREFIX).filter(|name| !name.is_empty() && self.is_in(NODES))
    }

    /// The address that the caller came from; `None`: the unix socket.
    pub fn address(&self) -> Option<IpAddr> {
        match self.from {
            Origin::Unix { .. } => None,
            Origin::Address(address) => Some(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_certificate_or_token_gives_what_only_a_connection_gives() {
        let identity = Identity {
            user: "system:node:n1".into(),
            groups: [NODES, LOCAL, LOOPBACK, REMOTE, UNAUTHENTICATED].map(str::to_owned).to_vec(),
        };
        let who = Who::identified(identity, Origin::Address([192, 0, 2, 1].into()));
        assert_eq!(who.groups, [NODES, AUTHENTICATED]);
        assert_eq!(who.node(), Some("n1"));
    }

    #[test]
    fn a_node_is_who_has_both_the_name_and_the_group() {
        let named = |user: &str, group: &str| Who {
            user: user.to_owned(),
            groups: vec![group.to_owned()],
            from: Origin::Unix { uid: 7 },
        };
        assert_eq!(named("system:node:n1", NODES).node(), Some("n1"));
        for who in [named("system:node:n1", "people"), named("n1", NODES), named("system:node:", NODES)] {
            assert_eq!(who.node(), None, "{who:?}");
        }
    }
}

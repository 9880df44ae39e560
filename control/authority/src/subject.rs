//! Whom a certificate or token names: a user and groups, in the Kubernetes manner (CN and O).

use serde::{Deserialize, Serialize};

/// A user and the groups that it is in. One that was made here has names that nobody else is meant by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The user: `admin`, `alice`, `system:node:NAME`.
    pub user: String,
    /// The groups: `system:masters`, `developers`.
    pub groups: Vec<String>,
}

/// A name that cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?}: {reason} — {remedy}")]
pub struct SubjectError {
    what: &'static str,
    given: String,
    reason: &'static str,
    remedy: &'static str,
}

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";

/// The group of nodes.
pub const NODES: &str = "system:nodes";

/// What a node's user name begins with.
pub const NODE_PREFIX: &str = "system:node:";

impl Subject {
    /// Whoever set the server up.
    pub fn admin() -> Self {
        Self { user: "admin".to_owned(), groups: vec![MASTERS.to_owned()] }
    }

    /// A person or program. Names that begin with `system:` are the fabric's own; of its groups only [`MASTERS`] can be given.
    ///
    /// # Errors
    /// The first name that cannot be given.
    pub fn user(name: &str, groups: &[String]) -> Result<Self, SubjectError> {
        check("the user", name)?;
        if name.starts_with(RESERVED) {
            let (reason, remedy) =
                ("begins with system:, as only the fabric's own do", "choose another name");
            return Err(SubjectError { what: "the user", given: name.to_owned(), reason, remedy });
        }
        for group in groups {
            check("the group", group)?;
            if group.starts_with(RESERVED) && group != MASTERS {
                let reason = "begins with system:, and the server alone puts callers into these";
                let remedy = "choose another group; system:masters is the only one that can be given";
                return Err(SubjectError { what: "the group", given: group.clone(), reason, remedy });
            }
        }
        let mut groups = groups.to_vec();
        groups.sort();
        groups.dedup();
        Ok(Self { user: name.to_owned(), groups })
    }

    /// A node. Its name is a DNS subdomain, like the name of every node object.
    ///
    /// # Errors
    /// The name is none.
    pub fn node(name: &str) -> Result<Self, SubjectError> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let label = |label: &str| {
            let inside = label.bytes().all(|byte| alphanumeric(byte) || byte == b'-');
            let ends = label.bytes().next().is_some_and(alphanumeric)
                && label.bytes().last().is_some_and(alphanumeric);
            inside && ends && label.len() <= 63
        };
        if name.len() > LONGEST_NODE || !name.split('.').all(label) {
            let reason = "is no DNS name";
            let remedy = "write a-z, 0-9, - and ., with a letter or digit at both ends of each part, 253 characters at most";
            return Err(SubjectError { what: "the node", given: shorten(name), reason, remedy });
        }
        Ok(Self { user: format!("{NODE_PREFIX}{name}"), groups: vec![NODES.to_owned()] })
    }

    /// The node's name, if this is a node.
    pub fn node_name(&self) -> Option<&str> {
        let name = self.user.strip_prefix(NODE_PREFIX)?;
        self.groups.iter().any(|group| group == NODES).then_some(name)
    }
}

fn check(what: &'static str, name: &str) -> Result<(), SubjectError> {
    let fault = if name.is_empty() {
        Some(("is empty", "give a name"))
    } else if name.len() > LONGEST {
        Some(("is longer than 253 bytes", "give a shorter name"))
    } else if name.chars().any(char::is_control) || name.trim() != name {
        Some(("has a control character, or a space at an end", "leave it out"))
    } else {
        None
    };
    match fault {
        Some((reason, remedy)) => Err(SubjectError { what, given: shorten(name), reason, remedy }),
        None => Ok(()),
    }
}

fn shorten(name: &str) -> String {
    if name.chars().count() > 300 { name.chars().take(300).chain(['…']).collect() } else { name.to_owned() }
}

const RESERVED: &str = "system:";
const LONGEST: usize = 253;
const LONGEST_NODE: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_given_a_name_of_the_fabrics_own() {
        for user in ["system:node:a", "system:anonymous", "", " a", "a\n"] {
            assert!(Subject::user(user, &[]).is_err(), "{user:?}");
        }
        for group in ["system:nodes", "system:authenticated", ""] {
            assert!(Subject::user("alice", &[group.to_owned()]).is_err(), "{group:?}");
        }
        let alice = Subject::user("alice", &["b".to_owned(), MASTERS.to_owned(), "b".to_owned()]).unwrap();
        assert_eq!(alice.groups, ["b", MASTERS]);
        assert_eq!(alice.node_name(), None);
    }

    #[test]
    fn a_node_is_named_as_its_object_is() {
        assert_eq!(Subject::node("host-1.example").unwrap().node_name(), Some("host-1.example"));
        for name in [
            "",
            "Host",
            "a_b",
            "-a",
            "a-",
            "a..b",
            "a/b",
            "a,O=system:masters",
            &"a".repeat(64),
            &"a.".repeat(130),
        ] {
            assert!(Subject::node(name).is_err(), "{name:?}");
        }
        let pretender = Subject { user: "system:node:a".to_owned(), groups: vec!["developers".to_owned()] };
        assert_eq!(pretender.node_name(), None, "the group counts too");
    }
}

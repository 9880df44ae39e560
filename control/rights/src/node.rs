//! What a node may do: its own rules, whatever anybody binds.

use intent::rights::{Reach, Rule};

use crate::{FABRIC_GROUP, NODES};

/// What the name of a node's user begins with.
const NODE_PREFIX: &str = "system:node:";

/// Whether the caller is judged as a node. Whoever says so of itself and has no node's name may do nothing.
pub(crate) fn is_node(groups: &[String]) -> bool {
    groups.iter().any(|group| group == NODES)
}

/// Its stream, over which it reads its records and reports, and the object that stands for it. Both are at the provider's level.
pub(crate) fn rules(user: &str) -> Vec<Rule> {
    let Some(name) = user.strip_prefix(NODE_PREFIX).filter(|name| !name.is_empty()) else {
        return Vec::new();
    };
    let own = |verb: &str, group: &str, resources: &[&str]| Rule {
        verbs: vec![verb.to_owned()],
        reach: Reach::Resources {
            groups: vec![group.to_owned()],
            resources: resources.iter().map(|resource| (*resource).to_owned()).collect(),
            names: vec![name.to_owned()],
        },
    };
    vec![
        own("connect", FABRIC_GROUP, &["nodes"]),
        own("get", intent::registry::GROUP, &["nodes", "nodes/status"]),
    ]
}

//! The network config list that a runtime is given.

use record::Labels;
use serde_json::{Map, Value, json};

/// What a config list says. Everything but the name has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflist {
    /// The network's name for the runtime.
    pub name: String,
    /// The tenant; `None`: `default`.
    pub tenant: Option<String>,
    /// The namespace; `None`: the pod's, or `default`.
    pub namespace: Option<String>,
    /// The virtual network; `None`: the namespace's.
    pub network: Option<String>,
    /// Labels that every container gets.
    pub labels: Labels,
    /// The agent's socket; `None`: [`crate::AGENT_SOCKET`].
    pub agent_socket: Option<String>,
    /// The agent's state folder; `None`: [`crate::STATE_DIR`].
    pub state_dir: Option<String>,
}

/// The text of a config list (CNI 1.0.0) with this plugin alone, for `/etc/cni/net.d/`.
pub fn conflist(list: &Conflist) -> String {
    let mut plugin = Map::new();
    plugin.insert("type".into(), json!("sealane-cni"));
    for (key, value) in [
        ("tenant", &list.tenant),
        ("namespace", &list.namespace),
        ("network", &list.network),
        ("agentSocket", &list.agent_socket),
        ("stateDir", &list.state_dir),
    ] {
        if let Some(value) = value {
            plugin.insert(key.into(), json!(value));
        }
    }
    if !list.labels.is_empty() {
        plugin.insert("labels".into(), json!(list.labels));
    }
    plugin.insert("capabilities".into(), json!({ "portMappings": true, "ips": true, "mac": true }));
    let whole = json!({ "cniVersion": "1.0.0", "name": list.name, "plugins": [Value::from(plugin)] });
    let mut text = serde_json::to_string_pretty(&whole).expect("a JSON value is written without fault");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_list_names_the_plugin_its_capabilities_and_what_was_given() {
        let list = Conflist {
            name: "shop".into(),
            tenant: Some("red".into()),
            namespace: None,
            network: Some("web".into()),
            labels: Labels::from([("tier".to_owned(), "front".to_owned())]),
            agent_socket: Some("/run/x.sock".into()),
            state_dir: Some("/var/x".into()),
        };
        let value: Value = serde_json::from_str(&conflist(&list)).unwrap();
        assert_eq!(value["cniVersion"], "1.0.0");
        assert_eq!(value["name"], "shop");
        let expected = json!({
            "type": "sealane-cni", "tenant": "red", "network": "web", "agentSocket": "/run/x.sock",
            "stateDir": "/var/x", "labels": { "tier": "front" },
            "capabilities": { "portMappings": true, "ips": true, "mac": true },
        });
        assert_eq!(value["plugins"], json!([expected]));
    }
}

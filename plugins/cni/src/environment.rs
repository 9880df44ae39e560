//! The variables by which a runtime says what it wants (CNI specification, section "Parameters").

use std::collections::BTreeMap;

use crate::fault::{Code, Fault};

/// The variables as they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `CNI_COMMAND`
    pub command: String,
    /// `CNI_CONTAINERID`
    pub container: String,
    /// `CNI_NETNS`
    pub netns: String,
    /// `CNI_IFNAME`
    pub interface: String,
    /// `CNI_ARGS`
    pub args: String,
}

impl Environment {
    /// That of this process; what is not set is empty.
    pub fn of_process() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Self {
            command: variable("CNI_COMMAND"),
            container: variable("CNI_CONTAINERID"),
            netns: variable("CNI_NETNS"),
            interface: variable("CNI_IFNAME"),
            args: variable("CNI_ARGS"),
        }
    }

    /// Refuses what names no container and interface; `netns` as well where the verb needs it.
    pub(crate) fn check(&self, needs_netns: bool) -> Result<(), Fault> {
        let mut missing: Vec<&str> = Vec::new();
        for (name, value, needed) in [
            ("CNI_CONTAINERID", &self.container, true),
            ("CNI_IFNAME", &self.interface, true),
            ("CNI_NETNS", &self.netns, needs_netns),
        ] {
            if needed && value.is_empty() {
                missing.push(name);
            }
        }
        if !missing.is_empty() {
            let msg = format!("{} is needed for {}, and not set", missing.join(", "), self.command);
            return Err(Fault::new(Code::InvalidEnvironment, msg, "the container runtime sets it"));
        }
        if !is_identifier(&self.container) {
            let msg = format!("CNI_CONTAINERID {:?} is no container's name", self.container);
            let details = "letters and digits, and behind the first '_', '.' and '-'";
            return Err(Fault::new(Code::InvalidEnvironment, msg, details));
        }
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace();
        let interface = self.interface.as_str();
        if interface.len() > 15 || [".", ".."].contains(&interface) || interface.contains(odd) {
            let msg = format!("CNI_IFNAME {interface:?} is no interface's name");
            let details = "at most 15 bytes, without '/', ':' and blanks";
            return Err(Fault::new(Code::InvalidEnvironment, msg, details));
        }
        Ok(())
    }

    /// `CNI_ARGS`: `KEY=VALUE;KEY=VALUE`. Unknown keys are refused unless `IgnoreUnknown` allows them.
    pub(crate) fn arguments(&self) -> Result<BTreeMap<&str, &str>, Fault> {
        let wrong = |msg: String, details: String| Fault::new(Code::InvalidEnvironment, msg, details);
        let mut arguments = BTreeMap::new();
        for pair in self.args.split(';').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(wrong(format!("CNI_ARGS has {pair:?}"), "write KEY=VALUE;KEY=VALUE".to_owned()));
            };
            arguments.insert(key, value);
        }
        let lenient = arguments.get("IgnoreUnknown").is_some_and(|value| TRUE.contains(value));
        let unknown: Vec<&str> = arguments.keys().filter(|key| !KNOWN.contains(key)).copied().collect();
        if !lenient && !unknown.is_empty() {
            let msg = format!("CNI_ARGS has unknown keys: {}", unknown.join(", "));
            return Err(wrong(
                msg,
                format!("known are {}; IgnoreUnknown=1 lets others pass", KNOWN.join(", ")),
            ));
        }
        Ok(arguments)
    }
}

/// What the specification allows for containers' and networks' names.
pub(crate) fn is_identifier(text: &str) -> bool {
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) && text.bytes().all(right)
}

const KNOWN: [&str; 7] = [
    "IP",
    "IgnoreUnknown",
    "K8S_POD_INFRA_CONTAINER_ID",
    "K8S_POD_NAME",
    "K8S_POD_NAMESPACE",
    "K8S_POD_UID",
    "MAC",
];
const TRUE: [&str; 4] = ["1", "t", "true", "True"];

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment {
            command: "ADD".into(),
            container: "c-1_x.y".into(),
            netns: "/run/netns/c".into(),
            interface: "eth0".into(),
            args: String::new(),
        }
    }

    #[test]
    fn what_is_missing_is_named_all_at_once() {
        let fault = Environment { command: "ADD".into(), ..Environment::default() }.check(true).unwrap_err();
        assert_eq!(fault.code, Code::InvalidEnvironment);
        assert!(
            ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"].iter().all(|name| fault.msg.contains(name)),
            "{fault}"
        );
        assert_eq!(Environment { netns: String::new(), ..environment() }.check(false), Ok(()));
        assert_eq!(environment().check(true), Ok(()));
    }

    #[test]
    fn names_that_the_specification_forbids_are_refused() {
        for container in ["-a", "a/b", "a b", "é"] {
            assert!(
                Environment { container: container.into(), ..environment() }.check(true).is_err(),
                "{container}"
            );
        }
        for interface in ["sixteen-bytes-xx", "a/b", "a:b", "a b", ".", ".."] {
            assert!(
                Environment { interface: interface.into(), ..environment() }.check(true).is_err(),
                "{interface}"
            );
        }
    }

    #[test]
    fn unknown_arguments_pass_only_when_the_caller_says_so() {
        let with = |args: &str| Environment { args: args.into(), ..environment() };
        let known = with("K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop;");
        assert_eq!(known.arguments().unwrap()["K8S_POD_NAME"], "web");
        assert!(with("FOO=1;IgnoreUnknown=1").arguments().is_ok());
        let fault = with("FOO=1").arguments().unwrap_err();
        assert!(fault.msg.contains("FOO"), "{fault}");
        assert!(with("nonsense").arguments().is_err());
    }
}

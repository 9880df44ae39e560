//! From TOML to settings.

use std::net::IpAddr;
use std::path::PathBuf;

use record::door::Door;
use toml::{Table, Value};

use super::{Config, ConfigError, DoorRules, Problem};

/// Reads a text; every problem is told.
pub(super) fn parse(text: &str) -> Result<Config, ConfigError> {
    let table: Table = text
        .parse()
        .map_err(|source: toml::de::Error| ConfigError::Syntax { file: None, source: Box::new(source) })?;
    let mut problems = Problems::default();
    let mut config = Config::default();
    problems.unknown("", &table, &ROOT);
    general(&table, &mut config, &mut problems);
    underlay(&table, &mut config, &mut problems);
    nat(&table, &mut config, &mut problems);
    doors(&table, &mut config, &mut problems);
    outputs(&table, &mut config, &mut problems);
    if problems.0.is_empty() {
        return Ok(config);
    }
    problems.0.sort();
    Err(ConfigError::Invalid { file: None, problems: problems.0 })
}

fn general(table: &Table, config: &mut Config, problems: &mut Problems) {
    if let Some(node) = problems.text("", table, "node") {
        if is_host_name(&node) {
            config.node = node;
        } else {
            let reason = "a node's name is made of a-z, 0-9, '-' and '.', begins and ends with a letter or digit and has at most 253";
            problems.add("node", quoted(&node), reason, "choose such a name, unique in the fabric");
        }
    }
    if let Some(server) = problems.text("", table, "server") {
        match server.parse() {
            Ok(server) => config.server = server,
            Err(_) => problems.add(
                "server",
                quoted(&server),
                "neither the absolute path of a unix socket nor https://HOST:PORT",
                "write one of the two, such as \"/run/sealane/server.sock\"",
            ),
        }
    }
    joining(table, config, problems);
    let mut cgroup = PathBuf::new();
    for (key, slot) in [
        ("state_dir", &mut config.state_dir),
        ("socket", &mut config.socket),
        ("pin_dir", &mut config.pin_dir),
        ("cgroup", &mut cgroup),
    ] {
        if let Some(path) = problems.text("", table, key) {
            if path.starts_with('/') {
                *slot = PathBuf::from(path);
            } else {
                problems.add(key, quoted(&path), "not an absolute path", "begin it with '/'");
            }
        }
    }
    config.cgroup = Some(cgroup).filter(|path| !path.as_os_str().is_empty());
}

/// How the host gets in; never with a word of the token itself.
fn joining(table: &Table, config: &mut Config, problems: &mut Problems) {
    if let Some(token) = problems.text("", table, "token") {
        match token.parse() {
            Ok(token) => config.token = Some(token),
            Err(error) => {
                let error: record::join::TokenError = error;
                let remedy = "write the whole line that `sealane token create --for node` printed";
                problems.add("token", "(hidden)".to_owned(), &error.to_string(), remedy);
            }
        }
    }
    if let Some(path) = problems.text("", table, "token_file") {
        if !path.starts_with('/') {
            problems.add("token_file", quoted(&path), "not an absolute path", "begin it with '/'");
        }
        if table.contains_key("token") {
            let remedy = "leave out one of the two";
            problems.add("token_file", quoted(&path), "there is a token in `token` already", remedy);
        }
        config.token_file = Some(path.into());
    }
    let joins = table.contains_key("token") || table.contains_key("token_file");
    if joins && matches!(config.server, stream::Address::Http(_)) {
        let server = config.server.to_string();
        problems.add("server", quoted(&server), "a token joins over TLS alone", "write https://HOST:PORT");
    }
}

fn underlay(table: &Table, config: &mut Config, problems: &mut Problems) {
    let Some(table) = problems.section(table, "underlay", &UNDERLAY) else { return };
    for (index, text) in problems.texts("underlay", table, "addresses").unwrap_or_default().iter().enumerate()
    {
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() || address.is_loopback() || address.is_multicast() => {
                problems.add(
                    &format!("underlay.addresses[{index}]"),
                    quoted(text),
                    "no address of one host",
                    "write the address by which other hosts reach this one",
                )
            }
            Ok(address) => config.underlay.addresses.push(address),
            Err(_) => problems.add(
                &format!("underlay.addresses[{index}]"),
                quoted(text),
                "not an IP address",
                "write it without a prefix length, such as \"192.0.2.10\"",
            ),
        }
    }
    let addresses = &config.underlay.addresses;
    if addresses.iter().filter(|address| address.is_ipv4()).count() > 1
        || addresses.iter().filter(|address| address.is_ipv6()).count() > 1
    {
        problems.add(
            "underlay.addresses",
            format!("{addresses:?}"),
            "more than one address of a family",
            "name one of each family at most",
        );
    }
    if let Some(port) = problems.integer("underlay", table, "vxlan_port") {
        match u16::try_from(port).ok().filter(|port| *port != 0) {
            Some(port) => config.underlay.vxlan_port = port,
            None => problems.add(
                "underlay.vxlan_port",
                port.to_string(),
                "not a port",
                "choose one within 1-65535",
            ),
        }
    }
}

fn nat(table: &Table, config: &mut Config, problems: &mut Problems) {
    let Some(table) = problems.section(table, "nat", &NAT) else { return };
    let Some(text) = problems.text("nat", table, "ports") else { return };
    let range = text.split_once('-').and_then(|(first, last)| {
        let range: (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (range.0 >= 1024 && range.1 >= range.0 && range.1 - range.0 >= 255).then_some(range)
    });
    match range {
        Some(range) => config.nat_ports = range,
        None => problems.add(
            "nat.ports",
            quoted(&text),
            "not FIRST-LAST with at least 256 ports, all at or above 1024",
            "write a range such as \"16384-29999\"",
        ),
    }
}

fn doors(table: &Table, config: &mut Config, problems: &mut Problems) {
    let names: Vec<&str> = DOORS.iter().map(|(name, _)| *name).collect();
    let Some(table) = problems.section(table, "doors", &names) else { return };
    for (name, door) in DOORS {
        let path = format!("doors.{name}");
        let Some(value) = table.get(name) else { continue };
        let Some(table) = problems.table(&path, value) else { continue };
        problems.unknown(&path, table, &DOOR);
        let mut rules = DoorRules::default();
        if let Some(tenants) = problems.texts(&path, table, "tenants") {
            problems.names(&format!("{path}.tenants"), &tenants, |name| name == "*" || is_label(name));
            rules.tenants = tenants;
        }
        if let Some(networks) = problems.texts(&path, table, "networks") {
            let is_network = |name: &str| {
                let (tenant, network) = name.split_once('/').unwrap_or(("default", name));
                is_label(tenant) && (network == "*" || is_host_name(network))
            };
            problems.names(&format!("{path}.networks"), &networks, is_network);
            rules.networks = networks;
        }
        config.doors.insert(door, rules);
    }
}

fn outputs(table: &Table, config: &mut Config, problems: &mut Problems) {
    if let Some(table) = problems.section(table, "metrics", &METRICS)
        && let Some(text) = problems.text("metrics", table, "listen")
    {
        match text.parse() {
            Ok(address) => config.metrics = Some(address),
            Err(_) => {
                problems.add("metrics.listen", quoted(&text), "not ADDRESS:PORT", "write \"127.0.0.1:7381\"")
            }
        }
    }
    let Some(table) = problems.section(table, "log", &LOG) else { return };
    if let Some(filter) = problems.text("log", table, "filter") {
        config.log.filter = filter;
    }
    match problems.text("log", table, "format").as_deref() {
        None => {}
        Some("text") => config.log.json = false,
        Some("json") => config.log.json = true,
        Some(other) => {
            problems.add("log.format", quoted(other), "no such format", "write \"text\" or \"json\"")
        }
    }
}

/// What has been found wrong so far.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: &str, value: String, reason: &str, remedy: &str) {
        self.0.push(Problem {
            path: path.to_owned(),
            value,
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    fn unknown(&mut self, path: &str, table: &Table, known: &[&str]) {
        for (key, value) in table.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let nearest = known.iter().min_by_key(|candidate| distance(key, candidate));
            let remedy = match nearest.filter(|candidate| distance(key, candidate) <= 2 + candidate.len() / 4)
            {
                Some(nearest) => format!("did you mean {nearest:?}? known here: {}", known.join(", ")),
                None => format!("take it out; known here: {}", known.join(", ")),
            };
            self.add(&joined(path, key), shown(value), "no such setting", &remedy);
        }
    }

    fn section<'t>(&mut self, table: &'t Table, name: &str, known: &[&str]) -> Option<&'t Table> {
        let section = self.table(name, table.get(name)?)?;
        self.unknown(name, section, known);
        Some(section)
    }

    fn table<'t>(&mut self, path: &str, value: &'t Value) -> Option<&'t Table> {
        let table = value.as_table();
        if table.is_none() {
            self.add(path, shown(value), "not a table", &format!("write it as [{path}]"));
        }
        table
    }

    fn text(&mut self, path: &str, table: &Table, key: &str) -> Option<String> {
        let value = table.get(key)?;
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.add(&joined(path, key), shown(value), "not a text", "write it in double quotes");
        }
        text
    }

    fn integer(&mut self, path: &str, table: &Table, key: &str) -> Option<i64> {
        let value = table.get(key)?;
        let integer = value.as_integer();
        if integer.is_none() {
            self.add(&joined(path, key), shown(value), "not a whole number", "write it without quotes");
        }
        integer
    }

    fn texts(&mut self, path: &str, table: &Table, key: &str) -> Option<Vec<String>> {
        let value = table.get(key)?;
        let texts = value.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>()
        });
        if texts.is_none() {
            self.add(&joined(path, key), shown(value), "not a list of texts", "write it as [\"a\", \"b\"]");
        }
        texts
    }

    fn names(&mut self, path: &str, names: &[String], is_right: impl Fn(&str) -> bool) {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !is_right(name)) {
            let remedy = "use a-z, 0-9 and '-', or \"*\" for every one";
            self.add(&format!("{path}[{index}]"), quoted(name), "no such name can exist", remedy);
        }
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn shown(value: &Value) -> String {
    let text = value.to_string().replace('\n', " ");
    text.chars().take(SHOWN).collect()
}

/// An RFC 1123 subdomain.
fn is_host_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

/// An RFC 1123 label.
fn is_label(name: &str) -> bool {
    let right = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|byte| right(byte) || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// How many letters must be put in, taken out or changed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in to.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

const ROOT: [&str; 13] = [
    "node",
    "server",
    "token",
    "token_file",
    "state_dir",
    "socket",
    "pin_dir",
    "cgroup",
    "underlay",
    "nat",
    "doors",
    "metrics",
    "log",
];
const UNDERLAY: [&str; 2] = ["addresses", "vxlan_port"];
const NAT: [&str; 1] = ["ports"];
const DOORS: [(&str, Door); 3] = [("cni", Door::Cni), ("run", Door::Run), ("attach", Door::Attach)];
const DOOR: [&str; 2] = ["tenants", "networks"];
const METRICS: [&str; 1] = ["listen"];
const LOG: [&str; 2] = ["filter", "format"];
/// Characters of a wrong value that are shown.
const SHOWN: usize = 60;

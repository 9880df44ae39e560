//! The server's settings: one TOML file, every setting with a default.
//!
//! Promises: a [`Config`] that exists is valid; an unknown key is refused with the nearest known one, a wrong value with its key,
//! value, reason and remedy, all problems at once.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{Access, Keep, Rights};
use intent::nearest::nearest;
use record::Prefix;
use toml::{Table, Value};

/// The server's settings. [`Config::default`] is what an empty file gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The store's file.
    pub store: PathBuf,
    /// The unix socket that this host's agent and tools use; `None`: only `listen` and inherited sockets.
    pub socket: Option<PathBuf>,
    /// TCP addresses for other hosts.
    pub listen: Vec<SocketAddr>,
    /// The folder of the fabric's root and the server's certificate, made if it is missing: TCP listeners speak TLS alone.
    /// `None`: they speak plain HTTP.
    pub pki: Option<PathBuf>,
    /// Names and addresses by which others reach the server, for its certificate.
    pub names: Vec<String>,
    /// Where writes and refusals are noted, a JSON object a line; `None`: nowhere.
    pub audit: Option<PathBuf>,
    /// How much of it is kept, and how surely.
    pub keep: Keep,
    /// The subnets of the network `default` that a new tenant gets.
    pub default_subnets: Vec<Prefix>,
    /// How long the number of a group or rule that is gone rests before another gets it, in seconds.
    pub rest_seconds: u64,
    /// What callers may do who are not root.
    pub rights: Rights,
    /// What is logged, in the words of `tracing`: `info`, `fleet=debug`.
    pub log: String,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read the settings {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The text is no TOML.
    #[error("parse the settings{}", of(file.as_deref()))]
    Syntax {
        /// Which file, if it came from one.
        file: Option<PathBuf>,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Keys or values are wrong.
    #[error("the settings{} cannot be used:\n  {}", of(file.as_deref()), problems.join("\n  "))]
    Invalid {
        /// Which file, if it came from one.
        file: Option<PathBuf>,
        /// All that is wrong.
        problems: Vec<String>,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            store: "/var/lib/sealane/server.redb".into(),
            socket: Some("/run/sealane/server.sock".into()),
            listen: Vec::new(),
            pki: None,
            names: Vec::new(),
            audit: Some("/var/lib/sealane/audit.log".into()),
            keep: Keep::default(),
            default_subnets: vec![DEFAULT_SUBNET.parse().expect("the constant is a prefix")],
            rest_seconds: 300,
            rights: Rights::default(),
            log: "info".to_owned(),
        }
    }
}

impl Config {
    /// Reads a file. Errors: [`ConfigError`], with the file's name.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|error| match error {
            ConfigError::Syntax { source, .. } => ConfigError::Syntax { file: Some(path.to_owned()), source },
            ConfigError::Invalid { problems, .. } => {
                ConfigError::Invalid { file: Some(path.to_owned()), problems }
            }
            read @ ConfigError::Read { .. } => read,
        })
    }

    /// Reads a text. Errors: [`ConfigError::Syntax`], [`ConfigError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let table: Table =
            text.parse().map_err(|source| ConfigError::Syntax { file: None, source: Box::new(source) })?;
        let mut reader = Reader { table, path: String::new(), problems: Vec::new() };
        let config = reader.config();
        if reader.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid { file: None, problems: reader.problems })
        }
    }

    /// A file with every setting, its default and what it means; all of them are commented out.
    pub fn example() -> String {
        let default = Self::default();
        let path = |path: &Option<PathBuf>| path.as_deref().map(Path::display).map(|path| path.to_string());
        format!(
            "# The settings of `sealane server`. Every line shows a default.\n\n\
             # The file that holds everything.\n#store = {store:?}\n\n\
             # The unix socket for this host's agent and tools. Empty: none.\n#socket = {socket:?}\n\n\
             # TCP addresses for other hosts, such as [\"0.0.0.0:7380\"].\n#listen = []\n\n\
             # The folder of the fabric's root and the server's certificate, such as \"/var/lib/sealane/pki\": with it TCP addresses\n\
             # speak TLS alone, and callers show a certificate. Empty: no TLS, and the network between hosts is trusted.\n\
             #pki = \"\"\n\n\
             # Names and addresses by which others reach the server, for its certificate, besides `listen` and the host's name.\n\
             #names = []\n\n\
             # Where writes and refusals are noted, a JSON object a line. Empty: nowhere.\n#audit = {audit:?}\n\
             # Such a file is turned (audit.log.1, audit.log.2, …) at so many megabytes, and when it is a day old.\n\
             #audit_megabytes = {megabytes}\n\
             # So many files are kept, and for so many days. 0 days: whatever their age.\n\
             #audit_files = {files}\n#audit_days = 0\n\
             # Whether a write that cannot be noted (a full disk) is refused. Each is on the disk before it happens then.\n\
             #audit_required = false\n\n\
             # The subnets of the network `default` that a new tenant gets. None may hold a host's own address.\n\
             #default_subnets = [{DEFAULT_SUBNET:?}]\n\n\
             # How long the number of a group or rule that is gone rests before another gets it, in seconds.\n\
             #rest_seconds = {rest}\n\n\
             # What is logged: error, warn, info, debug, or by module: \"info,fleet=debug\".\n#log = {log:?}\n\n\
             # What callers may do who are not root: \"none\", \"connect\" (be a node), \"read\", \"full\".\n#[rights]\n\
             # Users of this host, through the unix socket.\n#users = \"read\"\n\
             # The loopback interface, while there is no TLS.\n#loopback = \"full\"\n\
             # Other hosts, while there is no TLS.\n#remote = \"connect\"\n\
             # Whoever has shown a certificate or a token, beyond what its groups give.\n#authenticated = \"none\"\n",
            store = default.store.display().to_string(),
            socket = path(&default.socket).unwrap_or_default(),
            audit = path(&default.audit).unwrap_or_default(),
            megabytes = default.keep.bytes >> 20,
            files = default.keep.files,
            rest = default.rest_seconds,
            log = default.log,
        )
    }
}

/// Takes settings out of a table and notes what is wrong.
struct Reader {
    table: Table,
    path: String,
    problems: Vec<String>,
}

impl Reader {
    fn config(&mut self) -> Config {
        let default = Config::default();
        let file = |text: String| Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty());
        let (rights, keep) = (self.rights(), self.keep());
        let config = Config {
            store: self.text("store").map_or(default.store, PathBuf::from),
            socket: self.text("socket").map_or(default.socket, file),
            listen: self.list("listen", "ADDRESS:PORT, such as 0.0.0.0:7380").unwrap_or_default(),
            pki: self.text("pki").map_or(default.pki, file),
            names: self.list("names", "a name or address, such as sealane.example.org").unwrap_or_default(),
            audit: self.text("audit").map_or(default.audit, file),
            keep,
            default_subnets: self
                .list("default_subnets", "ADDRESS/LENGTH, such as 10.201.0.0/16")
                .unwrap_or(default.default_subnets),
            rest_seconds: self.seconds("rest_seconds").unwrap_or(default.rest_seconds),
            rights: rights.unwrap_or(default.rights),
            log: self.text("log").unwrap_or(default.log),
        };
        self.refuse_rest(KEYS);
        if config.store.as_os_str().is_empty() {
            self.problems
                .push("store = \"\": the server needs a file; leave the key out for the default".to_owned());
        }
        self.check_network(&config.default_subnets);
        config
    }

    fn keep(&mut self) -> Keep {
        let default = Keep::default();
        let megabytes = self.whole("audit_megabytes", 1..=1 << 20);
        let days = self.whole("audit_days", 0..=100_000).filter(|days| *days > 0);
        Keep {
            bytes: megabytes.map_or(default.bytes, |megabytes| megabytes << 20),
            files: self
                .whole("audit_files", 1..=1_000)
                .and_then(|files| u32::try_from(files).ok())
                .unwrap_or(default.files),
            age: days.map_or(default.age, |days| Some(Duration::from_secs(days * 24 * 60 * 60))),
            required: self.truth("audit_required").unwrap_or(default.required),
        }
    }

    /// The network that a new tenant gets has to be right, like everybody's.
    fn check_network(&mut self, subnets: &[Prefix]) {
        let subnets: Vec<_> = subnets.iter().map(|subnet| serde_json::json!({ "cidr": subnet })).collect();
        let document = serde_json::json!({
            "apiVersion": "sealane.dev/v1alpha1",
            "kind": "VirtualNetwork",
            "metadata": { "name": "default" },
            "spec": { "subnets": subnets },
        });
        if let Err(problems) = intent::parse(intent::Kind::VirtualNetwork, &document) {
            let told = problems.iter().map(|problem| format!("default_subnets: {}", problem.message()));
            self.problems.extend(told);
        }
    }

    fn rights(&mut self) -> Option<Rights> {
        let default = Rights::default();
        let table = match self.table.remove("rights")? {
            Value::Table(table) => table,
            other => {
                self.wrong("rights", &other, "is no table", "write [rights] and its keys below");
                return None;
            }
        };
        let mut inner = Self { table, path: "rights.".to_owned(), problems: Vec::new() };
        let rights = Rights {
            users: inner.access("users").unwrap_or(default.users),
            loopback: inner.access("loopback").unwrap_or(default.loopback),
            remote: inner.access("remote").unwrap_or(default.remote),
            authenticated: inner.access("authenticated").unwrap_or(default.authenticated),
        };
        inner.refuse_rest(&["users", "loopback", "remote", "authenticated"]);
        self.problems.append(&mut inner.problems);
        Some(rights)
    }

    fn access(&mut self, key: &str) -> Option<Access> {
        let word = self.text(key)?;
        let known = [
            ("none", Access::NONE),
            ("connect", Access::CONNECT),
            ("read", Access::READ),
            ("full", Access::FULL),
        ];
        let access = known.iter().find(|(name, _)| *name == word).map(|(_, access)| *access);
        if access.is_none() {
            let meant = nearest(&word, known.iter().map(|(name, _)| *name));
            let remedy = meant.map_or("write none, connect, read or full".to_owned(), |meant| {
                format!("did you mean {meant:?}?")
            });
            self.wrong(key, &Value::String(word), "is no right", &remedy);
        }
        access
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.table.remove(key)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong(key, &other, "is no text", "put it in quotes");
                None
            }
        }
    }

    fn seconds(&mut self, key: &str) -> Option<u64> {
        let value = self.table.remove(key)?;
        let seconds = value.as_integer().and_then(|number| u64::try_from(number).ok());
        if seconds.is_none() {
            self.wrong(key, &value, "is no number of seconds", "write a whole number, 0 or more");
        }
        seconds
    }

    fn whole(&mut self, key: &str, allowed: RangeInclusive<u64>) -> Option<u64> {
        let value = self.table.remove(key)?;
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        let fits = number.filter(|number| allowed.contains(number));
        if fits.is_none() {
            let remedy = format!("write a whole number from {} to {}", allowed.start(), allowed.end());
            self.wrong(key, &value, "is not in range", &remedy);
        }
        fits
    }

    fn truth(&mut self, key: &str) -> Option<bool> {
        let value = self.table.remove(key)?;
        if value.as_bool().is_none() {
            self.wrong(key, &value, "is neither", "write true or false");
        }
        value.as_bool()
    }

    fn list<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &str,
        form: &str,
    ) -> Option<Vec<T>> {
        let items = match self.table.remove(key)? {
            Value::Array(items) => items,
            other => {
                self.wrong(key, &other, "is no list", "put it in brackets");
                return None;
            }
        };
        let mut parsed = Vec::new();
        for item in items {
            match item.as_str().map(str::parse) {
                Some(Ok(value)) => parsed.push(value),
                Some(Err(error)) => {
                    self.wrong(key, &item, &format!("cannot be used: {error}"), &format!("write {form}"))
                }
                None => self.wrong(key, &item, "is no text", &format!("write \"{form}\"")),
            }
        }
        Some(parsed)
    }

    fn refuse_rest(&mut self, known: &[&str]) {
        for key in self.table.keys() {
            let meant = nearest(key, known.iter().copied());
            let remedy = meant.map_or(format!("the keys are {}", known.join(", ")), |meant| {
                format!("did you mean {meant:?}?")
            });
            self.problems.push(format!("{}{key}: there is no such setting — {remedy}", self.path));
        }
    }

    fn wrong(&mut self, key: &str, value: &Value, reason: &str, remedy: &str) {
        self.problems.push(format!("{}{key} = {value}: {reason} — {remedy}", self.path));
    }
}

fn of(file: Option<&Path>) -> String {
    file.map_or(String::new(), |file| format!(" {}", file.display()))
}

const KEYS: &[&str] = &[
    "store",
    "socket",
    "listen",
    "pki",
    "names",
    "audit",
    "audit_megabytes",
    "audit_files",
    "audit_days",
    "audit_required",
    "default_subnets",
    "rest_seconds",
    "rights",
    "log",
];

const DEFAULT_SUBNET: &str = "10.201.0.0/16";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_shows_the_defaults_and_is_read_back_as_them() {
        let example = Config::example();
        assert_eq!(Config::parse(&example).unwrap(), Config::default());
        let setting =
            |line: &str| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).map(str::to_owned);
        let uncommented: Vec<String> = example.lines().filter_map(setting).collect();
        assert_eq!(Config::parse(&uncommented.join("\n")).unwrap(), Config::default());
        for key in KEYS {
            assert!(uncommented.iter().any(|line| line.contains(key)), "{key} is missing");
        }
    }

    #[test]
    fn every_problem_is_told_at_once_and_a_slip_with_what_was_meant() {
        let text = "
            sokcet = '/x'
            listen = ['7380']
            rest_seconds = -1
            audit_files = 0
            audit_required = 'yes'
            default_subnets = ['10.0.0.0/8', '10.1.0.0/16']
            [rights]
            users = 'raed'
            root = 'full'
        ";
        let error = Config::parse(text).unwrap_err();
        let ConfigError::Invalid { problems, .. } = &error else { panic!("{error}") };
        for part in [
            "\"socket\"",
            "0.0.0.0:7380",
            "rest_seconds = -1",
            "audit_files = 0",
            "true or false",
            "10.1.0.0/16",
            "\"read\"",
            "rights.root",
        ] {
            assert!(problems.iter().any(|problem| problem.contains(part)), "{part} in {problems:#?}");
        }
        assert!(matches!(Config::parse("store = "), Err(ConfigError::Syntax { .. })));
    }
}

//! Where a server listens, and as whom it is asked.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use stream::Credentials;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A unix socket of this host.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A TCP port where TLS is spoken.
    Tls {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
        /// As whom it is asked; `None`: nobody has said.
        account: Option<Account>,
    },
}

/// Whom to believe, and how to prove who one is.
#[derive(Clone)]
pub(crate) struct Account(Arc<Proof>);

struct Proof {
    credentials: Credentials,
    bearer: Option<String>,
}

impl Account {
    pub(crate) fn new(credentials: Credentials, bearer: Option<String>) -> Self {
        Self(Arc::new(Proof { credentials, bearer }))
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    pub(super) fn bearer(&self) -> Option<&str> {
        self.0.bearer.as_deref()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Account {}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path, text);
        }
        if text.starts_with('/') {
            return Self::unix(text, text);
        }
        let form = || format!("{text:?} is neither unix:PATH nor https://HOST:PORT");
        let secure = text.strip_prefix("https://");
        let rest = secure.or_else(|| text.strip_prefix("http://")).ok_or_else(form)?.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| format!("{port:?} in {text:?} is no port"))?)
            }
            _ => (rest, DEFAULT_PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(['/', '@', '?']) {
            return Err(form());
        }
        let host = host.to_owned();
        Ok(if secure.is_some() { Self::Tls { host, port, account: None } } else { Self::Tcp { host, port } })
    }
}

impl Address {
    fn unix(path: &str, text: &str) -> Result<Self, String> {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        Err(format!("{text:?} needs the whole path of the socket, such as unix:/run/sealane/server.sock"))
    }

    /// What the Host header says.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp { host, port } | Self::Tls { host, port, .. } if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            Self::Tcp { host, port } | Self::Tls { host, port, .. } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { .. } => write!(f, "http://{}", self.host()),
            Self::Tls { .. } => write!(f, "https://{}", self.host()),
        }
    }
}

const DEFAULT_PORT: u16 = 7380;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_a_port() {
        for (text, shown) in [
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
            ("/run/a.sock", "unix:/run/a.sock"),
            ("http://127.0.0.1:80", "http://127.0.0.1:80"),
            ("http://server/", "http://server:7380"),
            ("http://[::1]:80", "http://[::1]:80"),
            ("http://[::1]", "http://[::1]:7380"),
            ("https://server", "https://server:7380"),
            ("https://[::1]:80/", "https://[::1]:80"),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(shown.to_owned()));
        }
        for wrong in [
            "",
            "server",
            "unix:a.sock",
            "https://",
            "https://a/clusters/b",
            "http://",
            "http://a:b",
            "http://a/b",
            "http://a@b",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}

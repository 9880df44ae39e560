//! Where a server or an agent listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

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
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path, text);
        }
        if text.starts_with('/') {
            return Self::unix(text, text);
        }
        if text.starts_with("https://") {
            return Err("the server speaks plain HTTP; write http://HOST:PORT or unix:PATH".to_owned());
        }
        let form = || format!("{text:?} is neither unix:PATH nor http://HOST:PORT");
        let rest = text.strip_prefix("http://").ok_or_else(form)?.trim_end_matches('/');
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
        Ok(Self::Tcp { host: host.to_owned(), port })
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
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { .. } => write!(f, "http://{}", self.host()),
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
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(shown.to_owned()));
        }
        for wrong in [
            "",
            "server",
            "unix:a.sock",
            "https://server",
            "http://",
            "http://a:b",
            "http://a/b",
            "http://a@b",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}

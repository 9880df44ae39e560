//! Where a server is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The address of a server: a socket of this host, or a port of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket: `unix:/run/sealane/server.sock`, or the path alone.
    Unix(PathBuf),
    /// HTTP/2 without TLS: `http://HOST:PORT`.
    Http(http::Uri),
    /// HTTP/2 over TLS: `https://HOST:PORT`.
    Https(http::Uri),
}

/// Why a text is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not the address of a server: write unix:/PATH or https://HOST:PORT (http://HOST:PORT for a server without TLS)"
)]
pub struct AddressError {
    given: String,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError { given: text.to_owned() };
        let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")).unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self::Unix(path.into()));
        }
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        let bare = uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16().is_some();
        let bare = bare && matches!(uri.path(), "" | "/") && uri.query().is_none();
        match uri.scheme_str() {
            Some("http") if bare => Ok(Self::Http(uri)),
            Some("https") if bare => Ok(Self::Https(uri)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(uri) | Self::Https(uri) => f.write_str(uri.to_string().trim_end_matches('/')),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_is_shown() {
        for text in ["unix:/run/sealane/server.sock", "http://192.0.2.1:7380", "https://[fd00::1]:7380"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        assert_eq!("/run/x".parse(), Ok(Address::Unix("/run/x".into())));
        assert_eq!("unix:///run/x".parse(), Ok(Address::Unix("/run/x".into())));
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_the_forms_that_can() {
        for text in [
            "",
            "run/x",
            "https://h",
            "https://h:1/x",
            "ftp://h:1",
            "http://:1",
            "https://h:99999",
            "http://h",
            "http://h:1/path",
            "h:1",
            "http://h:1/?a=b",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("https://HOST:PORT"), "{text}: {error}");
        }
    }
}

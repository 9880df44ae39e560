//! How a host without a certificate gets one, and a new one before the old ends: the two requests, their answer, and the token.
//!
//! ```text
//!   node                                              server
//!   token: ID.SECRET.PIN (by hand, once)
//!   TLS; the chain must hold the root that PIN names
//!   POST JOIN_PATH  {token: ID.SECRET, node, request} -->   token checked, request signed for `system:node:NODE`
//!               <-- {certificate, authorities, clock}
//!   TLS with that certificate, at about a third of its life
//!   POST RENEW_PATH {request}                        -->   signed again for whom the certificate names
//! ```
//!
//! Promises: a [`Token`] that exists has its three parts, and shows its secret only where it is asked to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a [`JoinRequest`] is posted.
pub const JOIN_PATH: &str = "/sealane.dev/v1alpha1/join";

/// Where a [`RenewRequest`] is posted.
pub const RENEW_PATH: &str = "/sealane.dev/v1alpha1/renew";

/// The longest request or answer on these paths that is read, in bytes.
pub const MAX_BODY: usize = 64 << 10;

/// How far the clocks of a node and its server may lie apart, in seconds. Certificates are valid from this long before they are
/// made.
pub const SKEW_SECONDS: u64 = 300;

/// Asks for a node's first certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinRequest {
    /// Who vouches for it: the token without its pin, which is the node's own business.
    pub token: Credential,
    /// The name that the node wants.
    pub node: String,
    /// The node's key, asking to be certified: PKCS#10 in PEM. Only the key in it counts.
    pub request: String,
    /// The node's clock: seconds since 1970 UTC.
    pub clock: u64,
}

/// Asks for the next certificate. Whoever asks is known by the certificate that the connection was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewRequest {
    /// The next key, asking to be certified: PKCS#10 in PEM. Only the key in it counts.
    pub request: String,
    /// The node's clock: seconds since 1970 UTC.
    pub clock: u64,
}

/// The answer to both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinAnswer {
    /// The certificate, PEM.
    pub certificate: String,
    /// Every root that the fabric trusts from now on, PEM.
    pub authorities: String,
    /// The server's clock: seconds since 1970 UTC.
    pub clock: u64,
}

/// A token as it is handed over: what proves, and what the server must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What proves to the server that somebody let this one in.
    pub credential: Credential,
    /// The root that the server must be certified by.
    pub pin: Fingerprint,
}

/// A token's public name and its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    id: TokenId,
    secret: String,
}

/// The public name of a token: [`TokenId::LENGTH`] characters of a to z and 2 to 7.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(String);

/// SHA-256 of a public key (its SubjectPublicKeyInfo, RFC 7469 section 2.4), written in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// Why a text is none of these. Never repeats the text: it may be most of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not the parts that a token has.
    #[error(
        "a token is ID.SECRET.PIN, and this has {0} parts: copy the whole line that `sealane token create` printed"
    )]
    Parts(usize),
    /// One part is not what it should be.
    #[error("the token's {part} is not {expected}: copy the whole line that `sealane token create` printed")]
    Part {
        /// Which.
        part: &'static str,
        /// What it should look like.
        expected: &'static str,
    },
}

impl Token {
    /// The whole text, secret and all: for the one who is to have it.
    pub fn reveal(&self) -> String {
        format!("{}.{}", self.credential.reveal(), self.pin)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let [id, secret, pin] = parts[..] else { return Err(TokenError::Parts(parts.len())) };
        Ok(Self { credential: Credential::new(id, secret)?, pin: pin.parse()? })
    }
}

impl Credential {
    /// The characters of a secret: 256 bits in base 32.
    pub const SECRET_LENGTH: usize = 52;

    /// A credential of two texts. Errors: [`TokenError::Part`].
    pub fn new(id: &str, secret: &str) -> Result<Self, TokenError> {
        let id = id.parse()?;
        if secret.len() != Self::SECRET_LENGTH || !secret.bytes().all(is_base32) {
            return Err(TokenError::Part { part: "secret", expected: "52 characters of a to z and 2 to 7" });
        }
        Ok(Self { id, secret: secret.to_owned() })
    }

    /// Which token it claims to be.
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// The secret, for whoever compares it.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// `ID.SECRET`, for the one who is to have it.
    pub fn reveal(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

/// Takes `ID.SECRET`, and a whole token too: whoever presents one as a bearer copies the line that they were given.
impl FromStr for Credential {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        match parts[..] {
            [id, secret] | [id, secret, _] => Self::new(id, secret),
            _ => Err(TokenError::Parts(parts.len())),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.(secret)", self.id)
    }
}

impl Serialize for Credential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl TokenId {
    /// How many characters it has.
    pub const LENGTH: usize = 10;
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() == Self::LENGTH && text.bytes().all(is_base32) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TokenError::Part { part: "id", expected: "10 characters of a to z and 2 to 7" })
        }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Fingerprint {
    /// The fingerprint with this digest.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let wrong = || TokenError::Part { part: "pin", expected: "64 hexadecimal digits" };
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut digest = [0; 32];
        for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        // `from_str_radix` takes a sign too: only what is shown again as it was given is one.
        let fingerprint = Self(digest);
        if fingerprint.to_string().eq_ignore_ascii_case(text) { Ok(fingerprint) } else { Err(wrong()) }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const fn is_base32(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'2'..=b'7')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> String {
        format!("{}.{}.{}", "abcdefg234", "b".repeat(52), "0f".repeat(32))
    }

    #[test]
    fn a_token_reads_back_as_it_is_handed_over_and_hides_its_secret_elsewhere() {
        let token: Token = token().parse().unwrap();
        assert_eq!(token.reveal().parse(), Ok(token.clone()));
        assert_eq!(token.reveal().parse(), Ok(token.credential.clone()), "a bearer gives the whole line");
        assert!(!format!("{token:?}").contains("bbb"));
    }

    #[test]
    fn a_token_that_was_cut_or_changed_is_refused_without_repeating_it() {
        let whole = token();
        let cut = (0..whole.len()).map(|end| whole[..end].to_owned());
        let changed = [
            whole.replace('b', "B"),
            whole.replace('f', "g"),
            whole.replace("0f", "+f"),
            format!("{whole}.x"),
        ];
        for text in cut.chain(changed) {
            let error = text.parse::<Token>().unwrap_err().to_string();
            assert!(error.contains("sealane token create"), "{error}");
            assert!(!error.contains("bbb"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,200}|[a-z2-7.]{100,140}|[a-z2-7]{10}[.][a-z2-7]{52}[.][0-9a-f+-]{64}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.reveal(), text.trim().to_lowercase());
            }
        }
    }
}

//! A node's end of joining and renewing ([`record::join`]).

use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use identity::{Bundle, Certificate, Key};
use record::join::{JOIN_PATH, JoinAnswer, JoinRequest, MAX_BODY, RENEW_PATH, RenewRequest, Token};
use serde::Serialize;

use crate::secure::{self, OpenError, Suspicion};
use crate::trust::{self, Distrust, Times, Trust};
use crate::{Address, Credentials, Passport};

/// Why a node got no certificate.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Only over TLS does a node get a certificate.
    #[error(
        "{0} is no address to join at: write https://HOST:PORT, as the server's settings have it in `listen`"
    )]
    Address(Address),
    /// No connection.
    #[error("cannot reach the server at {address}: is it running?")]
    Unreachable {
        /// Where.
        address: Address,
        /// Why.
        #[source]
        source: Box<OpenError>,
    },
    /// One end does not believe the other.
    #[error("the server at {address} and this host do not believe each other")]
    Distrust {
        /// Where.
        address: Address,
        /// Which, and why.
        #[source]
        source: Distrust,
    },
    /// The connection ended before the answer.
    #[error("the server at {address} did not answer whole: {reason}")]
    Broken {
        /// Where.
        address: Address,
        /// What HTTP said.
        reason: String,
    },
    /// The server refuses.
    #[error("the server at {address} refuses ({status}): {message}")]
    Refused {
        /// Where.
        address: Address,
        /// HTTP's number for it.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The answer is not what was asked for.
    #[error("the server at {address} answered with {reason}: are both of one version?")]
    Answer {
        /// Where.
        address: Address,
        /// What.
        reason: String,
    },
}

/// Joins: has the key certified for this node name. Nothing secret leaves this host before the server has proven that the root with
/// the token's pin certified it. With the same key it may be tried again after a fault.
///
/// # Errors
/// Each variant of [`JoinError`].
pub async fn join(address: &Address, token: &Token, node: &str, key: Key) -> Result<Passport, JoinError> {
    let post = Post { address, trust: Trust::Pin(token.pin), path: JOIN_PATH };
    let config = trust::nobody(post.trust.clone(), Times::Now, PROTOCOL)
        .map_err(|fault| JoinError::Answer { address: address.clone(), reason: fault.to_string() })?;
    let (token_pin, credential) = (token.pin, token.credential.clone());
    let asked =
        JoinRequest { token: credential, node: node.to_owned(), request: key.request(), clock: now() };
    let passport = post.ask(config, &asked).await?.passport(key, address)?;
    if passport.bundle.pinned(&token_pin).is_none() {
        let reason = "roots of which none is the one that the token names".to_owned();
        return Err(JoinError::Answer { address: address.clone(), reason });
    }
    Ok(passport)
}

/// Renews: has the next key certified for whom the credentials are. They stay as they are; [`Credentials::replace`] is the caller's,
/// after the passport is on the disk.
///
/// # Errors
/// Each variant of [`JoinError`].
pub async fn renew(address: &Address, credentials: &Credentials, key: Key) -> Result<Passport, JoinError> {
    let post = Post { address, trust: Trust::Bundle(credentials.bundle()), path: RENEW_PATH };
    let asked = RenewRequest { request: key.request(), clock: now() };
    post.ask(credentials.config(PROTOCOL), &asked).await?.passport(key, address)
}

/// One question to a server.
struct Post<'a> {
    address: &'a Address,
    trust: Trust,
    path: &'static str,
}

struct Answered(JoinAnswer);

impl Post<'_> {
    async fn ask<T: Serialize>(
        &self,
        config: std::sync::Arc<rustls::ClientConfig>,
        asked: &T,
    ) -> Result<Answered, JoinError> {
        let address = || self.address.clone();
        let Address::Https(uri) = self.address else { return Err(JoinError::Address(address())) };
        let suspicion = Suspicion::default();
        let broken = |fault: &dyn std::fmt::Display| match suspicion.words() {
            Some(source) => JoinError::Distrust { address: address(), source },
            None => JoinError::Broken { address: address(), reason: fault.to_string() },
        };
        let stream = secure::open_comparing(uri, config, self.trust.clone(), suspicion.clone()).await;
        let stream = stream.map_err(|error| match error {
            OpenError::Distrust(source) => JoinError::Distrust { address: address(), source },
            source => JoinError::Unreachable { address: address(), source: Box::new(source) },
        })?;
        let answering = async {
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|fault| broken(&fault))?;
            let driving = tokio::spawn(connection);
            let body = serde_json::to_vec(asked).expect("a request has string keys");
            let authority = uri.authority().map_or("", http::uri::Authority::as_str);
            let request = http::Request::post(self.path)
                .header("host", authority)
                .header("content-type", "application/json")
                .body(Full::<bytes::Bytes>::from(body))
                .map_err(|fault| broken(&fault))?;
            let response = sender.send_request(request).await.map_err(|fault| broken(&fault));
            let whole = match response {
                Ok(response) => {
                    let status = response.status();
                    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
                    body.map(|body| (status, body.to_bytes())).map_err(|fault| broken(&fault))
                }
                Err(error) => Err(error),
            };
            driving.abort();
            whole
        };
        let (status, body) = tokio::time::timeout(PATIENCE, answering).await.unwrap_or_else(|_| {
            Err(broken(&format_args!("no answer within {} seconds", PATIENCE.as_secs())))
        })?;
        if !status.is_success() {
            return Err(JoinError::Refused {
                address: address(),
                status: status.as_u16(),
                message: words(&body),
            });
        }
        let answer = serde_json::from_slice(&body)
            .map_err(|fault| JoinError::Answer { address: address(), reason: fault.to_string() })?;
        Ok(Answered(answer))
    }
}

impl Answered {
    fn passport(self, key: Key, address: &Address) -> Result<Passport, JoinError> {
        let wrong = |reason: String| JoinError::Answer { address: address.clone(), reason };
        let certificate = Certificate::read(&self.0.certificate).map_err(|fault| wrong(fault.to_string()))?;
        if certificate.public != key.public() {
            return Err(wrong("a certificate for another key".to_owned()));
        }
        let bundle = Bundle::read(&self.0.authorities).map_err(|fault| wrong(fault.to_string()))?;
        Ok(Passport { certificate, key, bundle })
    }
}

/// The `message` of a Kubernetes `Status`, or the text as it is.
fn words(body: &[u8]) -> String {
    let status: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = status.as_ref().and_then(|status| status.get("message")?.as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const PROTOCOL: &str = "http/1.1";

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

//! Documents about the API itself, in the form that a client asks for, and only when it has not got them yet.
//!
//! Promises: the form is the first in `Accept` that there is, else plain JSON; the `ETag` changes when the content does, and
//! only then; a document of OpenAPI 3.0 that is asked for by its hash may be kept for ever.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::discovery::{self, Release};
use crate::openapi;
use crate::status::Refusal;
use crate::target::Discovery;

/// A form of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// JSON, as every client understands it.
    Plain,
    /// All groups with all their resources (apidiscovery.k8s.io).
    Aggregated(Release),
    /// gnostic's protobuf of OpenAPI 2.0.
    Binary,
}

/// Answers a request for a document.
pub(crate) fn answer(tenant: &str, wanted: &Discovery, parts: &Parts) -> Response<Body> {
    let form = Form::negotiate(wanted, &parts.headers);
    let content = match content(tenant, wanted, form, parts.uri.path()) {
        Ok(content) => content,
        Err(refusal) => return refusal.response(),
    };
    let hash = hash(&content);
    let tag = format!("\"{hash}\"");
    let known = parts.headers.get_all(header::IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let has_it = known
        .any(|known| matches!(known.trim().trim_start_matches("W/"), known if known == "*" || known == tag));
    let mut response = Response::new(if has_it { Body::empty() } else { Body::from(content) });
    if has_it {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let by_hash =
        parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == format!("hash={hash}")));
    let keep = if by_hash { "public, immutable, max-age=31536000" } else { "no-cache, private" };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("a quoted number is a header's value"));
    response
}

fn content(tenant: &str, wanted: &Discovery, form: Form, path: &str) -> Result<Vec<u8>, Refusal> {
    let document = match (wanted, form) {
        (Discovery::OpenApi2, Form::Binary) => return Ok(openapi::v2_binary(tenant)),
        (Discovery::OpenApi2, _) => openapi::v2(tenant),
        (Discovery::OpenApiIndex, _) => index(tenant, path),
        (Discovery::OpenApi { group, version }, _) => openapi::v3(tenant, group, version)?,
        (wanted, Form::Aggregated(release)) => discovery::aggregated(tenant, wanted, release),
        (wanted, _) => discovery::document(tenant, wanted)?,
    };
    Ok(document.to_string().into_bytes())
}

/// `/openapi/v3`: where the document of each group and version is. Clients keep each until its hash changes.
fn index(tenant: &str, path: &str) -> Value {
    let root = path.trim_end_matches('/');
    let documents = openapi::places(tenant).into_iter().filter_map(|(place, group, version)| {
        let document = openapi::v3(tenant, group, version).ok()?;
        let url = format!("{root}/{place}?hash={}", hash(document.to_string().as_bytes()));
        Some((place, json!({ "serverRelativeURL": url })))
    });
    json!({ "paths": documents.collect::<Map<_, _>>() })
}

fn hash(content: &[u8]) -> String {
    format!("{:032X}", xxh3_128(content))
}

impl Form {
    fn negotiate(wanted: &Discovery, headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut ranges = accepted.flat_map(|value| value.split(',')).map(str::trim);
        ranges.find_map(|range| Self::of(wanted, range)).unwrap_or(Self::Plain)
    }

    fn of(wanted: &Discovery, range: &str) -> Option<Self> {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next()?;
        let parameters: Vec<_> = parts.collect();
        let says = |parameter: &str| parameters.contains(&parameter);
        match (wanted, media) {
            (Discovery::OpenApi2, media) if media == BINARY || media == BINARY_OF_OLD => Some(Self::Binary),
            (Discovery::CoreVersions | Discovery::Groups, JSON) if says("as=APIGroupDiscoveryList") => {
                let own = says("g=apidiscovery.k8s.io");
                let release = [Release::V2, Release::V2Beta1].into_iter();
                let mut release = release.filter(|release| own && says(&format!("v={}", release.word())));
                release.next().map(Self::Aggregated)
            }
            (_, JSON | "application/*" | "*/*") if !parameters.iter().any(|part| part.starts_with("as=")) => {
                Some(Self::Plain)
            }
            _ => None,
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Plain => JSON,
            Self::Aggregated(Release::V2) => {
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
            Self::Aggregated(Release::V2Beta1) => {
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
            }
            Self::Binary => BINARY,
        }
    }
}

const JSON: &str = "application/json";

/// The protobuf form of OpenAPI 2.0, and what clients called it before 1.23. That has an @, which no media type may have: it
/// is understood and never said.
const BINARY: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const BINARY_OF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

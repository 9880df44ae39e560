//! Get and list.

use std::time::Duration;

use serde_json::Value;
use store::{Cached, Listing, Object, StoreError};

use crate::query::{Options, Version};
use crate::server::Request;
use crate::status::{Reason, Refusal};
use crate::view::{ListMeta, present};

/// The object of the request. Errors: 404, 504.
pub(crate) async fn get(store: &Cached, request: &Request, name: &str) -> Result<Value, Refusal> {
    if let Version::NotOlderThan(revision) | Version::Exact(revision) = request.options.version {
        wait_for(store, revision).await?;
    }
    let object = store.find(&request.objects.key(name)).ok_or_else(|| request.not_found(name))?;
    Ok(request.form.one(request.objects.kind, present(&object)))
}

/// The objects of the request, page by page if it says so. Errors: 400, 410, 504.
pub(crate) async fn list(store: &Cached, request: &Request) -> Result<Value, Refusal> {
    let options = &request.options;
    let token = options.continue_token.as_deref().map(Token::parse).transpose()?;
    let listing = listing(store, request, token.as_ref()).await?;
    let mut selected: Vec<Object> =
        listing.objects.into_iter().filter(|object| selects(options, object)).collect();
    if let Some(token) = &token {
        let behind = selected
            .partition_point(|object| place(object) <= (token.namespace.as_str(), token.name.as_str()));
        selected.drain(..behind);
    }
    let mut meta = ListMeta { revision: listing.revision, ..ListMeta::default() };
    if let Some(limit) = options.limit.filter(|limit| *limit < selected.len()) {
        let (namespace, name) = place(&selected[limit - 1]);
        let next = Token {
            revision: Some(listing.revision),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        meta.continue_token = Some(next.to_string());
        if options.labels.is_empty() && options.fields.is_empty() {
            meta.remaining = Some(selected.len() - limit);
        }
        selected.truncate(limit);
    }
    Ok(request.form.many(request.objects.kind, selected.iter().map(present).collect(), &meta))
}

async fn listing(store: &Cached, request: &Request, token: Option<&Token>) -> Result<Listing, Refusal> {
    let scope = request.objects.scope();
    let at = match (token, request.options.version) {
        (Some(Token { revision: None, .. }), _) => return Ok(store.objects(&scope)),
        (Some(Token { revision: Some(revision), .. }), _) => *revision,
        (None, Version::Newest | Version::Any) => return Ok(store.objects(&scope)),
        (None, Version::NotOlderThan(revision)) => {
            wait_for(store, revision).await?;
            return Ok(store.objects(&scope));
        }
        (None, Version::Exact(revision)) => {
            wait_for(store, revision).await?;
            revision
        }
    };
    store.objects_at(&scope, at).map_err(|error| match (error, token) {
        (StoreError::Compacted { .. }, Some(token)) => Refusal::new(
            Reason::Expired,
            "The provided continue parameter is too old to display a consistent list result. Start a new list without it, or \
             go on with the continue token of this answer: what follows is the state of now, which may not fit what was read.",
        )
        .continued(Token { revision: None, ..token.clone() }.to_string()),
        (error, _) => error.into(),
    })
}

/// Waits for a revision that another server may have told the client of. Errors: 504.
pub(crate) async fn wait_for(store: &Cached, revision: u64) -> Result<(), Refusal> {
    if store.reach(revision, PATIENCE).await {
        return Ok(());
    }
    Err(StoreError::Future { revision, newest: store.revision() }.into())
}

/// Whether the request's selectors select the object.
pub(crate) fn selects(options: &Options, object: &Object) -> bool {
    options.fields.selects(&object.key) && options.labels.selects(&object.value)
}

fn place(object: &Object) -> (&str, &str) {
    (object.key.namespace().unwrap_or_default(), object.key.name())
}

/// Where the next page of a list begins: behind this object.
#[derive(Clone, Debug)]
struct Token {
    /// The state that the list shows; `None`: whatever holds now.
    revision: Option<u64>,
    namespace: String,
    name: String,
}

impl Token {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let parts = text.split_once(':').and_then(|(revision, place)| {
            let (namespace, name) = place.split_once('/')?;
            Some(Self {
                revision: (revision != NOW).then(|| revision.parse()).transpose().ok()?,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        });
        parts.ok_or_else(|| {
            Refusal::bad_request(format!("continue key is not valid: {text:?} was not given by this server"))
        })
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let revision = self.revision.map_or(NOW.to_owned(), |revision| revision.to_string());
        write!(f, "{revision}:{}/{}", self.namespace, self.name)
    }
}

/// Stands in a token for no revision.
const NOW: &str = "now";

/// How long a read waits for a revision that is not there yet.
const PATIENCE: Duration = Duration::from_secs(3);

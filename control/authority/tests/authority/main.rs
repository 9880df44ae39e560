//! The authority whole: files, certificates as others read them, handshakes, joining, and what is refused.
#![allow(clippy::unwrap_used, reason = "tests state their claims with unwrap")]

mod certificate;
mod handshake;
mod joining;
mod kubeconfig;
mod root;
mod shelf;
mod wire;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use authority::{Authority, Grant, NODE_LIFE, Order, Registrar, Revocations, Tokens};
use futures_util::FutureExt;
use record::join::Token;
use shelf::Memory;

/// A server's authority with everything around it, in a folder of its own.
struct World {
    folder: tempfile::TempDir,
    authority: Arc<Authority>,
    tokens: Tokens,
    revocations: Arc<Revocations>,
    registrar: Registrar,
}

impl World {
    fn new(now: SystemTime) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::open(&folder.path().join("pki"), now).unwrap());
        let tokens = Tokens::new(Arc::new(Memory::default()));
        let revocations = Arc::new(wait(Revocations::open(Arc::new(Memory::default()))).unwrap());
        let holders = Arc::new(Memory::default());
        let registrar =
            Registrar::new(authority.clone(), tokens.clone(), revocations.clone(), holders, NODE_LIFE);
        Self { folder, authority, tokens, revocations, registrar }
    }

    fn node_token(&self, name: Option<&str>, many: bool, now: SystemTime) -> Token {
        let grant = Grant::Node { name: name.map(str::to_owned), many };
        self.token(grant, now)
    }

    fn token(&self, grant: Grant, now: SystemTime) -> Token {
        let order = Order { grant, life: HOUR, by: "admin".to_owned() };
        wait(self.tokens.create(order, self.authority.fingerprint(), now)).unwrap()
    }
}

/// The shelf in memory never waits, so neither does anything above it.
fn wait<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing here waits")
}

const HOUR: Duration = Duration::from_hours(1);

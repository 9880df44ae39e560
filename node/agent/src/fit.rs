//! How large packets may be: what the underlay carries and each network wants, brought to links that are there.
//!
//! ```text
//!   the uplink's MTU, the family by which nodes are reached ─> host's own links ─> each container's link
//!                                                  a network's MTU ─────────────────────^
//! ```
//!
//! Promises: a link is never wider than what the overlay carries to every node that is known; narrower comes before the node that
//! needs it, wider after all is in place; nothing is taken down for it.

use std::sync::Arc;

use record::delta::Delta;
use record::{Key, Record};

use crate::attachment::Attachment;
use crate::cause::chain;
use crate::journal::Entry;
use crate::mtu::{crosses_ipv6, too_wide};
use crate::node::Node;

impl Node {
    /// Narrows the host's own links if nodes that are about to be known need it.
    pub(crate) async fn fit_before(self: &Arc<Self>, delta: &Delta) {
        if delta.changed.iter().any(|record| matches!(record, Record::Node(_))) {
            let own = self.kernel.underlay().addresses;
            let ipv6 = {
                let ledger = self.ledger();
                // Until all of it is in force a node counts by what is held of it, too.
                crosses_ipv6(&own, ledger.held.node, ledger.held.records().chain(&delta.changed))
            };
            if ipv6 {
                self.fit_host(ipv6).await;
            }
        }
    }

    /// Fits links to what is in force now, if these records have to do with it.
    pub(crate) fn fit_after(self: &Arc<Self>, keys: impl IntoIterator<Item = Key>) {
        if keys.into_iter().any(|key| matches!(key, Key::Node(_) | Key::Network(_))) {
            let node = Arc::clone(self);
            // Not waited for: a container that is being attached may itself wait for the server's next word.
            tokio::spawn(async move { node.fit().await });
        }
    }

    /// Fits the host's own links and then those of containers to underlay and networks.
    pub(crate) async fn fit(self: &Arc<Self>) {
        let own = self.kernel.underlay().addresses;
        let ipv6 = {
            let ledger = self.ledger();
            crosses_ipv6(&own, ledger.held.node, ledger.held.records())
        };
        self.fit_host(ipv6).await;
        let most = self.kernel.underlay().container_mtu;
        let unfit: Vec<Attachment> = {
            let ledger = self.ledger();
            let attachments = ledger.all().map(|kept| &kept.attachment);
            attachments.filter(|one| ledger.misfit(one, most).is_some()).cloned().collect()
        };
        for attachment in unfit {
            let request = &attachment.request;
            let _inside = self.containers.enter((request.door, request.container.clone())).await;
            self.resize(&attachment.uid).await;
        }
    }

    async fn fit_host(&self, ipv6: bool) {
        if let Err(error) = self.in_kernel(move |kernel| kernel.fit(ipv6)).await {
            tracing::error!(error = chain(&error), "the links keep their MTU; it is tried again");
        }
    }

    /// Gives an attached one's link the MTU that it should have, from inside its container's gate.
    pub(crate) async fn resize(&self, uid: &str) {
        let most = self.kernel.underlay().container_mtu;
        let resized = {
            let ledger = self.ledger();
            let kept = ledger.kept(uid).map(|kept| &kept.attachment);
            kept.and_then(|one| ledger.misfit(one, most).map(|mtu| Attachment { mtu, ..one.clone() }))
        };
        let Some(resized) = resized else { return };
        let link = resized.clone();
        if let Err(error) = self.in_kernel(move |kernel| kernel.resize(&link)).await {
            tracing::warn!(uid, error = chain(&error), "a link keeps its MTU; it is tried again");
            return;
        }
        tracing::info!(uid, endpoint = resized.request.name, mtu = resized.mtu, "a link has another MTU");
        self.ledger().resized(uid, resized.mtu);
        if let Err(error) = self.journal.write(vec![Entry::Attachment(resized.into())]).await {
            tracing::warn!(uid, error = chain(&error), "the journal does not know an endpoint's MTU");
        }
    }

    /// What whoever attached this one should know of its link.
    pub(crate) fn warnings(&self, attachment: &Attachment) -> Vec<String> {
        let most = self.kernel.underlay().container_mtu;
        self.ledger()
            .held
            .network(attachment.vni)
            .and_then(|network| too_wide(network, most))
            .into_iter()
            .collect()
    }

    /// What whoever runs this node should know of its networks.
    pub(crate) fn problems(&self) -> Vec<String> {
        let most = self.kernel.underlay().container_mtu;
        let ledger = self.ledger();
        let networks = ledger.held.records().filter_map(|record| match record {
            Record::Network(network) => too_wide(network, most),
            _ => None,
        });
        let trouble = self.trouble.lock().clone();
        let trouble = trouble
            .map(|reason| format!("no session with the server, what is held stays in force: {reason}"));
        networks.chain(trouble).collect()
    }
}

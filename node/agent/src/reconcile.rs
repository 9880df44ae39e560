//! Making kernel and book agree: at the start, when links vanish, and from time to time.
//!
//! ```text
//!   journal says   kernel has             then
//!   planned        anything or nothing    remove, forget: nobody was told of it
//!   leaving        anything or nothing    remove, forget
//!   attached       its link               make the rest whole
//!   attached       no link                remove, forget: the container is gone
//!   nothing        anything of ours       remove
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use record::Record;

use crate::attachment::{Attachment, Step};
use crate::cause::chain;
use crate::journal::Entry;
use crate::kernel::{Found, KernelError};
use crate::node::{Node, blocking};

impl Node {
    /// Brings the kernel to what the journal says. Before it, no door is open.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), KernelError> {
        let (records, generation): (Vec<Record>, _) = {
            let ledger = self.ledger();
            (ledger.held.records().cloned().collect(), ledger.held.generation)
        };
        let faults = self.in_kernel(move |kernel| kernel.resync(&records, generation)).await;
        for fault in &faults {
            tracing::error!(record = ?fault.key, reason = fault.reason, "a record held is not in force");
        }
        let found = self.in_kernel(|kernel| kernel.inventory()).await?;
        let linked: BTreeSet<u32> =
            found.iter().filter(|found| found.link).map(|found| found.number).collect();
        let attachments: Vec<Attachment> = self.ledger().all().map(|kept| kept.attachment.clone()).collect();
        for attachment in &attachments {
            if attachment.step == Step::Attached && linked.contains(&attachment.number) {
                self.adopt(attachment).await;
            } else if let Err(refusal) = self.remove(&attachment.uid).await {
                tracing::warn!(
                    uid = attachment.uid,
                    reason = refusal.message,
                    "the start left an endpoint leaving"
                );
            }
        }
        self.sweep(&found, &attachments).await;
        Ok(())
    }

    /// Makes an attached one whole. If that cannot be, it is taken away: a link that nothing judges must not stand.
    async fn adopt(self: &Arc<Self>, attachment: &Attachment) {
        let groups = self.ledger().held.groups_of(attachment);
        let (whole, with) = (attachment.clone(), groups.clone());
        match self.in_kernel(move |kernel| kernel.adopt(&whole, &with)).await {
            Ok(()) => self.ledger().wrote(&attachment.uid, groups),
            Err(error) => {
                tracing::error!(
                    uid = attachment.uid,
                    error = chain(&error),
                    "an endpoint cannot be judged and is removed"
                );
                if let Err(refusal) = self.remove(&attachment.uid).await {
                    tracing::error!(uid = attachment.uid, reason = refusal.message, "nor can it be removed");
                }
            }
        }
    }

    /// Removes from the kernel what nobody has, nor had when it was found: that is being removed, or has been.
    async fn sweep(&self, found: &[Found], before: &[Attachment]) {
        let had: BTreeSet<u32> = before.iter().map(|attachment| attachment.number).collect();
        for Found { number, .. } in found.iter().filter(|found| !had.contains(&found.number)) {
            if self.ledger().numbered(*number).is_some() {
                continue;
            }
            tracing::warn!(number, "leftovers of an unknown endpoint are removed");
            if let Err(error) = self.clear(*number).await {
                tracing::error!(number, error = chain(&error), "leftovers are not yet removed");
            }
        }
    }

    /// A link has vanished, and its container with it.
    pub(crate) async fn release(self: &Arc<Self>, number: u32) {
        let gone = self.ledger().numbered(number).cloned();
        let Some(gone) = gone.filter(|gone| gone.step == Step::Attached) else { return };
        let _inside = self.containers.enter((gone.request.door, gone.request.container.clone())).await;
        let still = self.ledger().kept(&gone.uid).is_some_and(|kept| kept.attachment.step == Step::Attached);
        if still {
            tracing::info!(
                uid = gone.uid,
                endpoint = gone.request.name,
                "a container is gone without a word"
            );
            // A failure is in the log, and leaves it to the next round.
            let _ = self.remove(&gone.uid).await;
        }
    }

    /// Looks for itself: what vanished unseen, what is still leaving, what nobody has, what doors left word of.
    pub(crate) async fn tidy(self: &Arc<Self>) {
        // The book before the kernel: what is attached in it now has its link already.
        let before: Vec<Attachment> = self.ledger().all().map(|kept| kept.attachment.clone()).collect();
        let found = match self.in_kernel(|kernel| kernel.inventory()).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(error = chain(&error), "the kernel's links cannot be read");
                return;
            }
        };
        for attachment in &before {
            let has_link = found.iter().any(|found| found.number == attachment.number && found.link);
            match attachment.step {
                Step::Attached if !has_link => self.release(attachment.number).await,
                Step::Leaving => self.retry(attachment).await,
                Step::Attached | Step::Planned => {}
            }
        }
        self.sweep(&found, &before).await;
        self.bury().await;
        self.fit().await;
        let node = Arc::clone(self);
        blocking(move || {
            let uids: Vec<String> = node.ledger().all().map(|kept| kept.attachment.uid.clone()).collect();
            node.settle_groups(&uids)
        })
        .await;
    }

    async fn retry(self: &Arc<Self>, attachment: &Attachment) {
        let request = &attachment.request;
        let _inside = self.containers.enter((request.door, request.container.clone())).await;
        let leaving =
            self.ledger().kept(&attachment.uid).is_some_and(|kept| kept.attachment.step == Step::Leaving);
        if leaving {
            // A failure is in the log, and leaves it to the next round.
            let _ = self.remove(&attachment.uid).await;
        }
    }

    /// Takes over the number that the server knows this node by.
    pub(crate) async fn number(&self, number: record::NodeId) -> Result<(), KernelError> {
        if self.ledger().held.node == Some(number) {
            return Ok(());
        }
        self.in_kernel(move |kernel| kernel.identify(number)).await?;
        self.ledger().held.node = Some(number);
        if let Err(error) = self.journal.write(vec![Entry::Node(number)]).await {
            tracing::warn!(error = chain(&error), "this node's number is not in the journal");
        }
        Ok(())
    }
}

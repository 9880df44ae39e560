//! Taking containers off their networks: at a door's request, or because they are gone.
//!
//! Promises: taking away what is not there succeeds; what cannot be removed now keeps its addresses and is tried again.

use std::collections::BTreeSet;
use std::sync::Arc;

use record::delta::NodeMessage;
use record::door::{Attach, Attached, Collect, Detach, Door, Refusal, RefusalCode};

use crate::attachment::{Attachment, Place, Step};
use crate::cause::chain;
use crate::journal::Entry;
use crate::node::Node;
use crate::refusal::refusal;

impl Node {
    /// Carries out [`record::door::Request::Detach`].
    pub(crate) async fn detach(self: Arc<Self>, detach: Detach) -> Result<(), Refusal> {
        let _inside = self.containers.enter((detach.door, detach.container.clone())).await;
        self.refuse_another_doors(&detach)?;
        self.remove_all(&detach).await
    }

    /// A person asks by an endpoint's name: that somebody else has attached it must not pass for a success.
    fn refuse_another_doors(&self, detach: &Detach) -> Result<(), Refusal> {
        if detach.door != Door::Attach || !self.meant(detach, |_| true).is_empty() {
            return Ok(());
        }
        let ledger = self.ledger();
        let bears_the_name = |one: &&Attachment| {
            let name = format!("{}_{}_{}", one.tenant_name(), one.namespace(), one.request.name);
            one.request.door != Door::Attach && [&name, &one.request.container].contains(&&detach.container)
        };
        let Some(other) = ledger.all().map(|kept| &kept.attachment).find(bears_the_name) else {
            return Ok(());
        };
        let request = &other.request;
        let (by, remedy) = match request.door {
            Door::Run => (
                "`sealane run` has started",
                "end the process that it runs, by the number that `sealane run` gave; its place goes with it",
            ),
            _ => ("a container runtime has attached", "have the runtime remove it; its place goes with it"),
        };
        let message = format!(
            "endpoint {}/{} is container {}, which {by}, not `sealane attach`",
            other.namespace(),
            request.name,
            request.container
        );
        Err(refusal(RefusalCode::Invalid, message, remedy))
    }

    /// Carries out [`record::door::Request::Check`].
    pub(crate) async fn check(&self, wanted: &Detach) -> Result<(), Refusal> {
        let attachments = self.meant(wanted, |kept| kept.step == Step::Attached);
        if attachments.is_empty() {
            let message =
                format!("container {} has no such attachment at door {}", wanted.container, wanted.door);
            return Err(refusal(RefusalCode::NotFound, message, "attach it first"));
        }
        for attachment in attachments {
            let checked = attachment.clone();
            let differences = self.in_kernel(move |kernel| kernel.check(&checked)).await?;
            if !differences.is_empty() {
                let message = format!(
                    "interface {} of container {}: {}",
                    attachment.request.interface,
                    wanted.container,
                    differences.join("; ")
                );
                return Err(refusal(
                    RefusalCode::Drifted,
                    message,
                    "detach the container and attach it again",
                ));
            }
        }
        Ok(())
    }

    /// Carries out [`record::door::Request::Collect`].
    pub(crate) async fn collect(self: Arc<Self>, collect: Collect) -> Result<(), Refusal> {
        let keep: BTreeSet<(String, String)> = collect.keep.into_iter().collect();
        let within = collect.within.map(|within| format!("{within}/"));
        let places: Vec<Place> = {
            let ledger = self.ledger();
            let places = ledger.all().map(|kept| Place::of(&kept.attachment.request));
            places.filter(|place| place.door == collect.door).collect()
        };
        let mut failed = None;
        for place in places {
            let is_within = within.as_ref().is_none_or(|within| place.container.starts_with(within));
            let (container, interface) = (place.container, place.interface);
            if !is_within || keep.contains(&(container.clone(), interface.clone())) {
                continue;
            }
            let gone = Detach { door: collect.door, container, interface: Some(interface) };
            failed = Arc::clone(&self).detach(gone).await.err().or(failed);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Carries out [`record::door::Request::List`].
    pub(crate) fn list(&self) -> Vec<Attached> {
        let ledger = self.ledger();
        let attached = ledger.all().filter(|kept| kept.attachment.step == Step::Attached);
        attached.map(|kept| kept.attachment.reply(ledger.is_judged(&kept.attachment.uid))).collect()
    }

    /// Carries out what doors asked for while the agent was away.
    pub(crate) async fn bury(self: &Arc<Self>) {
        let tombstones = self.tombstones.read().unwrap_or_else(|error| {
            tracing::warn!(%error, "the word that doors left cannot be read");
            Vec::new()
        });
        for tombstone in tombstones {
            let place = (tombstone.detach.door, tombstone.detach.container.clone());
            let _inside = self.containers.enter(place).await;
            // An attach that was inside meanwhile has carried it out: what stands there now is the new attachment.
            if tombstone.stands()
                && self.remove_all(&tombstone.detach).await.is_ok()
                && let Err(error) = tombstone.remove()
            {
                tracing::warn!(%error, "word that a door left is carried out, but cannot be removed");
            }
        }
    }

    /// The same for the place that a new request asks for, from inside its gate: else the word would strike the new one later.
    pub(crate) async fn bury_older(self: &Arc<Self>, request: &Attach) {
        let tombstones = self.tombstones.about(request).unwrap_or_else(|error| {
            tracing::warn!(%error, "the word that doors left cannot be read");
            Vec::new()
        });
        for tombstone in tombstones {
            if self.remove_all(&tombstone.detach).await.is_ok()
                && let Err(error) = tombstone.remove()
            {
                tracing::warn!(%error, "word that a door left is carried out, but cannot be removed");
            }
        }
    }

    /// Takes away an attachment, from inside its container's gate. [`Step::Leaving`] is where it stays if that fails.
    pub(crate) async fn remove(self: &Arc<Self>, uid: &str) -> Result<(), Refusal> {
        let Some(attachment) = self.ledger().step(uid, Step::Leaving) else { return Ok(()) };
        if let Err(error) = self.journal.write(vec![Entry::Attachment(attachment.clone().into())]).await {
            // After a crash it is found attached, without its link, and is removed then.
            tracing::warn!(
                uid,
                error = chain(&error),
                "the journal does not know that an endpoint is leaving"
            );
        }
        self.outbox.push(NodeMessage::Detached(attachment.tenant, uid.to_owned()));
        if let Err(error) = self.clear(attachment.number).await {
            tracing::error!(uid, error = chain(&error), "an endpoint is not yet removed; it is tried again");
            return Err(error.into());
        }
        if let Err(error) = self.journal.write(vec![Entry::Forget(uid.to_owned())]).await {
            tracing::warn!(uid, error = chain(&error), "a removed endpoint stays in the journal");
        }
        self.ledger().strike(uid);
        tracing::info!(uid, endpoint = attachment.request.name, "detached");
        Ok(())
    }

    async fn remove_all(self: &Arc<Self>, detach: &Detach) -> Result<(), Refusal> {
        let mut failed = None;
        for attachment in self.meant(detach, |_| true) {
            failed = self.remove(&attachment.uid).await.err().or(failed);
        }
        failed.map_or(Ok(()), Err)
    }

    fn meant(&self, detach: &Detach, is_wanted: impl Fn(&Attachment) -> bool) -> Vec<Attachment> {
        let ledger = self.ledger();
        let attachments = ledger.all().map(|kept| &kept.attachment).filter(|attachment| {
            let request = &attachment.request;
            let same_interface =
                detach.interface.as_ref().is_none_or(|interface| *interface == request.interface);
            request.door == detach.door && request.container == detach.container && same_interface
        });
        attachments.filter(|attachment| is_wanted(attachment)).cloned().collect()
    }
}

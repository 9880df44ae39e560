//! From a door's request to a container on its network.
//!
//! ```text
//!   check -> an earlier pod of the name? remove
//!         -> (one at a time for a container) -> same as before? -> plan ──(network or address not held)──> ask the server
//!         -> journal: planned -> kernel: link, judged before it is up -> journal: attached -> groups -> report -> reply
//! ```
//!
//! Promises: refused means that nothing is left; whatever the agent is killed at, its next start leaves the kernel as the journal
//! says; a container whose groups nobody knows yet is denied by name, never treated as somebody.

mod request;

use std::sync::Arc;
use std::time::{Duration, Instant};

use record::delta::{NodeMessage, Want};
use record::door::{Attach, Attached, Refusal, RefusalCode};

use crate::attachment::{Attachment, Place, Step, namespace_of, tenant_of};
use crate::cause::chain;
use crate::config::DoorRules;
use crate::journal::Entry;
use crate::kernel::KernelError;
use crate::ledger::{Ask, Facts, Plan};
use crate::node::{Node, blocking};
use crate::refusal::{of_server, refusal};
use crate::want::NoAnswer;

impl Node {
    /// Carries out a request. Goes on to the end even if the asker is gone: run it as a task of its own.
    pub(crate) async fn attach(self: Arc<Self>, request: Attach) -> Result<Attached, Refusal> {
        let began = Instant::now();
        let door = request.door;
        let what = format!("{}/{}/{}", tenant_of(&request), namespace_of(&request), request.name);
        let outcome = self.place(request).await;
        self.metrics.attached(door, began.elapsed(), outcome.as_ref().err().map(|refusal| refusal.code));
        match &outcome {
            Ok(attached) => tracing::info!(
                endpoint = what, %door, uid = attached.uid, network = attached.network, interface = attached.host_interface,
                judged = attached.judged, took_ms = began.elapsed().as_millis(), "attached"
            ),
            Err(refusal) => tracing::warn!(endpoint = what, %door, refusal = refusal.message, "not attached"),
        }
        outcome
    }

    async fn place(self: &Arc<Self>, request: Attach) -> Result<Attached, Refusal> {
        request::check(&request, self.config.nat_ports)?;
        let rules = self.config.door(request.door);
        allow_tenant(&request, &rules)?;
        self.supersede(&request).await?;
        let _inside = self.containers.enter((request.door, request.container.clone())).await;
        self.bury_older(&request).await;
        let namespace = self.look(&request).await?;
        if let Some(attached) = self.attached_before(&request, namespace).await? {
            return Ok(attached);
        }
        self.refuse_busy_ports(&request).await?;
        let attachment = self.find_place(&request, namespace, &rules).await?;
        self.build(&attachment).await?;
        self.outbox.push(NodeMessage::Attached(attachment.report()));
        let judged = self.await_judgement(&attachment.uid).await;
        let kept = self.ledger().kept(&attachment.uid).map(|kept| kept.attachment.clone());
        let warnings = self.warnings(&attachment);
        for warning in &warnings {
            tracing::warn!(endpoint = attachment.request.name, warning, "attached, but");
        }
        Ok(Attached { warnings, ..kept.unwrap_or(attachment).reply(judged) })
    }

    /// Removes what an earlier pod of the name has left: there is one pod of a name at a time, so its end was not told. Done before
    /// the newer one's gate is entered, for nobody waits at one gate inside another.
    async fn supersede(self: &Arc<Self>, request: &Attach) -> Result<(), Refusal> {
        let Some(earlier) = self.ledger().earlier_pod(request).cloned() else { return Ok(()) };
        let _inside = self.containers.enter((earlier.request.door, earlier.request.container.clone())).await;
        tracing::info!(endpoint = request.name, uid = earlier.uid, "a newer pod takes the endpoint's place");
        self.remove(&earlier.uid).await
    }

    /// What tells the container's namespace from others; refused when there is none.
    async fn look(&self, request: &Attach) -> Result<u64, Refusal> {
        let path = request.netns.clone();
        let namespace = self.in_kernel(move |kernel| kernel.namespace(&path)).await;
        namespace.ok_or_else(|| {
            let source = "no network namespace is there".into();
            KernelError::NoNamespace { path: request.netns.display().to_string(), source }.into()
        })
    }

    async fn refuse_busy_ports(&self, request: &Attach) -> Result<(), Refusal> {
        if request.publish.is_empty() {
            return Ok(());
        }
        let wanted = request.publish.clone();
        let offered =
            self.in_kernel(move |kernel| wanted.iter().try_for_each(|publish| kernel.offers(publish))).await;
        Ok(offered?)
    }

    /// The answer to a request that was carried out before; what is left of one that went wrong is removed.
    async fn attached_before(
        self: &Arc<Self>,
        request: &Attach,
        namespace: u64,
    ) -> Result<Option<Attached>, Refusal> {
        let Some(kept) = self.ledger().at(&Place::of(request)).cloned() else { return Ok(None) };
        let uid = kept.attachment.uid.clone();
        if kept.attachment.step != Step::Attached || !self.has_link(kept.attachment.number).await? {
            self.remove(&uid).await?;
            return Ok(None);
        }
        let same = Attach { netns: kept.attachment.request.netns.clone(), ..request.clone() };
        if kept.namespace == Some(namespace) && same == kept.attachment.request {
            let judged = self.ledger().is_judged(&uid);
            let warnings = self.warnings(&kept.attachment);
            return Ok(Some(Attached { warnings, ..kept.attachment.reply(judged) }));
        }
        let message = format!(
            "interface {} of container {} is attached already, as endpoint {}/{} of tenant {} in {}",
            request.interface,
            request.container,
            kept.attachment.namespace(),
            kept.attachment.request.name,
            kept.attachment.tenant_name(),
            kept.attachment.request.netns.display(),
        );
        Err(refusal(RefusalCode::Taken, message, "detach it first, or ask for the very same again"))
    }

    async fn has_link(&self, number: u32) -> Result<bool, Refusal> {
        let found = self.in_kernel(|kernel| kernel.inventory()).await?;
        Ok(found.iter().any(|found| found.number == number && found.link))
    }

    /// Finds the network and the addresses; the server is asked for what the node does not hold.
    async fn find_place(
        &self,
        request: &Attach,
        namespace: u64,
        rules: &DoorRules,
    ) -> Result<Attachment, Refusal> {
        let uid = new_uid()?;
        let mtu = self.kernel.underlay().container_mtu;
        let plan = || {
            let mac = |vni, address| self.kernel.mac(vni, address);
            let facts = Facts { uid: uid.clone(), namespace: Some(namespace), rules, mtu, mac: &mac };
            match self.ledger().plan(request, facts) {
                Plan::Ready(attachment) => Ok(Ok(*attachment)),
                Plan::Ask(ask) => Ok(Err(ask)),
                Plan::Refused(refusal) => Err(refusal),
            }
        };
        if let Ok(attachment) = plan()? {
            return Ok(attachment);
        }
        let network =
            (tenant_of(request).to_owned(), namespace_of(request).to_owned(), request.network.clone());
        let _one_at_a_time = self.questions.enter(network).await;
        for _ in 0..QUESTIONS {
            // Another attach may have been answered meanwhile, and its answer serve this one too.
            match plan()? {
                Ok(attachment) => return Ok(attachment),
                Err(ask) => self.ask(request, &uid, ask).await?,
            }
        }
        match plan()? {
            Ok(attachment) => Ok(attachment),
            Err(ask) => Err(refusal(
                RefusalCode::Unavailable,
                format!("the server granted {}, but this node does not hold it", ask.lacking),
                "try again; if it stays so, see `sealane status` for what keeps this node behind",
            )),
        }
    }

    async fn ask(&self, request: &Attach, uid: &str, ask: Ask) -> Result<(), Refusal> {
        let want = Want {
            id: 0,
            tenant: tenant_of(request).to_owned(),
            namespace: namespace_of(request).to_owned(),
            network: request.network.clone(),
            addresses: ask.addresses,
            endpoint: request.name.clone(),
            uid: uid.to_owned(),
        };
        self.await_session().await;
        match self.wants.ask(&self.outbox, want, PATIENCE).await {
            Ok(_) => Ok(()),
            Err(NoAnswer::Refused(said)) => Err(of_server(said)),
            Err(no_answer) => Err(refusal(
                RefusalCode::Unavailable,
                format!("this node does not hold {}, and {no_answer}", ask.lacking),
                format!(
                    "see that the server at {} runs and is reachable from this node, and try again",
                    self.config.server
                ),
            )),
        }
    }

    /// Gives a session that is just coming about a moment.
    async fn await_session(&self) {
        let mut news = self.subscribe();
        let wait = async { while !self.outbox.is_open() && news.changed().await.is_ok() {} };
        // Late or not: asking finds out.
        let _ = tokio::time::timeout(SESSION_PATIENCE, wait).await;
    }

    /// Makes what is planned, step by step.
    async fn build(self: &Arc<Self>, attachment: &Attachment) -> Result<(), Refusal> {
        let uid = &attachment.uid;
        if let Err(error) = self.journal.write(vec![Entry::Attachment(attachment.clone().into())]).await {
            self.ledger().strike(uid);
            return Err(error.into());
        }
        let groups = self.ledger().groups_of(attachment, self.outbox.is_open());
        let (built, with) = (attachment.clone(), groups.clone());
        if let Err(error) = self.in_kernel(move |kernel| kernel.attach(&built, &with)).await {
            return Err(self.undo(attachment, error.into()).await);
        }
        let attached = Attachment { step: Step::Attached, ..attachment.clone() };
        if let Err(error) = self.journal.write(vec![Entry::Attachment(attached.into())]).await {
            return Err(self.undo(attachment, error.into()).await);
        }
        {
            let mut ledger = self.ledger();
            ledger.wrote(uid, groups);
            ledger.step(uid, Step::Attached);
        }
        // The records may have changed while the link was made.
        let (node, uids) = (Arc::clone(self), [uid.clone()]);
        blocking(move || node.settle_groups(&uids)).await;
        self.resize(uid).await;
        Ok(())
    }

    /// Takes back what was made of an attachment. What cannot be taken back now is tried again later, and keeps its addresses.
    async fn undo(&self, attachment: &Attachment, why: Refusal) -> Refusal {
        self.ledger().step(&attachment.uid, Step::Leaving);
        if let Err(error) = self.clear(attachment.number).await {
            tracing::error!(
                uid = attachment.uid,
                error = chain(&error),
                "a failed attachment is not yet undone"
            );
            return Refusal {
                remedy: format!("{}; what was made of it is removed later", why.remedy),
                ..why
            };
        }
        if let Err(error) = self.journal.write(vec![Entry::Forget(attachment.uid.clone())]).await {
            // The next start finds it planned and nothing of it in the kernel.
            tracing::warn!(
                uid = attachment.uid,
                error = chain(&error),
                "an undone attachment stays in the journal"
            );
        }
        self.ledger().strike(&attachment.uid);
        why
    }

    /// Waits a moment for the server's word on an endpoint whose groups do not follow from what is held; without it the endpoint
    /// goes by what is held.
    async fn await_judgement(self: &Arc<Self>, uid: &str) -> bool {
        if self.await_word(uid).await {
            return true;
        }
        self.ledger().wait_no_more(uid);
        let (node, uids) = (Arc::clone(self), [uid.to_owned()]);
        blocking(move || node.settle_groups(&uids)).await;
        self.ledger().is_judged(uid)
    }

    async fn await_word(&self, uid: &str) -> bool {
        let mut news = self.subscribe();
        let wait = async {
            loop {
                if self.ledger().is_judged(uid) {
                    return true;
                }
                if !self.outbox.is_open() || news.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(JUDGEMENT_PATIENCE, wait).await.unwrap_or(false)
    }
}

fn allow_tenant(request: &Attach, rules: &DoorRules) -> Result<(), Refusal> {
    let tenant = tenant_of(request);
    if rules.allows_tenant(tenant) {
        return Ok(());
    }
    let message = format!("door {} may not use tenant {tenant} on this node", request.door);
    let remedy = format!("add \"{tenant}\" to doors.{}.tenants in the agent's settings", request.door);
    Err(refusal(RefusalCode::Forbidden, message, remedy))
}

/// A fresh identity (RFC 9562, version 4), by the kernel.
fn new_uid() -> Result<String, Refusal> {
    let text =
        std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(|source| KernelError::Failed {
            operation: "read /proc/sys/kernel/random/uuid".to_owned(),
            source: source.into(),
        })?;
    Ok(text.trim().to_owned())
}

/// How often one attach asks the server. Others may take what it was granted.
const QUESTIONS: usize = 4;
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for a session that does not stand.
const SESSION_PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits for the server's word on the groups.
const JUDGEMENT_PATIENCE: Duration = Duration::from_secs(1);

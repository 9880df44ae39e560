//! The node: what all tasks of the agent share, and the few things that they must do in one way.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use record::Key;
use record::delta::Fault;
use record::door::Door;
use tokio::sync::watch;

use crate::attachment::Step;
use crate::cause::chain;
use crate::config::Config;
use crate::gate::Gates;
use crate::journal::Journal;
use crate::kernel::{Kernel, KernelError, SharedKernel};
use crate::ledger::Ledger;
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::sample::Samples;
use crate::tombstone::Tombstones;
use crate::want::Wants;

/// See the module.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) kernel: SharedKernel,
    pub(crate) journal: Journal,
    pub(crate) tombstones: Tombstones,
    /// To the server.
    pub(crate) outbox: Outbox,
    pub(crate) wants: Wants,
    pub(crate) metrics: Metrics,
    pub(crate) samples: Samples,
    /// Work on one container at a time.
    pub(crate) containers: Gates<(Door, String)>,
    /// One question at a time about one network.
    pub(crate) questions: Gates<(String, String, Option<String>)>,
    /// As whom it speaks to the server.
    pub(crate) membership: Membership,
    /// Why there is no session with the server, while there is none.
    pub(crate) trouble: Mutex<Option<String>>,
    ledger: Mutex<Ledger>,
    /// Held while groups are found and written, so that an older finding never overwrites a newer one.
    grouping: Mutex<()>,
    news: watch::Sender<()>,
}

impl Node {
    /// A node with this book, journal and kernel.
    pub(crate) fn new(config: Config, kernel: SharedKernel, journal: Journal, ledger: Ledger) -> Arc<Self> {
        Arc::new(Self {
            tombstones: Tombstones::of(config.tombstones()),
            membership: Membership::new(&config),
            trouble: Mutex::default(),
            config,
            kernel,
            journal,
            outbox: Outbox::default(),
            wants: Wants::default(),
            metrics: Metrics::default(),
            samples: Samples::default(),
            containers: Gates::default(),
            questions: Gates::default(),
            ledger: Mutex::new(ledger),
            grouping: Mutex::new(()),
            news: watch::Sender::new(()),
        })
    }

    /// The book. Never held over I/O or a wait.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// Wakes whoever waits for something in the book to change.
    pub(crate) fn announce(&self) {
        self.news.send_modify(|()| {});
    }

    /// Tells of changes in the book from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Does blocking work in the kernel, away from the async tasks.
    pub(crate) async fn in_kernel<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Kernel) -> T + Send + 'static,
    ) -> T {
        let kernel = Arc::clone(&self.kernel);
        blocking(move || work(&*kernel)).await
    }

    /// Sees to it that the kernel has the groups of these attachments that follow from the records. Blocks.
    pub(crate) fn settle_groups(&self, uids: &[String]) -> Vec<Fault> {
        let mut faults = Vec::new();
        for uid in uids {
            let _one_at_a_time = self.grouping.lock();
            let (attachment, groups) = {
                let ledger = self.ledger();
                let Some(kept) = ledger.kept(uid).filter(|kept| kept.attachment.step == Step::Attached)
                else {
                    continue;
                };
                let groups = ledger.groups_of(&kept.attachment, self.outbox.is_open());
                if groups == kept.written {
                    continue;
                }
                (kept.attachment.clone(), groups)
            };
            match self.kernel.regroup(&attachment, &groups) {
                Ok(()) => self.ledger().wrote(uid, groups),
                Err(error) => {
                    tracing::error!(
                        endpoint = uid,
                        error = chain(&error),
                        "an endpoint's groups were not changed"
                    );
                    let key = Key::Endpoint(attachment.tenant, uid.clone());
                    faults.push(Fault { key, reason: chain(&error) });
                }
            }
        }
        self.announce();
        faults
    }

    /// Removes everything that the kernel has under a number.
    pub(crate) async fn clear(&self, number: u32) -> Result<(), KernelError> {
        self.in_kernel(move |kernel| kernel.detach(number)).await
    }
}

/// Runs blocking work on a thread of its own. A panic of it goes on here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is ending: nobody will ask for the outcome.
            Err(_) => std::future::pending().await,
        },
    }
}

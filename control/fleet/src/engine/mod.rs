//! The one task that owns the fleet: takes in what comes, lets it settle, makes it durable, sends what follows.
//!
//! ```text
//!   sessions ─┐                    ┌─ 1. writes, one transaction, until they are durable
//!   watch ────┼─> burst ─> settle ─┤
//!   looks ────┘                    └─ 2. messages and generations
//! ```
//!
//! Promises: what arrives within a few milliseconds is settled together; while the store cannot be written nothing new is sent,
//! and what nodes hold stays in force; statuses are written beside all that, one pass at a time.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use record::NodeId;
use record::delta::{NodeMessage, ServerMessage};
use record::inspect::{Answer, Question};
use store::{Action, Cached, Change, Expect, ObjectKey, Scope, Store, StoreError, Transaction, Watch};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::document;
use crate::fleet::{Fleet, SessionId, StatusWrite};
use crate::stage::Millis;

/// What the engine is told.
pub(crate) enum Input {
    /// A stream is open; what is put in the queue is sent.
    Opened(SessionId, mpsc::UnboundedSender<ServerMessage>),
    /// A node said something.
    Message(SessionId, NodeMessage),
    /// A stream is over.
    Closed(SessionId),
    /// Somebody looks at the fleet.
    Look(Box<dyn FnOnce(&mut Fleet) + Send>),
    /// Somebody asks a node. The answer's sender is dropped when the node is not there.
    Ask(NodeId, Question, oneshot::Sender<Answer>),
}

/// The way to the engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    inbox: mpsc::Sender<Input>,
    sessions: Arc<AtomicU64>,
    questions: Arc<Semaphore>,
}

impl Handle {
    /// Tells the engine; waits while it is busy. `false`: it has stopped.
    pub(crate) async fn tell(&self, input: Input) -> bool {
        self.inbox.send(input).await.is_ok()
    }

    /// A number for a stream.
    pub(crate) fn next_session(&self) -> SessionId {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Reads from the fleet; `None`: the engine has stopped.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Fleet) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let look = move |fleet: &mut Fleet| {
            // Whoever asked may have gone.
            reply.send(read(fleet)).ok();
        };
        self.tell(Input::Look(Box::new(look))).await;
        answer.await.ok()
    }

    /// Asks a node; `None`: it is not connected, or did not answer in time.
    pub(crate) async fn ask(&self, node: NodeId, question: Question) -> Option<Answer> {
        let asking = async {
            let _one_of_few = self.questions.acquire().await.ok()?;
            let (reply, answer) = oneshot::channel();
            self.tell(Input::Ask(node, question, reply)).await;
            answer.await.ok()
        };
        tokio::time::timeout(ANSWER, asking).await.ok()?
    }
}

/// See the module.
pub(crate) struct Engine {
    fleet: Fleet,
    store: Arc<Cached>,
    watch: Watch,
    inbox: mpsc::Receiver<Input>,
    began: Instant,
    queues: HashMap<SessionId, mpsc::UnboundedSender<ServerMessage>>,
    asking: HashMap<u64, (NodeId, oneshot::Sender<Answer>)>,
    unwritten: BTreeMap<ObjectKey, Action>,
    failing: bool,
    status: Status,
}

/// The writing of statuses.
#[derive(Default)]
struct Status {
    next: Millis,
    round: u64,
    pass: Option<JoinHandle<Vec<StatusWrite>>>,
}

impl Engine {
    /// An engine over a fleet that was restored from the listing that the watch follows.
    pub(crate) fn new(fleet: Fleet, store: Arc<Cached>, watch: Watch, began: Instant) -> (Self, Handle) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let engine = Self {
            fleet,
            store,
            watch,
            inbox,
            began,
            queues: HashMap::new(),
            asking: HashMap::new(),
            unwritten: BTreeMap::new(),
            failing: false,
            status: Status::default(),
        };
        let questions = Arc::new(Semaphore::new(QUESTIONS));
        (engine, Handle { inbox: sender, sessions: Arc::default(), questions })
    }

    /// Runs until `stop` comes or the store is closed.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        // What the start itself decided (numbers, bootstrap) is settled before anybody is heard.
        self.settle().await;
        loop {
            let due = self.due();
            tokio::select! {
                biased;
                () = &mut stop => break,
                input = self.inbox.recv() => match input {
                    Some(input) => self.burst(input).await,
                    None => break,
                },
                news = self.watch.next() => if !self.news(news) { break },
                () = tokio::time::sleep(due) => {}
            }
            self.settle().await;
        }
        if let Some(pass) = self.status.pass.take() {
            pass.abort();
        }
    }

    fn now(&self) -> Millis {
        self.began.elapsed().as_millis() as Millis
    }

    fn due(&self) -> Duration {
        if self.failing {
            return STORE_RETRY;
        }
        let status = if self.status.pass.is_none() { self.status.next } else { self.now() + PASS };
        let deadline = self.fleet.deadline().min(status);
        Duration::from_millis(deadline.saturating_sub(self.now()).max(1))
    }

    /// Takes in what is there, and what comes within a moment.
    async fn burst(&mut self, first: Input) {
        self.fleet.at(self.now(), SystemTime::now());
        self.take(first);
        let end = tokio::time::Instant::now() + BURST;
        for _ in 0..INBOX {
            match self.inbox.try_recv() {
                Ok(input) => self.take(input),
                Err(_) => match tokio::time::timeout_at(end, self.inbox.recv()).await {
                    Ok(Some(input)) => self.take(input),
                    Ok(None) | Err(_) => break,
                },
            }
        }
        // A store event that belongs to the same burst is settled with it.
        while let Ok(Some(batch)) = self.watch.ready() {
            batch.events.iter().for_each(|event| self.fleet.event(event));
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Opened(session, queue) => _ = self.queues.insert(session, queue),
            Input::Message(session, message) => {
                if self.queues.contains_key(&session) {
                    self.fleet.message(session, message);
                }
            }
            Input::Closed(session) => {
                self.queues.remove(&session);
                self.fleet.closed(session);
            }
            Input::Look(look) => look(&mut self.fleet),
            Input::Ask(node, question, reply) => {
                if let Some(number) = self.fleet.ask(node, question) {
                    self.asking.retain(|_, (_, reply)| !reply.is_closed());
                    self.asking.insert(number, (node, reply));
                }
            }
        }
    }

    /// Takes in what happened in the store. `false`: it is closed.
    fn news(&mut self, news: Result<store::Batch, StoreError>) -> bool {
        self.fleet.at(self.now(), SystemTime::now());
        match news {
            Ok(batch) => batch.events.iter().for_each(|event| self.fleet.event(event)),
            Err(StoreError::Closed) => return false,
            Err(error) => {
                tracing::warn!(%error, "the engine fell behind the store; it compares everything");
                let (listing, watch) = self.store.subscribe(Scope::all());
                self.fleet.compare(&listing.objects);
                self.watch = watch;
            }
        }
        true
    }

    async fn settle(&mut self) {
        self.fleet.at(self.now(), SystemTime::now());
        self.fleet.look();
        self.fleet.settle();
        self.unwritten.append(&mut self.fleet.take_writes());
        if !self.unwritten.is_empty() && !self.write().await {
            return;
        }
        let effects = self.fleet.take_effects();
        for (session, message) in effects.sends {
            if let Some(queue) = self.queues.get(&session) {
                // A stream that has just ended says so by itself.
                queue.send(message).ok();
            }
        }
        for session in effects.ended {
            self.queues.remove(&session);
        }
        for (number, answer) in effects.answers {
            if let Some((_, reply)) = self.asking.remove(&number) {
                reply.send(answer).ok();
            }
        }
        let fleet = &self.fleet;
        self.asking.retain(|_, (node, _)| fleet.nodes.get(node).is_some_and(|node| node.session().is_some()));
        self.statuses().await;
    }

    /// Makes the writes durable. `false`: not yet; they are tried again.
    async fn write(&mut self) -> bool {
        let change = |(key, action): (&ObjectKey, &Action)| Change {
            key: key.clone(),
            expect: Expect::Anything,
            action: action.clone(),
        };
        let transaction = Transaction { changes: self.unwritten.iter().map(change).collect() };
        match self.store.write(transaction).await {
            Ok(_) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the store takes writes again");
                }
                self.unwritten.clear();
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the store takes no writes; nodes go on with what they hold");
                }
                false
            }
        }
    }

    /// Begins a pass over the statuses when one is due and the last one is over.
    async fn statuses(&mut self) {
        if self.status.pass.as_ref().is_some_and(JoinHandle::is_finished) {
            let written = match self.status.pass.take() {
                Some(pass) => pass.await.unwrap_or_default(),
                None => Vec::new(),
            };
            written.iter().for_each(|write| self.fleet.status_written(write));
        }
        if self.now() < self.status.next || self.status.pass.is_some() || self.failing {
            return;
        }
        self.status.next = self.now() + STATUS;
        self.status.round += 1;
        let mut statuses = self.fleet.statuses();
        if !self.status.round.is_multiple_of(WHOLE) {
            // Generations change with every container; a write for each would drown the store's history.
            for write in statuses.iter_mut().filter(|write| write.key.resource() == document::NODES) {
                write.fields.clear();
            }
        }
        self.status.pass = Some(tokio::spawn(write_statuses(Arc::clone(&self.store), statuses)));
    }
}

/// Writes what differs. Gives back what the store says now.
async fn write_statuses(store: Arc<Cached>, statuses: Vec<StatusWrite>) -> Vec<StatusWrite> {
    let stamp = document::stamp(SystemTime::now());
    let mut written = Vec::new();
    for status in statuses {
        let Some(object) = store.find(&status.key) else { continue };
        if !status.is_about(&object.value) {
            continue;
        }
        let mut document = (*object.value).clone();
        if status.write(&mut document, &stamp) {
            let expect = Expect::Revision(object.revision);
            // Somebody else's write goes first; the next pass comes by again.
            if store.write(Transaction::put(status.key.clone(), expect, document)).await.is_err() {
                continue;
            }
        }
        written.push(status);
    }
    written
}

/// Inputs that wait while the engine is busy; whoever has more to say waits too.
const INBOX: usize = 4_096;

/// What comes within this is settled together.
const BURST: Duration = Duration::from_millis(2);

/// Questions under way at once, of everybody to all nodes: answers can be large.
const QUESTIONS: usize = 64;

/// How long a node has to answer a question.
const ANSWER: Duration = Duration::from_secs(3);

/// How often writes that failed are tried again.
const STORE_RETRY: Duration = Duration::from_millis(250);

/// How soon a pass over the statuses is looked after, in milliseconds.
const PASS: Millis = 50;

/// How often statuses are written, in milliseconds.
const STATUS: Millis = 1_000;

/// Every so many passes nodes' generations are written too.
const WHOLE: u64 = 5;

//! One node's stream: messages in to the engine, messages out from it.
//!
//! Promises: a node that does not read holds back its own stream alone; what a node says comes to the engine in order; when
//! either side is done, both are told.

use record::delta::{NodeMessage, ServerMessage};
use stream::Streaming;
use tokio::sync::mpsc;

use crate::engine::{Handle, Input};
use crate::fleet::SessionId;

/// Begins a session: the stream's own tasks run until it ends. What comes back is what the stream sends. A caller that is known
/// to be the node `own` is let in under this name alone; `refused` hears why one was not.
pub(crate) fn open(
    handle: &Handle,
    incoming: Streaming<NodeMessage>,
    own: Option<String>,
    refused: impl FnOnce(&str) + Send + 'static,
) -> mpsc::Receiver<ServerMessage> {
    let (outgoing, waiting) = mpsc::channel(stream::QUEUE);
    let handle = handle.clone();
    tokio::spawn(async move {
        let session = handle.next_session();
        let refusals = outgoing.clone();
        let (queue, queued) = mpsc::unbounded_channel();
        if handle.tell(Input::Opened(session, queue)).await {
            let mut writer = tokio::spawn(write(queued, outgoing));
            tokio::select! {
                refusal = read(&handle, session, incoming, own.as_deref()) => {
                    writer.abort();
                    if let Some(refusal) = refusal {
                        refused(&refusal);
                        // A node that is gone by now needs no reason.
                        refusals.send(ServerMessage::Rejected(refusal)).await.ok();
                    }
                }
                _ = &mut writer => {}
            }
            handle.tell(Input::Closed(session)).await;
        }
    });
    waiting
}

/// Until the engine has let the session go and everything is written, or the node is gone.
async fn write(mut queued: mpsc::UnboundedReceiver<ServerMessage>, outgoing: mpsc::Sender<ServerMessage>) {
    while let Some(message) = queued.recv().await {
        if outgoing.send(message).await.is_err() {
            return;
        }
    }
}

/// Until the node is gone, or says what cannot be understood; or who it is not, which is answered with the reason.
async fn read(
    handle: &Handle,
    session: SessionId,
    mut incoming: Streaming<NodeMessage>,
    own: Option<&str>,
) -> Option<String> {
    loop {
        match incoming.message().await {
            Ok(Some(message)) => {
                if let (NodeMessage::Hello(hello), Some(own)) = (&message, own)
                    && hello.name != own
                {
                    tracing::warn!(
                        session,
                        own,
                        said = hello.name,
                        "a node was refused: it is not who it says"
                    );
                    return Some(format!(
                        "this agent says that it is the node {:?}, and its certificate that it is {own:?}: give it its own \
                         certificate, or its own name (`name` in its settings)",
                        hello.name
                    ));
                }
                if !handle.tell(Input::Message(session, message)).await {
                    return None;
                }
            }
            Ok(None) => return None,
            Err(status) => {
                tracing::info!(session, %status, "a node's stream ended");
                return None;
            }
        }
    }
}

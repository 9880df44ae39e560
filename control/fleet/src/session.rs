//! One node's stream: messages in to the engine, messages out from it.
//!
//! Promises: a node that does not read holds back its own stream alone; what a node says comes to the engine in order; when
//! either side is done, both are told.

use record::delta::{NodeMessage, ServerMessage};
use stream::Streaming;
use tokio::sync::mpsc;

use crate::engine::{Handle, Input};
use crate::fleet::SessionId;

/// Begins a session: the stream's own tasks run until it ends. What comes back is what the stream sends.
pub(crate) fn open(handle: &Handle, incoming: Streaming<NodeMessage>) -> mpsc::Receiver<ServerMessage> {
    let (outgoing, waiting) = mpsc::channel(stream::QUEUE);
    let handle = handle.clone();
    tokio::spawn(async move {
        let session = handle.next_session();
        let (queue, queued) = mpsc::unbounded_channel();
        if handle.tell(Input::Opened(session, queue)).await {
            let mut writer = tokio::spawn(write(queued, outgoing));
            tokio::select! {
                () = read(&handle, session, incoming) => writer.abort(),
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

/// Until the node is gone, or says what cannot be understood.
async fn read(handle: &Handle, session: SessionId, mut incoming: Streaming<NodeMessage>) {
    loop {
        match incoming.message().await {
            Ok(Some(message)) => {
                if !handle.tell(Input::Message(session, message)).await {
                    return;
                }
            }
            Ok(None) => return,
            Err(status) => return tracing::info!(session, %status, "a node's stream ended"),
        }
    }
}

//! Events: what app teams see with `kubectl describe`.
//!
//! kube's recorder repeats an event by its reason and action and keeps its first note; so what varies goes into the
//! action. The API server takes notes of 1024 bytes at most.
//!
//! They are written one after the other beside all other work: after a restart there may be a thousand at once.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::sync::mpsc;

/// Longest note ("Event v1 events.k8s.io", Kubernetes API reference).
const NOTE: usize = 1024;

/// How many may wait to be written; whoever has more to tell tells it later.
const WAITING: usize = 4096;
/// How long the API server may take for one.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Tells users what happened to their objects.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<(ObjectReference, Event)>,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Warning or not.
    pub warning: bool,
    /// One word in camel case.
    pub reason: String,
    /// A sentence or two.
    pub text: String,
}

impl Events {
    /// Tells as `albacore` on behalf of this process, until nobody has anything to tell any more.
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter {
            controller: "albacore".to_owned(),
            instance: Some(instance.to_owned()),
        };
        let (sender, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write(Recorder::new(client, reporter), waiting));
        Self { sender }
    }

    /// Tells a note about an object; says whether it can be told now.
    #[must_use]
    pub fn tell(&self, about: &ObjectReference, note: &Note) -> bool {
        let digest = Sha256::digest(&note.text);
        let event = Event {
            type_: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.clone(),
            note: Some(cut(&note.text, NOTE).to_owned()),
            action: format!("Reconcile-{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2]),
            secondary: None,
        };
        self.sender.try_send((about.clone(), event)).is_ok()
    }
}

/// That nobody could be told is logged, and stops nothing.
async fn write(recorder: Recorder, mut waiting: mpsc::Receiver<(ObjectReference, Event)>) {
    while let Some((about, event)) = waiting.recv().await {
        let told = tokio::time::timeout(TIMEOUT, recorder.publish(&event, &about)).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!(object = ?about.name, reason = event.reason, "an event could not be written");
        }
    }
}

/// The longest beginning of at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[test]
fn a_note_is_cut_between_characters() {
    assert_eq!(cut("aé", 2), "a");
    assert_eq!(cut("aé", 3), "aé");
}

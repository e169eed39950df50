//! An HTTP client in front of the double that lets a process die at a given call: the call is carried out, the answer
//! never arrives.

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::Notify;

/// The wire: counts calls, and is tripped by the one it was set to.
#[derive(Clone, Debug, Default)]
pub struct Tripwire {
    calls: Arc<AtomicU64>,
    at: Arc<AtomicU64>,
    tripped: Arc<Notify>,
}

impl Tripwire {
    /// Trips at the nth call from now on.
    pub fn set(&self, nth: u64) {
        self.at.store(self.calls.load(Ordering::SeqCst) + nth, Ordering::SeqCst);
    }

    /// Does not trip any more.
    pub fn mend(&self) {
        self.at.store(0, Ordering::SeqCst);
    }

    /// Calls that went over the wire so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Ends when the call it was set to was carried out; nobody was answered since.
    pub async fn tripped(&self) {
        self.tripped.notified().await;
    }

    /// A client that goes over the wire.
    pub fn over(&self, http: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(Over {
            wire: self.clone(),
            next: http,
        })
    }

    fn is_dead(&self, call: u64) -> bool {
        let at = self.at.load(Ordering::SeqCst);
        at != 0 && call >= at
    }
}

#[derive(Debug)]
struct Over<T> {
    wire: Tripwire,
    next: T,
}

impl HttpClient for Over<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let next = self.next.http_connector(settings, components);
        SharedHttpConnector::new(Over {
            wire: self.wire.clone(),
            next,
        })
    }
}

impl HttpConnector for Over<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let wire = self.wire.clone();
        let call = wire.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if wire.is_dead(call - 1) {
            // Nothing is sent by the dead.
            return HttpConnectorFuture::new(std::future::pending());
        }
        let answer = self.next.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await;
            if wire.is_dead(call) {
                wire.tripped.notify_one();
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}

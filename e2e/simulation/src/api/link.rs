//! The way of one client to the API server, which may be down while others' are not.

use super::Server;
use futures::future::BoxFuture;
use http::Request;
use kube::client::Body;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tower::Service;

/// A link; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Link(Arc<AtomicBool>);

impl Link {
    /// Breaks it, or mends it. Watches that are open go on until [`Server::cut_watches`].
    pub fn set_down(&self, down: bool) {
        self.0.store(down, Ordering::SeqCst);
    }
}

impl Server {
    /// A client of this server at the other end of a link.
    pub fn client_over(&self, link: Link) -> kube::Client {
        let server = self.clone();
        kube::Client::new(Linked { server, link }, "default")
    }
}

struct Linked {
    server: Server,
    link: Link,
}

impl Service<Request<Body>> for Linked {
    type Response = <Server as Service<Request<Body>>>::Response;
    type Error = <Server as Service<Request<Body>>>::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.server.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.link.0.load(Ordering::SeqCst) {
            return Box::pin(async { Err("no route to host".into()) });
        }
        self.server.call(request)
    }
}

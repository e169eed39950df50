//! The server for clients in other processes.

use super::{
    Server,
    server::{BoxError, ReplyBody},
};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use std::{convert::Infallible, io};
use tokio::{net::TcpListener, task::JoinSet};

impl Server {
    /// Serves it over TCP, without TLS, until dropped.
    ///
    /// # Errors
    /// The listener cannot accept any more.
    pub async fn listen(&self, listener: TcpListener) -> io::Result<Infallible> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    let server = self.clone();
                    let service = service_fn(move |request| receive(server.clone(), request));
                    connections.spawn(async move {
                        // Ends with an error when a client goes away: not our concern.
                        let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn receive(server: Server, request: http::Request<Incoming>) -> Result<http::Response<ReplyBody>, BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(BoxError::from)?.to_bytes();
    server
        .serve(http::Request::from_parts(parts, body.to_vec().into()))
        .await
}

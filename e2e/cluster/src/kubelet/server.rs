//! What `kubectl logs` asks a node: `GET /containerLogs/<namespace>/<pod>/<container>` over TLS on port 10250.
//!
//! Of the query `tailLines` and `follow` are honoured. Who asks is not checked: nobody but the cluster itself can.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::stream::{self, BoxStream, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A kubelet's port.
pub(crate) const PORT: u16 = 10250;

/// How often a followed log is looked at.
const GLANCE: Duration = Duration::from_millis(200);

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>>;

/// Serves the logs below `state` at a node's address until dropped; the certificate is `<state>/pki/kubelet.{crt,key}`.
pub(super) async fn serve(address: Ipv4Addr, state: &Path) -> Result<()> {
    let certificate = CertificateDer::from_pem_file(state.join("pki/kubelet.crt"))?;
    let key = PrivateKeyDer::from_pem_file(state.join("pki/kubelet.key"))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((address, PORT)).await?;
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (acceptor, state) = (acceptor.clone(), state.to_owned());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                let answer = answer(&request, &state);
                async move { Ok::<_, Infallible>(answer) }
            });
            // A reader that hangs up is no error of ours.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, state: &Path) -> Response<Body> {
    let log = match request.uri().path().split('/').collect::<Vec<_>>()[..] {
        ["", "containerLogs", namespace, pod, container] => {
            super::logs(state, namespace, pod).join(format!("{container}.log"))
        }
        _ => return plain(StatusCode::NOT_FOUND, "only containerLogs is served here\n"),
    };
    let Ok(text) = std::fs::read(&log) else {
        return plain(StatusCode::NOT_FOUND, "no such log\n");
    };
    let wanted = |name: &str| {
        let pairs = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
            .next()
    };
    let tail = wanted("tailLines").and_then(|lines| lines.parse().ok());
    let shown = Bytes::copy_from_slice(last_lines(&text, tail.unwrap_or(usize::MAX)));
    let first = stream::once(async { Ok(Frame::data(shown)) });
    let body = if wanted("follow").as_deref() == Some("true") {
        first.chain(follow(log, text.len() as u64)).boxed()
    } else {
        first.boxed()
    };
    Response::new(StreamBody::new(body))
}

fn plain(status: StatusCode, words: &'static str) -> Response<Body> {
    let words = stream::once(async move { Ok(Frame::data(Bytes::from_static(words.as_bytes()))) });
    let mut response = Response::new(StreamBody::new(words.boxed()));
    *response.status_mut() = status;
    response
}

fn last_lines(text: &[u8], count: usize) -> &[u8] {
    let ends = text
        .iter()
        .enumerate()
        .rev()
        .filter(|(index, byte)| **byte == b'\n' && index + 1 < text.len());
    ends.map(|(index, _)| &text[index + 1..])
        .nth(count.saturating_sub(1))
        .unwrap_or(text)
}

/// What is added to `log` from `offset` on, until the reader hangs up.
fn follow(log: PathBuf, offset: u64) -> impl futures::Stream<Item = Result<Frame<Bytes>, std::io::Error>> {
    stream::try_unfold((log, offset), async |(log, offset)| {
        loop {
            let mut file = tokio::fs::File::open(&log).await?;
            tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(offset)).await?;
            let mut news = Vec::new();
            let read = file.read_to_end(&mut news).await?;
            if read > 0 {
                return Ok(Some((Frame::data(Bytes::from(news)), (log, offset + read as u64))));
            }
            sleep(GLANCE).await;
        }
    })
}

#[test]
fn a_tail_is_the_last_lines_and_no_more_than_there_are() {
    for (count, tail) in [(1, "c\n"), (2, "b\nc\n"), (3, "a\nb\nc\n"), (9, "a\nb\nc\n")] {
        assert_eq!(last_lines(b"a\nb\nc\n", count), tail.as_bytes());
    }
}

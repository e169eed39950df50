//! The in-memory API server behaves as a real one where the controller leans on it.

use albacore_simulation::{api::Server, conformance};
use futures::TryStreamExt;
use k8s_openapi::api::networking::v1::Ingress;
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
};

#[tokio::test(start_paused = true)]
async fn it_conforms_as_the_real_one_does() {
    let server = Server::default();
    let forget = async |_: &str| {
        server.store().compact();
        Ok(())
    };
    conformance::check_all(server.client(), "conformance", forget)
        .await
        .expect("every fact holds");
}

#[tokio::test(start_paused = true)]
async fn an_open_watch_goes_on_until_it_is_cut() {
    let server = Server::default();
    let api: Api<Ingress> = Api::all(server.client());
    let watch = api.watch(&WatchParams::default(), "1").await.expect("a stream");
    let ingress = serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "a", "namespace": "x" }, "spec": {},
    });
    let cutter = server.clone();
    let (events, ()) = tokio::join!(watch.try_collect::<Vec<_>>(), async move {
        cutter.apply(ingress).expect("created");
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        cutter.cut_watches();
    });
    let events = events.expect("ends cleanly");
    assert!(matches!(events.as_slice(), [WatchEvent::Added(_)]), "{events:?}");
}

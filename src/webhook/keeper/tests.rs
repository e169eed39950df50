use super::*;
use crate::k8s::Client;
use axum::http::{Request, Response, StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tokio::time::advance;

/// The two objects, as an API server has them: whoever writes on an old version of one is refused.
#[derive(Clone)]
struct Api(Arc<Mutex<Objects>>);

struct Objects {
    secret: Option<Value>,
    configuration: Option<Value>,
    version: u64,
    conflicts: usize,
}

impl Objects {
    /// Puts an object in place, when it was written on the version that is there.
    fn put(&mut self, found: &Value, mut object: Value, on: &Value) -> Result<Value, StatusCode> {
        if found["metadata"]["resourceVersion"] != *on {
            self.conflicts += 1;
            return Err(StatusCode::CONFLICT);
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        Ok(object)
    }

    fn answer(&mut self, method: &str, path: &str, body: &Value) -> Result<Value, StatusCode> {
        let secret = path.starts_with("/api/v1/namespaces/kube-system/secrets/albacore-webhook-keys");
        let stored = if secret { &self.secret } else { &self.configuration };
        let found = stored.clone().ok_or(StatusCode::NOT_FOUND)?;
        let on = &body["metadata"]["resourceVersion"];
        let after = match method {
            "PUT" => self.put(&found, body.clone(), on)?,
            "PATCH" => {
                let mut merged = found.clone();
                for (webhook, patch) in merged["webhooks"]
                    .as_array_mut()
                    .unwrap()
                    .iter_mut()
                    .zip(body["webhooks"].as_array().unwrap())
                {
                    assert_eq!(webhook["name"], patch["name"]);
                    json_patch::merge(webhook, patch);
                }
                self.put(&found, merged, on)?
            }
            _ => return Ok(found),
        };
        *(if secret {
            &mut self.secret
        } else {
            &mut self.configuration
        }) = Some(after.clone());
        Ok(after)
    }
}

impl Api {
    /// As the chart makes them: a Secret without data, webhooks without a bundle.
    fn new() -> Self {
        let webhook = |name: &str| {
            json!({ "name": name, "clientConfig": { "service": { "name": "s", "namespace": "n" } },
                    "sideEffects": "None", "admissionReviewVersions": ["v1"] })
        };
        Self(Arc::new(Mutex::new(Objects {
            secret: Some(json!({ "metadata": { "name": "albacore-webhook-keys", "resourceVersion": "1" } })),
            configuration: Some(json!({
                "metadata": { "name": "albacore-webhook", "resourceVersion": "1" },
                "webhooks": [webhook("a.example.com"), webhook("b.example.com")],
            })),
            version: 1,
            conflicts: 0,
        })))
    }

    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                // Another replica may come in between.
                tokio::task::yield_now().await;
                let answer = api
                    .0
                    .lock()
                    .unwrap()
                    .answer(head.method.as_str(), head.uri.path(), &body);
                let (status, body) = match answer {
                    Ok(object) => (StatusCode::OK, object),
                    Err(code) => (
                        code,
                        json!({
                            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
                            "reason": if code == StatusCode::CONFLICT { "Conflict" } else { "NotFound" }, "message": "",
                        }),
                    ),
                };
                let answer = Response::builder()
                    .status(status)
                    .body(Body::from(body.to_string().into_bytes()));
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn keeper(&self, clock: &Clock) -> Keeper {
        let trust = Trust::new(
            self.client(),
            "kube-system",
            "albacore-webhook-keys",
            "albacore-webhook",
        );
        let names = vec!["albacore-webhook-service.kube-system.svc".to_owned()];
        Keeper::new(trust, names, Served::default(), (clock.clone(), Metrics::default()))
    }

    /// What API servers trust: the same for all webhooks.
    fn bundle(&self) -> String {
        let objects = self.0.lock().unwrap();
        let configuration = objects.configuration.as_ref().unwrap();
        let bundles: Vec<&str> = configuration["webhooks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|webhook| webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(bundles[0], bundles[1]);
        String::from_utf8(STANDARD.decode(bundles[0]).unwrap()).unwrap()
    }

    fn conflicts(&self) -> usize {
        self.0.lock().unwrap().conflicts
    }
}

fn authority(keeper: &Keeper) -> String {
    keeper.serves.as_ref().expect("it serves").ca.clone()
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn replicas_that_look_at_the_same_time_agree_through_a_whole_rotation() {
    let (api, clock) = (Api::new(), Clock::simulated());
    let (mut one, mut other) = (api.keeper(&clock), api.keeper(&clock));
    let mut served = Vec::new();
    for hour in 0..63 * 24 {
        if !(3..60 * 24 - 2).contains(&hour) {
            let (one_looked, other_looked) = tokio::join!(one.look(), other.look());
            assert_eq!((one_looked, other_looked), (Ok(true), Ok(true)), "hour {hour}");
            for keeper in [&one, &other] {
                assert!(api.bundle().contains(&authority(keeper)), "hour {hour}");
            }
            served.push(authority(&one));
        }
        advance(HOUR).await;
    }
    served.dedup();
    assert_eq!(served.len(), 2, "it was exchanged once");
    assert_eq!(
        [authority(&other), api.bundle()],
        [served[1].clone(), served[1].clone()]
    );
    assert!(api.conflicts() > 0, "they were in each other's way");
}

#[tokio::test(start_paused = true)]
async fn whoever_empties_the_secret_has_it_filled_and_nobody_serves_what_is_trusted_only_now() {
    let (api, clock) = (Api::new(), Clock::simulated());
    let mut keeper = api.keeper(&clock);
    keeper.look().await.unwrap();
    let before = authority(&keeper);
    let empty = json!({ "metadata": { "name": "albacore-webhook-keys", "resourceVersion": "7" } });
    api.0.lock().unwrap().secret = Some(empty);
    keeper.look().await.unwrap();
    assert_eq!(authority(&keeper), before);
    advance(HEARD.try_into().unwrap()).await;
    keeper.look().await.unwrap();
    assert_ne!(authority(&keeper), before);
    for authority in [before, authority(&keeper)] {
        assert!(api.bundle().contains(&authority));
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_trusts_any_more_is_not_served_a_moment_longer() {
    let (api, clock) = (Api::new(), Clock::simulated());
    let (mut one, mut other) = (api.keeper(&clock), api.keeper(&clock));
    one.look().await.unwrap();
    other.look().await.unwrap();
    let before = authority(&one);
    // Somebody made both objects anew.
    let anew = Api::new();
    std::mem::swap(&mut *api.0.lock().unwrap(), &mut *anew.0.lock().unwrap());
    for keeper in [&mut one, &mut other] {
        assert_eq!(keeper.look().await, Ok(true));
        assert_ne!(authority(keeper), before);
        assert_eq!(api.bundle(), authority(keeper));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_secret_it_says_so_and_without_webhooks_it_serves_all_the_same() {
    let (api, clock) = (Api::new(), Clock::simulated());
    let mut keeper = api.keeper(&clock);
    let secret = api.0.lock().unwrap().secret.take();
    assert_eq!(keeper.look().await, Err("the Secret: not found".to_owned()));
    {
        let mut objects = api.0.lock().unwrap();
        objects.secret = secret;
        objects.configuration = None;
    }
    assert_eq!(keeper.look().await, Ok(false), "it looks again soon");
    assert!(keeper.metrics.is_certified());
    let none = json!({ "metadata": { "name": "albacore-webhook", "resourceVersion": "7" }, "webhooks": [] });
    api.0.lock().unwrap().configuration = Some(none);
    assert_eq!(keeper.look().await, Ok(false), "one without webhooks is none");
}

#[tokio::test]
async fn files_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let write = |pair: &Pair| {
        std::fs::write(&certificate, &pair.certificate).unwrap();
        std::fs::write(&key, &pair.key).unwrap();
    };
    let mut files = Files::new(&certificate, &key, Served::default());
    assert!(files.read().await.is_err());
    let pair = || Pair::make(&["a.example.com".to_owned()], Clock::system().now()).unwrap();
    let (one, other) = (pair(), pair());
    write(&one);
    assert_eq!(files.read().await, Ok(true));
    assert_eq!(files.read().await, Ok(false));
    // Half of it is written.
    std::fs::write(&certificate, &other.certificate).unwrap();
    assert!(files.read().await.is_err());
    write(&other);
    assert_eq!(files.read().await, Ok(true));
}

//! The admin door: orders to the double itself, as HTTP under `/_admin/`. Everything here is also a method of [`Double`].
//!
//! ```text
//! GET    journal[?after=N]   DELETE journal            calls so far
//! GET    faults              POST   faults  DELETE     scripted faults (`faults::Fault` as JSON)
//! GET    options             PATCH  options            delays, throttling, health mode (`Options` as JSON, any part of it)
//! PUT    neighbour           {service, bucket, rate}   somebody else drinks from a bucket
//! PUT    quota               {region, name, max}       a quota of the account
//! PUT    health              {region, target_group, id, port, state, reason, description}
//! POST   skip                {seconds}                 time jumps ahead
//! POST   snapshots/NAME      POST   snapshots/NAME/restore
//! POST   reset                                         an empty world
//! ```

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::call::Service;
use crate::elbv2::{HealthReport, TargetKey};
use crate::faults::Fault;
use crate::world::ACCOUNT;
use crate::{Double, lock};

/// Where the door is.
pub(crate) const PREFIX: &str = "/_admin/";

#[derive(Deserialize)]
struct Neighbour {
    service: Service,
    bucket: String,
    rate: f64,
}

#[derive(Deserialize)]
struct Quota {
    #[serde(default = "account")]
    account: String,
    region: String,
    name: String,
    max: u64,
}

#[derive(Deserialize)]
struct Health {
    region: String,
    target_group: String,
    id: String,
    port: u16,
    state: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Skip {
    seconds: f64,
}

fn account() -> String {
    ACCOUNT.to_owned()
}

/// Carries an order out.
pub(crate) fn answer(double: &Double, request: &Request<Bytes>) -> Response<Bytes> {
    let (status, body) = match perform(double, request) {
        Ok(body) => (StatusCode::OK, body),
        Err((status, message)) => (status, json!({"error": message})),
    };
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

type Refusal = (StatusCode, String);

fn perform(double: &Double, request: &Request<Bytes>) -> Result<Value, Refusal> {
    let path: Vec<&str> = request.uri().path()[PREFIX.len()..].split('/').collect();
    let done = json!({});
    match (request.method(), &path[..]) {
        (&Method::GET, ["journal"]) => {
            let query = request.uri().query().unwrap_or_default();
            let after = query.strip_prefix("after=").and_then(|n| n.parse().ok()).unwrap_or(0);
            Ok(json!(double.journal_after(after)))
        }
        (&Method::DELETE, ["journal"]) => {
            double.clear_journal();
            Ok(done)
        }
        (&Method::GET, ["faults"]) => Ok(json!(double.gate().faults)),
        (&Method::POST, ["faults"]) => {
            double.inject(read::<Fault>(request)?);
            Ok(done)
        }
        (&Method::DELETE, ["faults"]) => {
            double.clear_faults();
            Ok(done)
        }
        (&Method::GET, ["options"]) => Ok(json!(double.world().options)),
        (&Method::PATCH, ["options"]) => {
            let change: serde_json::Map<String, Value> = read(request)?;
            let mut options = json!(double.world().options);
            for (name, value) in change {
                let known = options
                    .get_mut(&name)
                    .ok_or((StatusCode::BAD_REQUEST, format!("no option '{name}'")))?;
                *known = value;
            }
            let options =
                serde_json::from_value(options).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
            double.configure(|current| *current = options);
            Ok(done)
        }
        (&Method::PUT, ["neighbour"]) => {
            let Neighbour { service, bucket, rate } = read(request)?;
            double.neighbour(service, &bucket, rate);
            Ok(done)
        }
        (&Method::PUT, ["quota"]) => {
            let Quota {
                account,
                region,
                name,
                max,
            } = read(request)?;
            double.set_quota(&account, &region, &name, max);
            Ok(done)
        }
        (&Method::PUT, ["health"]) => {
            let Health {
                region,
                target_group,
                id,
                port,
                state,
                reason,
                description,
            } = read(request)?;
            let report = match state.as_str() {
                "healthy" => HealthReport::Healthy,
                "unhealthy" => HealthReport::Unhealthy { reason, description },
                _ => return Err((StatusCode::BAD_REQUEST, "state is 'healthy' or 'unhealthy'".to_owned())),
            };
            double.report_health(&region, &target_group, &TargetKey { id, port }, report);
            Ok(done)
        }
        (&Method::POST, ["skip"]) => {
            let Skip { seconds } = read(request)?;
            let by =
                Duration::try_from_secs_f64(seconds).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
            double.skip(by);
            Ok(done)
        }
        (&Method::POST, ["snapshots", name]) => {
            let world = double.snapshot();
            lock(&double.0.snapshots).insert((*name).to_owned(), world);
            Ok(done)
        }
        (&Method::POST, ["snapshots", name, "restore"]) => {
            let world = lock(&double.0.snapshots).get(*name).cloned();
            double.restore(world.ok_or((StatusCode::NOT_FOUND, format!("no snapshot '{name}'")))?);
            Ok(done)
        }
        (&Method::POST, ["reset"]) => {
            double.reset();
            Ok(done)
        }
        (method, _) => Err((
            StatusCode::NOT_FOUND,
            format!("no order {method} {}", request.uri().path()),
        )),
    }
}

fn read<T: DeserializeOwned>(request: &Request<Bytes>) -> Result<T, Refusal> {
    serde_json::from_slice(request.body()).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

//! The instance metadata service, version 2: what a program on an instance can learn about it, and the credentials of its role.
//!
//! ```text
//! PUT /latest/api/token   X-aws-ec2-metadata-token-ttl-seconds: 1…21600  ─► token
//! GET /latest/meta-data/… X-aws-ec2-metadata-token: token                ─► a value, or the names below a folder
//!     /latest/dynamic/instance-identity/document
//! ```
//! Without a token the answer is 401 (version 1 is off). These requests are no AWS calls: the journal does not have them.
//! Source: "Use instance metadata to manage your EC2 instance", Amazon EC2 user guide.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, SERVER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::Double;
use crate::call::partition;
use crate::door::serve_each;
use crate::ec2::state::{Instance, InstanceState, Interface};
use crate::identity::Session;
use crate::ids::Ids;
use crate::world::{Region, World};

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Longest life of a token: six hours. Source: "Use the Instance Metadata Service to access instance metadata".
const LONGEST_TTL: u64 = 21_600;

/// How long credentials of a role last. AWS gives no number; six hours are usual.
const CREDENTIALS: SignedDuration = SignedDuration::from_hours(6);

/// Who asks, and as whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// Instances of callers by source address: the addresses of an instance's pods. The longest prefix wins. Callers with
    /// an address or prefix of an instance's own network interfaces need no entry.
    pub pods: Vec<(IpNet, String)>,
    /// The instance of any other caller; none for the one that was launched first of those that run.
    pub instance: Option<String>,
    /// Name of the role whose credentials all instances have.
    pub role: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            pods: Vec::new(),
            instance: None,
            role: "node".to_owned(),
        }
    }
}

/// A metadata service, ready to serve.
#[derive(Debug)]
pub struct Server {
    service: Arc<Service>,
    listener: TcpListener,
}

#[derive(Debug)]
struct Service {
    double: Double,
    options: Options,
    tokens: Mutex<Tokens>,
}

#[derive(Debug)]
struct Tokens {
    ids: Ids,
    until: BTreeMap<String, Instant>,
}

impl Server {
    /// Takes the address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address can't be had.
    pub async fn bind(double: Double, address: SocketAddr, options: Options) -> io::Result<Server> {
        let tokens = Mutex::new(Tokens {
            ids: Ids::seeded(0),
            until: BTreeMap::new(),
        });
        let service = Arc::new(Service {
            double,
            options,
            tokens,
        });
        let listener = TcpListener::bind(address).await?;
        Ok(Server { service, listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until dropped.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn serve(self) -> io::Result<Infallible> {
        let service = self.service;
        serve_each(self.listener, move |caller, request| service.answer(caller, request)).await
    }
}

type Answer = Response<Full<Bytes>>;

fn answer(status: StatusCode, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("EC2ws"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn refused(status: StatusCode) -> Answer {
    let text = format!(
        "{} - {}\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    );
    answer(status, text)
}

impl Service {
    fn answer<B>(&self, caller: IpAddr, request: &Request<B>) -> Answer {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::PUT, "/latest/api/token") => self.token(request.headers()),
            (_, "/latest/api/token") | (&Method::PUT, _) => refused(StatusCode::METHOD_NOT_ALLOWED),
            (&Method::GET, _) if !self.knows(request.headers()) => refused(StatusCode::UNAUTHORIZED),
            (&Method::GET, _) => {
                let facts = self.facts(caller);
                let found = path.strip_prefix("/latest/").and_then(|path| look_up(&facts, path));
                found.map_or_else(|| refused(StatusCode::NOT_FOUND), |text| answer(StatusCode::OK, text))
            }
            _ => refused(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    /// A new token. A request that a proxy passed on gets none: "PUT requests with an X-Forwarded-For header are rejected".
    fn token(&self, headers: &HeaderMap) -> Answer {
        if headers.contains_key(FORWARDED_FOR) {
            return refused(StatusCode::FORBIDDEN);
        }
        let given = headers.get(TTL).and_then(|value| value.to_str().ok()?.parse().ok());
        let Some(seconds) = given.filter(|seconds| (1..=LONGEST_TTL).contains(seconds)) else {
            return refused(StatusCode::BAD_REQUEST);
        };
        let now = Instant::now();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.until.retain(|_, until| *until > now);
        let token = tokens.ids.hex(56);
        tokens.until.insert(token.clone(), now + Duration::from_secs(seconds));
        let mut response = answer(StatusCode::OK, token);
        response.headers_mut().insert(TTL, seconds.into());
        response
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = headers.get(TOKEN).and_then(|value| value.to_str().ok());
        let until = token.and_then(|token| tokens.until.get(token));
        until.is_some_and(|until| *until > Instant::now())
    }

    /// All that a caller may know, by path; empty where there is no instance.
    fn facts(&self, caller: IpAddr) -> BTreeMap<String, String> {
        let mut world = self.double.world();
        let Some((key, id)) = self.instance(&world, caller) else {
            return BTreeMap::new();
        };
        let access_key = format!("ASIA{}", id[id.len().saturating_sub(16)..].to_uppercase());
        world.options.accounts.insert(access_key.clone(), key.0.clone());
        let session = Session {
            arn: format!("arn:aws:sts::{}:assumed-role/{}/{id}", key.0, self.options.role),
            token: Some(format!("session-of-{id}")),
            expiration: self.double.now().checked_add(CREDENTIALS).ok(),
        };
        world.identity.sessions.insert(access_key.clone(), session);
        let Some((region, instance)) = world
            .regions
            .get(&key)
            .and_then(|region| Some((region, region.ec2.instance(&id)?)))
        else {
            return BTreeMap::new();
        };
        let about = About {
            account: &key.0,
            region_name: &key.1,
            region,
            id: &id,
            instance,
        };
        let mut facts = about.meta_data();
        facts.insert("dynamic/instance-identity/document".into(), about.document());
        facts.extend(about.role(&self.options.role, &access_key));
        facts
    }

    /// The account, region and id of a caller's instance.
    fn instance(&self, world: &World, caller: IpAddr) -> Option<((String, String), String)> {
        let around = self.options.pods.iter().filter(|(net, _)| net.contains(&caller));
        let named = around
            .max_by_key(|(net, _)| net.prefix_len())
            .map(|(_, id)| id.as_str())
            .or_else(|| owner(world, caller))
            .or(self.options.instance.as_deref());
        let mut all = world.regions.iter().flat_map(|(key, region)| {
            let instances = region.ec2.instances.iter();
            instances.map(move |(id, instance)| (key, id, instance))
        });
        let (key, id, _) = match named {
            Some(named) => all.find(|(_, id, _)| *id == named)?,
            None => all
                .filter(|(_, _, instance)| instance.state == InstanceState::Running)
                .min_by_key(|(_, id, instance)| (instance.launched, instance.index, *id))?,
        };
        Some((key.clone(), id.clone()))
    }
}

/// The instance that has an address, by itself or in a delegated prefix.
fn owner(world: &World, address: IpAddr) -> Option<&str> {
    let IpAddr::V4(address) = address else { return None };
    let has = |interface: &Interface| {
        interface.addresses.contains(&address) || interface.prefixes.iter().any(|net| net.contains(&address))
    };
    let mut interfaces = world.regions.values().flat_map(|region| region.ec2.interfaces.values());
    interfaces.find_map(|interface| {
        let instance = interface.attachment.as_ref()?.instance.as_deref()?;
        has(interface).then_some(instance)
    })
}

/// The value at a path, or the names below it, one a line, folders with a slash.
fn look_up(facts: &BTreeMap<String, String>, path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    if let Some(value) = facts.get(path) {
        return Some(value.clone());
    }
    let folder = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    let below = facts.keys().filter_map(|key| key.strip_prefix(&folder));
    let mut names: Vec<&str> = below
        .map(|rest| rest.find('/').map_or(rest, |slash| &rest[..=slash]))
        .collect();
    names.dedup();
    (!names.is_empty()).then(|| names.join("\n"))
}

/// An instance and where it stands.
struct About<'a> {
    account: &'a str,
    region_name: &'a str,
    region: &'a Region,
    id: &'a str,
    instance: &'a Instance,
}

impl About<'_> {
    fn interfaces(&self) -> impl Iterator<Item = (&String, &Interface, i64)> {
        self.region.ec2.interfaces.iter().filter_map(|(id, interface)| {
            let attachment = interface.attachment.as_ref()?;
            (attachment.instance.as_deref() == Some(self.id)).then_some((id, interface, attachment.device_index))
        })
    }

    /// Source: "Instance metadata categories", Amazon EC2 user guide.
    fn meta_data(&self) -> BTreeMap<String, String> {
        let instance = self.instance;
        let address = instance.address.map(|address| address.to_string()).unwrap_or_default();
        let mut facts = BTreeMap::new();
        let mut set = |path: &str, value: String| facts.insert(format!("meta-data/{path}"), value);
        set("ami-id", instance.image.clone());
        set("ami-launch-index", instance.index.to_string());
        set("instance-id", self.id.to_owned());
        set("instance-type", instance.instance_type.clone());
        set("local-ipv4", address);
        set("placement/availability-zone", instance.zone.clone());
        set("placement/region", self.region_name.to_owned());
        set("reservation-id", instance.reservation.clone());
        set("services/partition", partition(self.region_name).to_owned());
        for (id, interface, device) in self.interfaces() {
            if device == 0 {
                set("mac", interface.mac.clone());
            }
            let lines = |texts: Vec<String>| texts.join("\n");
            let blocks = self.region.ec2.vpcs.get(&interface.vpc);
            let blocks: Vec<String> = blocks
                .iter()
                .flat_map(|vpc| &vpc.cidrs)
                .map(|(_, net)| net.to_string())
                .collect();
            let subnet = self.region.ec2.subnet(&interface.subnet);
            let mut set =
                |name: &str, value: String| set(&format!("network/interfaces/macs/{}/{name}", interface.mac), value);
            set("device-number", device.to_string());
            set("interface-id", id.clone());
            set(
                "local-ipv4s",
                lines(interface.addresses.iter().map(ToString::to_string).collect()),
            );
            set("mac", interface.mac.clone());
            set("owner-id", self.account.to_owned());
            set("security-group-ids", lines(interface.groups.clone()));
            set("subnet-id", interface.subnet.clone());
            set(
                "subnet-ipv4-cidr-block",
                subnet.map(|subnet| subnet.cidr.to_string()).unwrap_or_default(),
            );
            set("vpc-id", interface.vpc.clone());
            set("vpc-ipv4-cidr-block", blocks.first().cloned().unwrap_or_default());
            set("vpc-ipv4-cidr-blocks", lines(blocks));
        }
        facts
    }

    /// Source: "Instance identity documents", Amazon EC2 user guide.
    fn document(&self) -> String {
        let document = json!({
            "accountId": self.account,
            "architecture": "x86_64",
            "availabilityZone": self.instance.zone,
            "imageId": self.instance.image,
            "instanceId": self.id,
            "instanceType": self.instance.instance_type,
            "pendingTime": self.instance.launched.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "privateIp": self.instance.address,
            "region": self.region_name,
            "version": "2017-09-30",
        });
        format!("{document:#}")
    }

    /// The role and its credentials. Callers compare the expiration with their own clock, so it does not follow the double's.
    /// Source: "Retrieve security credentials from instance metadata", Amazon EC2 user guide.
    fn role(&self, role: &str, access_key: &str) -> [(String, String); 2] {
        let now = Timestamp::now();
        let text = |moment: Timestamp| moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let until = now.saturating_add(CREDENTIALS).unwrap_or(Timestamp::MAX);
        let credentials = json!({
            "Code": "Success",
            "LastUpdated": text(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": access_key,
            "SecretAccessKey": format!("secret-of-{}", self.id),
            "Token": format!("session-of-{}", self.id),
            "Expiration": text(until),
        });
        let arn = format!(
            "arn:{}:iam::{}:instance-profile/{role}",
            partition(self.region_name),
            self.account
        );
        let info = json!({
            "Code": "Success", "LastUpdated": text(now), "InstanceProfileArn": arn, "InstanceProfileId": "AIPADOUBLE0000000000A",
        });
        [
            (
                format!("meta-data/iam/security-credentials/{role}"),
                format!("{credentials:#}"),
            ),
            ("meta-data/iam/info".into(), format!("{info:#}")),
        ]
    }
}

//! Watches → changes of facts.
//!
//! Each kind has a stream of its own, and all end in one channel. A relist is told as the changes it amounts to: every
//! object as it is, and those that are not there any more as gone.

use super::{convert, custom, slim};
use crate::facts::Change;
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, fmt::Debug};
use tokio::{sync::mpsc, task::JoinSet};

/// Objects of one page of a list: a page is held in memory whole.
const PAGE: u32 = 100;

/// What is told.
#[derive(Debug)]
pub enum Seen {
    /// Facts changed.
    Changes(Vec<Change>),
    /// All objects of a kind have been told once.
    Synced(Kind),
    /// A LoadBalancer object as it is now.
    LoadBalancer(Box<custom::LoadBalancer>),
    /// A LoadBalancer object is gone.
    LoadBalancerGone(String),
}

/// The kinds that must be known before anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "Kubernetes' own kinds")]
pub enum Kind {
    Ingress,
    IngressClass,
    IngressClassParams,
    Service,
    EndpointSlice,
    Pod,
    Node,
    Namespace,
    TargetGroupBinding,
    LoadBalancer,
}

impl Kind {
    /// Those that are there before albacore ever was: Kubernetes' own, and ALBC's.
    pub const OF_USERS: [Self; 9] = [
        Self::Ingress,
        Self::IngressClass,
        Self::IngressClassParams,
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
        Self::Node,
        Self::Namespace,
        Self::TargetGroupBinding,
    ];

    /// All of them.
    pub fn all() -> BTreeSet<Self> {
        Self::OF_USERS.into_iter().chain([Self::LoadBalancer]).collect()
    }
}

/// Starts all watches; they run until the receiver is dropped. `namespace` limits namespaced kinds.
pub fn start(client: &Client, namespace: Option<&str>, tasks: &mut JoinSet<()>) -> mpsc::Receiver<Seen> {
    let (sender, receiver) = mpsc::channel(256);
    watch_users(client, namespace, &sender, tasks);
    let from = Source {
        kind: Kind::LoadBalancer,
        sender,
    };
    tasks.spawn(from.run(
        Api::<custom::LoadBalancer>::all(client.clone()),
        |object| Some(Seen::LoadBalancer(Box::new(object))),
        |(_, name), _| Seen::LoadBalancerGone(name),
    ));
    receiver
}

/// Starts the watches of what is not albacore's own, which is all there is in a cluster that never had it
/// ([`Kind::OF_USERS`]).
pub fn start_without_own(client: &Client, namespace: Option<&str>, tasks: &mut JoinSet<()>) -> mpsc::Receiver<Seen> {
    let (sender, receiver) = mpsc::channel(256);
    watch_users(client, namespace, &sender, tasks);
    receiver
}

fn watch_users(client: &Client, namespace: Option<&str>, sender: &mpsc::Sender<Seen>, tasks: &mut JoinSet<()>) {
    macro_rules! namespaced {
        ($type:ty) => {
            match namespace {
                Some(namespace) => Api::<$type>::namespaced(client.clone(), namespace),
                None => Api::<$type>::all(client.clone()),
            }
        };
    }
    let key =
        |namespace: Option<String>, name: String| crate::model::ObjectKey::new(namespace.unwrap_or_default(), name);
    let one = |change: Change| Seen::Changes(vec![change]);

    let from = Source {
        kind: Kind::Ingress,
        sender: sender.clone(),
    };
    tasks.spawn(from.run(
        namespaced!(slim::SlimIngress),
        move |object| Some(one(Change::Ingress(object.into()))),
        move |(namespace, name), seen| {
            one(if seen {
                Change::IngressDeleted(key(namespace, name))
            } else {
                Change::IngressGone(key(namespace, name))
            })
        },
    ));
    let from = Source {
        kind: Kind::IngressClass,
        sender: sender.clone(),
    };
    tasks.spawn(from.run(
        Api::<slim::SlimIngressClass>::all(client.clone()),
        move |object| Some(one(Change::Class(object.into()))),
        move |(_, name), _| one(Change::ClassGone(name)),
    ));
    let from = Source {
        kind: Kind::IngressClassParams,
        sender: sender.clone(),
    };
    tasks.spawn(from.run(
        Api::<custom::IngressClassParams>::all(client.clone()),
        move |object| Some(one(Change::Params(object.into()))),
        move |(_, name), _| one(Change::ParamsGone(name)),
    ));
    let from = Source {
        kind: Kind::Service,
        sender: sender.clone(),
    };
    tasks.spawn(from.run(
        namespaced!(slim::SlimService),
        move |object| Some(one(Change::Service(object.into()))),
        move |(namespace, name), _| one(Change::ServiceGone(key(namespace, name))),
    ));
    let from = Source {
        kind: Kind::EndpointSlice,
        sender: sender.clone(),
    };
    tasks.spawn(from.run(
        namespaced!(slim::SlimEndpointSlice),
        move |object| Some(one(Change::Slice(object.into()))),
        move |(namespace, name), _| one(Change::SliceGone(key(namespace, name))),
    ));
    let from = Source {
        kind: Kind::Pod,
        sender: sender.clone(),
    };
    tasks.spawn(from.run(
        namespaced!(slim::SlimPod),
        move |object: slim::SlimPod| {
            let gone = key(object.namespace(), object.name_any());
            Some(one(convert::pod(object).map_or(Change::PodGone(gone), Change::Pod)))
        },
        move |(namespace, name), _| one(Change::PodGone(key(namespace, name))),
    ));
    let from = Source {
        kind: Kind::Node,
        sender: sender.clone(),
    };
    tasks.spawn(from.run(
        Api::<slim::SlimNode>::all(client.clone()),
        move |object| Some(one(Change::Node(object.into()))),
        move |(_, name), _| one(Change::NodeGone(name)),
    ));
    let from = Source {
        kind: Kind::Namespace,
        sender: sender.clone(),
    };
    tasks.spawn(from.run(
        Api::<slim::SlimNamespace>::all(client.clone()),
        move |object| Some(one(Change::Namespace(object.into()))),
        move |(_, name), _| one(Change::NamespaceGone(name)),
    ));
    let from = Source {
        kind: Kind::TargetGroupBinding,
        sender: sender.clone(),
    };
    tasks.spawn(from.run(
        namespaced!(custom::TargetGroupBinding),
        move |object| Some(one(Change::Binding(object.into()))),
        move |(namespace, name), _| one(Change::BindingGone(key(namespace, name))),
    ));
}

type Name = (Option<String>, String);

struct Source {
    kind: Kind,
    sender: mpsc::Sender<Seen>,
}

impl Source {
    /// Tells everything a watch sees. `gone` is told whether the deletion itself was seen.
    async fn run<K>(
        self,
        api: Api<K>,
        applied: impl Fn(K) -> Option<Seen> + Send,
        gone: impl Fn(Name, bool) -> Seen + Send,
    ) where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = watcher(api, config).default_backoff().boxed();
        let mut known: BTreeSet<Name> = BTreeSet::new();
        let mut listed: BTreeSet<Name> = BTreeSet::new();
        loop {
            let event = match events.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(kind = ?self.kind, %error, "watch interrupted, trying again");
                    continue;
                }
            };
            let name = |object: &K| (object.namespace(), object.name_any());
            let told: Vec<Seen> = match event {
                watcher::Event::Init => {
                    listed.clear();
                    Vec::new()
                }
                watcher::Event::InitApply(object) => {
                    listed.insert(name(&object));
                    applied(object).into_iter().collect()
                }
                watcher::Event::InitDone => {
                    let vanished: Vec<Name> = known.difference(&listed).cloned().collect();
                    known = std::mem::take(&mut listed);
                    let synced = std::iter::once(Seen::Synced(self.kind));
                    vanished
                        .into_iter()
                        .map(|name| gone(name, false))
                        .chain(synced)
                        .collect()
                }
                watcher::Event::Apply(object) => {
                    known.insert(name(&object));
                    applied(object).into_iter().collect()
                }
                watcher::Event::Delete(object) => {
                    known.remove(&name(&object));
                    vec![gone(name(&object), true)]
                }
            };
            for seen in told {
                if self.sender.send(seen).await.is_err() {
                    return;
                }
            }
        }
    }
}

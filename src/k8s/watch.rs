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
use tokio::{
    sync::{mpsc, watch as flag},
    task::JoinSet,
};

/// Objects of one page of a list: a page is held in memory whole.
const PAGE: u32 = 50;

/// What is told.
#[derive(Debug)]
pub enum Seen {
    /// Facts changed.
    Changes(Vec<Change>),
    /// A list lacks objects that were there before, and nobody saw them go.
    Vanished {
        /// What they were.
        kind: Kind,
        /// That they are gone.
        changes: Vec<Change>,
        /// How many objects of the kind were there.
        of: usize,
    },
    /// All objects of a kind have been told, as they were when they were listed for the so many-th time.
    Synced(Kind, u64),
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

/// What the watches tell, and the way to have everything told anew.
pub struct Watches {
    seen: mpsc::Receiver<Seen>,
    listings: flag::Sender<u64>,
}

impl Watches {
    /// The next thing that was seen; `None` when the watches ended.
    pub async fn next(&mut self) -> Option<Seen> {
        self.seen.recv().await
    }

    /// Has every kind listed again: what a watch told may be old, since one that is interrupted says nothing. Gives the
    /// number of that listing ([`Seen::Synced`]); the first one is 0.
    pub fn list_again(&mut self) -> u64 {
        self.listings.send_modify(|listing| *listing += 1);
        *self.listings.borrow()
    }
}

/// Starts all watches; they run until what is returned is dropped. `namespace` limits namespaced kinds.
pub fn start(client: &Client, namespace: Option<&str>, tasks: &mut JoinSet<()>) -> Watches {
    let (told, watches) = open();
    watch_users(client, namespace, &told, tasks);
    let from = told.of(Kind::LoadBalancer);
    tasks.spawn(from.run(
        Api::<custom::LoadBalancer>::all(client.clone()),
        |object| Some(Seen::LoadBalancer(Box::new(object))),
        |(_, name), _| Seen::LoadBalancerGone(name),
    ));
    watches
}

/// Starts the watches of what is not albacore's own, which is all there is in a cluster that never had it
/// ([`Kind::OF_USERS`]).
pub fn start_without_own(client: &Client, namespace: Option<&str>, tasks: &mut JoinSet<()>) -> Watches {
    let (told, watches) = open();
    watch_users(client, namespace, &told, tasks);
    watches
}

fn watch_users(client: &Client, namespace: Option<&str>, told: &Told, tasks: &mut JoinSet<()>) {
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

    let from = told.of(Kind::Ingress);
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
    let from = told.of(Kind::IngressClass);
    tasks.spawn(from.run(
        Api::<slim::SlimIngressClass>::all(client.clone()),
        move |object| Some(one(Change::Class(object.into()))),
        move |(_, name), _| one(Change::ClassGone(name)),
    ));
    let from = told.of(Kind::IngressClassParams);
    tasks.spawn(from.run(
        Api::<custom::IngressClassParams>::all(client.clone()),
        move |object| Some(one(Change::Params(object.into()))),
        move |(_, name), _| one(Change::ParamsGone(name)),
    ));
    let from = told.of(Kind::Service);
    tasks.spawn(from.run(
        namespaced!(slim::SlimService),
        move |object| Some(one(Change::Service(object.into()))),
        move |(namespace, name), _| one(Change::ServiceGone(key(namespace, name))),
    ));
    let from = told.of(Kind::EndpointSlice);
    tasks.spawn(from.run(
        namespaced!(slim::SlimEndpointSlice),
        move |object| Some(one(Change::Slice(object.into()))),
        move |(namespace, name), _| one(Change::SliceGone(key(namespace, name))),
    ));
    let from = told.of(Kind::Pod);
    tasks.spawn(from.run(
        namespaced!(slim::SlimPod),
        move |object: slim::SlimPod| {
            let gone = key(object.namespace(), object.name_any());
            Some(one(convert::pod(object).map_or(Change::PodGone(gone), Change::Pod)))
        },
        move |(namespace, name), _| one(Change::PodGone(key(namespace, name))),
    ));
    let from = told.of(Kind::Node);
    tasks.spawn(from.run(
        Api::<slim::SlimNode>::all(client.clone()),
        move |object| Some(one(Change::Node(object.into()))),
        move |(_, name), _| one(Change::NodeGone(name)),
    ));
    let from = told.of(Kind::Namespace);
    tasks.spawn(from.run(
        Api::<slim::SlimNamespace>::all(client.clone()),
        move |object| Some(one(Change::Namespace(object.into()))),
        move |(_, name), _| one(Change::NamespaceGone(name)),
    ));
    let from = told.of(Kind::TargetGroupBinding);
    tasks.spawn(from.run(
        namespaced!(custom::TargetGroupBinding),
        move |object| Some(one(Change::Binding(object.into()))),
        move |(namespace, name), _| one(Change::BindingGone(key(namespace, name))),
    ));
}

type Name = (Option<String>, String);

/// Where all watches tell what they see.
struct Told {
    sender: mpsc::Sender<Seen>,
    listings: flag::Receiver<u64>,
}

fn open() -> (Told, Watches) {
    let (sender, seen) = mpsc::channel(256);
    let listings = flag::Sender::new(0);
    let told = Told {
        sender,
        listings: listings.subscribe(),
    };
    (told, Watches { seen, listings })
}

impl Told {
    fn of(&self, kind: Kind) -> Source {
        Source {
            kind,
            sender: self.sender.clone(),
            listings: self.listings.clone(),
        }
    }
}

struct Source {
    kind: Kind,
    sender: mpsc::Sender<Seen>,
    listings: flag::Receiver<u64>,
}

impl Source {
    /// Tells everything a watch sees. `gone` is told whether the deletion itself was seen.
    async fn run<K>(
        mut self,
        api: Api<K>,
        applied: impl Fn(K) -> Option<Seen> + Send,
        gone: impl Fn(Name, bool) -> Seen + Send,
    ) where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let watch = || {
            let config = watcher::Config::default().page_size(PAGE);
            watcher(api.clone(), config).default_backoff().boxed()
        };
        let mut events = watch();
        let mut listing = *self.listings.borrow_and_update();
        let mut known: BTreeSet<Name> = BTreeSet::new();
        let mut listed: BTreeSet<Name> = BTreeSet::new();
        loop {
            let event = tokio::select! {
                biased;
                Ok(()) = self.listings.changed() => {
                    listing = *self.listings.borrow_and_update();
                    events = watch();
                    continue;
                }
                event = events.try_next() => event,
            };
            let event = match event {
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
                    let vanished = known.difference(&listed).cloned().map(|name| gone(name, false));
                    let mut told = self.together(vanished, known.len());
                    known = std::mem::take(&mut listed);
                    told.push(Seen::Synced(self.kind, listing));
                    told
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

    /// What vanished, told as one.
    fn together(&self, vanished: impl Iterator<Item = Seen>, of: usize) -> Vec<Seen> {
        let (mut told, mut changes) = (Vec::new(), Vec::new());
        for seen in vanished {
            match seen {
                Seen::Changes(gone) => changes.extend(gone),
                own => told.push(own),
            }
        }
        if !changes.is_empty() {
            let kind = self.kind;
            told.push(Seen::Vanished { kind, changes, of });
        }
        told
    }
}

//! All facts of the cluster, and whom a change concerns.

use super::*;
use crate::model::{GroupKey, ObjectKey, Settings, TargetType, Unit};
use std::collections::{BTreeMap, BTreeSet};

/// All facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    settings: Settings,
    pub(super) ingresses: BTreeMap<ObjectKey, Ingress>,
    pub(super) classes: BTreeMap<String, IngressClass>,
    pub(super) params: BTreeMap<String, IngressClassParams>,
    pub(super) services: BTreeMap<ObjectKey, Service>,
    pub(super) slices: BTreeMap<ObjectKey, EndpointSlice>,
    pub(super) pods: BTreeMap<ObjectKey, Pod>,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) namespaces: BTreeMap<String, Namespace>,
    pub(super) bindings: BTreeMap<ObjectKey, TargetGroupBinding>,
    /// Members by group: who belongs to it, or still has to be taken out of it.
    groups: BTreeMap<GroupKey, BTreeSet<ObjectKey>>,
    /// Groups of which a member was seen to be deleted although it carried the group's finalizer.
    ended: BTreeSet<GroupKey>,
    /// Members that were seen to be deleted, or to name another group or class, by the groups they stood in then.
    pub(super) left: BTreeMap<GroupKey, BTreeSet<ObjectKey>>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An Ingress as it is now.
    Ingress(Ingress),
    /// An Ingress was seen to be deleted.
    IngressDeleted(ObjectKey),
    /// An Ingress is not there any more; nobody saw why.
    IngressGone(ObjectKey),
    /// A class as it is now.
    Class(IngressClass),
    /// A class is gone.
    ClassGone(String),
    /// Parameters as they are now.
    Params(IngressClassParams),
    /// Parameters are gone.
    ParamsGone(String),
    /// A Service as it is now.
    Service(Service),
    /// A Service is gone.
    ServiceGone(ObjectKey),
    /// An EndpointSlice as it is now.
    Slice(EndpointSlice),
    /// An EndpointSlice is gone.
    SliceGone(ObjectKey),
    /// A Pod as it is now.
    Pod(Pod),
    /// A Pod is gone, or has no address any more.
    PodGone(ObjectKey),
    /// A Node as it is now.
    Node(Node),
    /// A Node is gone.
    NodeGone(String),
    /// A Namespace as it is now.
    Namespace(Namespace),
    /// A Namespace is gone.
    NamespaceGone(String),
    /// A TargetGroupBinding as it is now.
    Binding(TargetGroupBinding),
    /// A TargetGroupBinding is gone.
    BindingGone(ObjectKey),
}

/// Puts a fact in place, or takes it away; `None` when nothing changed, else the fact before.
fn swap<K: Ord, F: PartialEq>(map: &mut BTreeMap<K, F>, key: K, fact: Option<F>) -> Option<Option<F>> {
    if map.get(&key) == fact.as_ref() {
        return None;
    }
    Some(match fact {
        Some(fact) => map.insert(key, fact),
        None => map.remove(&key),
    })
}

impl Cluster {
    /// An empty cluster.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ingresses: BTreeMap::new(),
            classes: BTreeMap::new(),
            params: BTreeMap::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            bindings: BTreeMap::new(),
            groups: BTreeMap::new(),
            ended: BTreeSet::new(),
            left: BTreeMap::new(),
        }
    }

    /// Takes a change in; returns the units whose outcome it may alter. A fact that is as it was alters nothing.
    pub fn apply(&mut self, change: Change) -> BTreeSet<Unit> {
        let mut touched = BTreeSet::new();
        match change {
            Change::Ingress(fact) => {
                let key = fact.key.clone();
                // One that is being deleted says so itself.
                let before = self.group_of(&key).filter(|_| !fact.deleting);
                self.set_ingress(key.clone(), Some(fact), &mut touched);
                if let Some(group) = before.filter(|group| self.group_of(&key).as_ref() != Some(group)) {
                    self.left.entry(group).or_default().insert(key);
                }
            }
            Change::IngressDeleted(key) => {
                let left = self.groups_with(&key);
                for group in &left {
                    self.left.entry(group.clone()).or_default().insert(key.clone());
                }
                self.set_ingress(key, None, &mut touched);
                // Evidence for its own end only: the others of the group have to be seen to go too.
                self.ended
                    .extend(left.into_iter().filter(|group| !self.groups.contains_key(group)));
            }
            Change::IngressGone(key) => self.set_ingress(key, None, &mut touched),
            Change::Class(fact) => self.set_class(fact.name.clone(), Some(fact), &mut touched),
            Change::ClassGone(name) => self.set_class(name, None, &mut touched),
            Change::Params(fact) => self.set_params(fact.name.clone(), Some(fact), &mut touched),
            Change::ParamsGone(name) => self.set_params(name, None, &mut touched),
            Change::Service(fact) => self.set_service(fact.key.clone(), Some(fact), &mut touched),
            Change::ServiceGone(key) => self.set_service(key, None, &mut touched),
            Change::Slice(fact) => self.set_slice(fact.key.clone(), Some(fact), &mut touched),
            Change::SliceGone(key) => self.set_slice(key, None, &mut touched),
            Change::Pod(fact) => self.set_pod(fact.key.clone(), Some(fact), &mut touched),
            Change::PodGone(key) => self.set_pod(key, None, &mut touched),
            Change::Node(fact) => self.set_node(fact.name.clone(), Some(fact), &mut touched),
            Change::NodeGone(name) => self.set_node(name, None, &mut touched),
            Change::Namespace(fact) => self.set_namespace(fact.name.clone(), Some(fact), &mut touched),
            Change::NamespaceGone(name) => self.set_namespace(name, None, &mut touched),
            Change::Binding(fact) => self.set_binding(fact.key.clone(), Some(fact), &mut touched),
            Change::BindingGone(key) => self.set_binding(key, None, &mut touched),
        }
        touched
    }

    fn set_ingress(&mut self, key: ObjectKey, fact: Option<Ingress>, touched: &mut BTreeSet<Unit>) {
        let before = self.groups_with(&key);
        if swap(&mut self.ingresses, key.clone(), fact).is_none() {
            return;
        }
        self.regroup(&key);
        touched.extend(before.into_iter().map(Unit::Group));
        touched.extend(self.groups_with(&key).into_iter().map(Unit::Group));
    }

    /// The group that an Ingress belongs to.
    fn group_of(&self, key: &ObjectKey) -> Option<GroupKey> {
        match self.membership(&self.settings, self.ingresses.get(key)?) {
            Membership::Member(group, _) => Some(group),
            _ => None,
        }
    }

    /// The groups in which this Ingress stands now.
    fn groups_with(&self, key: &ObjectKey) -> BTreeSet<GroupKey> {
        let stands = |(group, members): (&GroupKey, &BTreeSet<ObjectKey>)| members.contains(key).then(|| group.clone());
        match self.ingresses.get(key) {
            // Its own facts say it; the index is only walked for one whose facts changed under it.
            Some(ingress) => self.groups_of(&self.settings, ingress),
            None => self.groups.iter().filter_map(stands).collect(),
        }
    }

    fn regroup(&mut self, key: &ObjectKey) {
        self.groups.retain(|_, members| {
            members.remove(key);
            !members.is_empty()
        });
        if let Some(ingress) = self.ingresses.get(key) {
            for group in self.groups_of(&self.settings, ingress) {
                self.ended.remove(&group);
                self.groups.entry(group).or_default().insert(key.clone());
            }
        }
    }

    /// Something about classes or namespaces changed: whoever may belong elsewhere now is put there.
    fn regroup_where(&mut self, concerned: impl Fn(&Ingress) -> bool, touched: &mut BTreeSet<Unit>) {
        let keys: Vec<ObjectKey> = self
            .ingresses
            .values()
            .filter(|i| concerned(i))
            .map(|i| i.key.clone())
            .collect();
        for key in keys {
            let standing =
                |(group, members): (&GroupKey, &BTreeSet<ObjectKey>)| members.contains(&key).then(|| group.clone());
            let before: Vec<GroupKey> = self.groups.iter().filter_map(standing).collect();
            self.regroup(&key);
            touched.extend(before.into_iter().map(Unit::Group));
            touched.extend(self.groups_with(&key).into_iter().map(Unit::Group));
        }
    }

    fn set_class(&mut self, name: String, fact: Option<IngressClass>, touched: &mut BTreeSet<Unit>) {
        if swap(&mut self.classes, name.clone(), fact).is_some() {
            self.regroup_where(|i| i.class_name.as_ref().is_none_or(|class| *class == name), touched);
        }
    }

    fn set_params(&mut self, name: String, fact: Option<IngressClassParams>, touched: &mut BTreeSet<Unit>) {
        if swap(&mut self.params, name.clone(), fact).is_none() {
            return;
        }
        let refers = |class: &&IngressClass| class.parameters.as_ref().is_some_and(|(_, _, params)| *params == name);
        let classes: BTreeSet<String> = self.classes.values().filter(refers).map(|c| c.name.clone()).collect();
        self.regroup_where(
            |i| i.class_name.as_ref().is_none_or(|class| classes.contains(class)),
            touched,
        );
    }

    fn set_namespace(&mut self, name: String, fact: Option<Namespace>, touched: &mut BTreeSet<Unit>) {
        if swap(&mut self.namespaces, name.clone(), fact).is_some()
            && self
                .params
                .values()
                .any(|params| params.spec.namespace_selector.is_some())
        {
            self.regroup_where(|i| i.key.namespace == name, touched);
        }
    }

    fn set_service(&mut self, key: ObjectKey, fact: Option<Service>, touched: &mut BTreeSet<Unit>) {
        if swap(&mut self.services, key.clone(), fact).is_none() {
            return;
        }
        for ingress in in_namespace(&self.ingresses, &key.namespace) {
            if ingress.names_service(&key.name) {
                touched.extend(self.groups_of(&self.settings, ingress).into_iter().map(Unit::Group));
            }
        }
        for binding in in_namespace(&self.bindings, &key.namespace) {
            if binding.service == key.name {
                touched.insert(Unit::Binding(binding.key.clone()));
                touched.insert(Unit::Network);
            }
        }
    }

    fn set_slice(&mut self, key: ObjectKey, fact: Option<EndpointSlice>, touched: &mut BTreeSet<Unit>) {
        let service = fact.as_ref().map(|slice| slice.service.clone());
        if let Some(before) = swap(&mut self.slices, key.clone(), fact) {
            for name in before.map(|slice| slice.service).into_iter().chain(service) {
                self.touch_ip_bindings(&key.namespace, &name, touched);
            }
        }
    }

    fn touch_ip_bindings(&self, namespace: &str, service: &str, touched: &mut BTreeSet<Unit>) {
        for binding in in_namespace(&self.bindings, namespace) {
            if binding.service == service && binding.target_type == Some(TargetType::Ip) {
                touched.insert(Unit::Binding(binding.key.clone()));
                touched.insert(Unit::Network);
            }
        }
    }

    fn set_pod(&mut self, key: ObjectKey, fact: Option<Pod>, touched: &mut BTreeSet<Unit>) {
        let is_gone = fact.is_none();
        touched.extend(fact.iter().flat_map(|pod| self.orphaned_gates(pod)));
        if swap(&mut self.pods, key.clone(), fact).is_none() {
            return;
        }
        if is_gone {
            // Where a Service is missing no slice tells whose pod it was, and its address may still be registered.
            let orphaned = |binding: &&TargetGroupBinding| {
                binding.target_type == Some(TargetType::Ip)
                    && self
                        .service(&ObjectKey::new(&key.namespace, &binding.service))
                        .is_none()
            };
            let orphans = in_namespace(&self.bindings, &key.namespace).filter(orphaned);
            touched.extend(orphans.map(|binding| Unit::Binding(binding.key.clone())));
        }
        let mut services = BTreeSet::new();
        for slice in in_namespace(&self.slices, &key.namespace) {
            if slice
                .endpoints
                .iter()
                .any(|endpoint| endpoint.pod.as_deref() == Some(key.name.as_str()))
            {
                services.insert(slice.service.clone());
            }
        }
        for service in services {
            self.touch_ip_bindings(&key.namespace, &service, touched);
        }
    }

    /// Bindings that a Pod waits for and that are not there any more.
    fn orphaned_gates<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = Unit> + 'a {
        let gates = pod.gates.iter().flat_map(|gates| &gates.conditions);
        let waits = gates.filter(|(_, condition)| *condition != Some(true));
        let bindings = waits.map(|(name, _)| ObjectKey::new(&pod.key.namespace, name));
        bindings
            .filter(|key| !self.bindings.contains_key(key))
            .map(Unit::Binding)
    }

    fn set_node(&mut self, name: String, fact: Option<Node>, touched: &mut BTreeSet<Unit>) {
        if swap(&mut self.nodes, name, fact).is_none() {
            return;
        }
        for binding in self.bindings.values() {
            touched.insert(Unit::Binding(binding.key.clone()));
        }
        touched.insert(Unit::Network);
    }

    fn set_binding(&mut self, key: ObjectKey, fact: Option<TargetGroupBinding>, touched: &mut BTreeSet<Unit>) {
        let now = fact.as_ref().and_then(|binding| binding.group.clone());
        if let Some(before) = swap(&mut self.bindings, key.clone(), fact) {
            touched.insert(Unit::Binding(key));
            touched.insert(Unit::Network);
            touched.extend(
                before
                    .and_then(|binding| binding.group)
                    .into_iter()
                    .chain(now)
                    .map(Unit::Group),
            );
        }
    }

    /// Every unit there is something to say about; what a new leader starts with.
    pub fn units(&self) -> BTreeSet<Unit> {
        let groups = self.groups.keys().cloned().map(Unit::Group);
        let bindings = self.bindings.keys().cloned().map(Unit::Binding);
        let orphaned = self.pods.values().flat_map(|pod| self.orphaned_gates(pod));
        groups.chain(bindings).chain(orphaned).chain([Unit::Network]).collect()
    }

    /// The bindings of a group's target groups, by name.
    pub fn bindings_of(&self, group: &GroupKey) -> impl Iterator<Item = &TargetGroupBinding> {
        self.bindings
            .values()
            .filter(move |binding| binding.group.as_ref() == Some(group))
    }

    /// A group, and the bindings of its target groups.
    pub fn units_of(&self, group: &GroupKey) -> impl Iterator<Item = Unit> {
        let bindings = self
            .bindings_of(group)
            .map(|binding| Unit::Binding(binding.key.clone()));
        std::iter::once(Unit::Group(group.clone())).chain(bindings)
    }

    /// The groups that have members, or had and are still held by them.
    pub fn groups(&self) -> impl Iterator<Item = &GroupKey> {
        self.groups.keys()
    }

    /// The Ingresses that belong to a group or still have to be taken out of it, by name.
    pub fn standing_in(&self, group: &GroupKey) -> impl Iterator<Item = &Ingress> {
        self.groups
            .get(group)
            .into_iter()
            .flatten()
            .filter_map(|key| self.ingresses.get(key))
    }

    /// Whether the last member of the group was seen to be deleted, which is evidence that the group is to go.
    pub fn was_seen_to_end(&self, group: &GroupKey) -> bool {
        self.ended.contains(group)
    }

    /// The group is gone.
    pub fn forget_end(&mut self, group: &GroupKey) {
        self.ended.remove(group);
        self.left.remove(group);
    }

    /// Whether this process saw a member of the group being deleted, or taken out of it by whoever owns it.
    pub fn was_seen_to_leave(&self, group: &GroupKey, member: &ObjectKey) -> bool {
        self.left.get(group).is_some_and(|left| left.contains(member))
    }

    /// Forgets which members left the group, but for those of which something is still `remembered`, and that are not back.
    pub fn forget_left(&mut self, group: &GroupKey, remembered: impl Fn(&ObjectKey) -> bool) {
        let mut left = self.left.remove(group).unwrap_or_default();
        left.retain(|member| remembered(member) && self.group_of(member).as_ref() != Some(group));
        if !left.is_empty() {
            self.left.insert(group.clone(), left);
        }
    }

    /// An Ingress.
    pub fn ingress(&self, key: &ObjectKey) -> Option<&Ingress> {
        self.ingresses.get(key)
    }

    /// A Service that is not being deleted.
    pub fn service(&self, key: &ObjectKey) -> Option<&Service> {
        self.services.get(key).filter(|service| !service.deleting)
    }

    /// A Pod.
    pub fn pod(&self, key: &ObjectKey) -> Option<&Pod> {
        self.pods.get(key)
    }

    /// All Pods, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// The Pods of a namespace, by name.
    pub fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        in_namespace(&self.pods, namespace)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// A node.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// A binding.
    pub fn binding(&self, key: &ObjectKey) -> Option<&TargetGroupBinding> {
        self.bindings.get(key)
    }

    /// All bindings, by name.
    pub fn bindings(&self) -> impl Iterator<Item = &TargetGroupBinding> {
        self.bindings.values()
    }

    /// The bindings that have pods with these labels as their targets: those of type ip that are tended and whose Service selects
    /// them. Nobody would open a gate for another; one that is being deleted will have no targets any more.
    pub fn bindings_of_pods<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a TargetGroupBinding> {
        let selects = move |binding: &&TargetGroupBinding| {
            self.service(&ObjectKey::new(namespace, &binding.service))
                .is_some_and(|service| service.selects(labels))
        };
        in_namespace(&self.bindings, namespace)
            .filter(|binding| binding.target_type == Some(TargetType::Ip) && !binding.deleting)
            .filter(|binding| binding.is_tended())
            .filter(selects)
    }

    /// The EndpointSlices of a Service.
    pub fn slices_of<'a>(&'a self, service: &'a ObjectKey) -> impl Iterator<Item = &'a EndpointSlice> {
        in_namespace(&self.slices, &service.namespace).filter(|slice| slice.service == service.name)
    }
}

fn in_namespace<'a, F>(map: &'a BTreeMap<ObjectKey, F>, namespace: &str) -> impl Iterator<Item = &'a F> {
    let namespace = namespace.to_owned();
    let first = ObjectKey::new(namespace.clone(), "");
    map.range(first..)
        .take_while(move |(key, _)| key.namespace == namespace)
        .map(|(_, fact)| fact)
}

impl Ingress {
    /// Whether a backend names this Service.
    fn names_service(&self, service: &str) -> bool {
        let of_rules = self.rules.iter().flat_map(|rule| &rule.paths).map(|path| &path.backend);
        of_rules
            .chain(&self.default_backend)
            .any(|backend| matches!(backend, Backend::Service { name, .. } if name == service))
    }
}

//! An API server that forgets, or tells a part of what it has, does not take what users have with it.

use albacore_aws::Options;
use albacore_simulation::{
    bed::Bed,
    objects::{self, Ingress},
    picture,
    scale::wide_subnets,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

const MEMBERS: usize = 8;

fn member(number: usize) -> Ingress {
    let path = format!("/{number}");
    Ingress::new("shop", &format!("m{number}"))
        .annotated("group.name", "shop")
        .annotated("group.order", &number.to_string())
        .host("shop.example.com", &[(&path, "a")])
}

/// A group of many members, and one whose targets are pods.
async fn bed() -> Bed {
    let mut bed = Bed::new(Options::default()).await;
    wide_subnets(&bed).await.expect("subnets");
    bed.start();
    pods(&bed, 0..12);
    for number in 0..MEMBERS {
        bed.apply(member(number).object());
    }
    bed.apply(
        Ingress::new("shop", "pods")
            .annotated("target-type", "ip")
            .host("", &[("/", "b")])
            .object(),
    );
    bed.settle().await;
    assert_eq!(bed.holds(), (2, 2, MEMBERS + 1, MEMBERS + 1));
    bed.take_calls();
    bed
}

fn pods(bed: &Bed, numbers: std::ops::Range<usize>) {
    let pods: Vec<Value> = numbers
        .map(|number| objects::pod(&bed.world, "shop", "b", number))
        .collect();
    let slice = objects::endpoint_slice("shop", "b", &pods);
    pods.into_iter().for_each(|pod| bed.apply(pod));
    bed.apply(slice);
}

fn pod_name(bed: &Bed, number: usize) -> String {
    let pod = objects::pod(&bed.world, "shop", "b", number);
    pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The LoadBalancer objects that say that deletions are held.
fn held(bed: &Bed) -> Vec<Value> {
    let mut objects = bed.list("albacore.dev/v1alpha1", "LoadBalancer");
    objects.retain(|object| object["status"]["conditions"][0]["reason"] == "Held");
    objects
}

/// Somebody confirms what is held.
fn confirm(bed: &Bed) {
    let mut object = held(bed).remove(0);
    object["metadata"]["annotations"] = json!({"albacore.dev/confirm-deletion": "true"});
    bed.apply(object);
}

fn told(bed: &Bed) -> usize {
    let events = bed.list("events.k8s.io/v1", "Event");
    events.iter().filter(|event| event["reason"] == "Held").count()
}

fn targets(bed: &Bed) -> usize {
    let world = bed.double.world();
    let groups = world
        .regions
        .values()
        .flat_map(|region| region.elbv2.target_groups.values());
    let of_pods = groups
        .filter(|group| group.target_type == "ip")
        .flat_map(|group| group.targets.values());
    of_pods.filter(|target| target.deregistered.is_none()).count()
}

#[tokio::test(start_paused = true)]
async fn many_members_that_vanish_unseen_keep_what_they_have_until_somebody_confirms() {
    let bed = bed().await;
    let before = picture::of(&bed);
    for number in 2..MEMBERS {
        bed.lose_ingress("shop", &format!("m{number}"));
    }
    bed.settle().await;
    assert_eq!(bed.take_calls().writes(), [""; 0], "nothing is deleted");
    assert_eq!(held(&bed).len(), 1);
    assert!(told(&bed) > 0);
    // Others go on, of their group too.
    bed.apply(Ingress::new("shop", "other").host("", &[("/other", "c")]).object());
    bed.apply(member(0).host("more.example.com", &[("/", "a")]).object());
    bed.settle().await;
    assert_eq!(bed.holds(), (3, 3, MEMBERS + 3, MEMBERS + 2));
    bed.apply(member(0).object());
    sleep(Duration::from_secs(300)).await;
    bed.delete_ingress("shop", "other");
    bed.settle().await;
    assert_eq!(bed.holds(), (2, 2, MEMBERS + 1, MEMBERS + 1));
    // They come back: nothing was to be deleted.
    (2..MEMBERS).for_each(|number| bed.apply(member(number).object()));
    bed.settle().await;
    assert_eq!(held(&bed), [0; 0]);
    assert_eq!(picture::difference(&before, &picture::of(&bed)), [""; 0]);
    // They are really gone.
    (2..MEMBERS).for_each(|number| bed.lose_ingress("shop", &format!("m{number}")));
    bed.settle().await;
    confirm(&bed);
    bed.settle().await;
    assert_eq!(bed.holds(), (2, 2, 3, 3));
    assert_eq!(held(&bed), [0; 0]);
    // Once: what vanishes later is another matter.
    (2..MEMBERS).for_each(|number| bed.apply(member(number).object()));
    bed.settle().await;
    (2..MEMBERS).for_each(|number| bed.lose_ingress("shop", &format!("m{number}")));
    bed.settle().await;
    assert_eq!((held(&bed).len(), bed.holds().2), (1, MEMBERS + 1));
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_says_nothing_of_what_vanishes_later() {
    let mut bed = bed().await;
    (2..MEMBERS).for_each(|number| bed.lose_ingress("shop", &format!("m{number}")));
    bed.settle().await;
    confirm(&bed);
    bed.settle().await;
    assert_eq!(bed.holds(), (2, 2, 3, 3));
    bed.stop().await;
    (0..2).for_each(|number| bed.lose_ingress("shop", &format!("m{number}")));
    bed.start();
    bed.settle().await;
    assert_eq!(bed.holds(), (2, 2, 3, 3), "the annotation is old");
}

#[tokio::test(start_paused = true)]
async fn members_that_vanish_with_the_groups_object_keep_what_they_have() {
    let bed = bed().await;
    let before = picture::of(&bed);
    bed.lose(
        "albacore.dev/v1alpha1",
        "LoadBalancer",
        "",
        ["k8s-shop-42b54e90b8".to_owned()],
    );
    (2..MEMBERS).for_each(|number| bed.lose_ingress("shop", &format!("m{number}")));
    bed.settle().await;
    assert_eq!(bed.take_calls().writes(), [""; 0]);
    (2..MEMBERS).for_each(|number| bed.apply(member(number).object()));
    bed.settle().await;
    assert_eq!(picture::difference(&before, &picture::of(&bed)), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn whoever_moves_elsewhere_while_others_are_held_is_let_go() {
    let bed = bed().await;
    (2..MEMBERS).for_each(|number| bed.lose_ingress("shop", &format!("m{number}")));
    bed.settle().await;
    bed.apply(member(1).annotated("group.name", "elsewhere").object());
    bed.settle().await;
    assert_eq!(bed.holds(), (3, 3, MEMBERS + 1, MEMBERS + 1));
    assert_eq!(held(&bed).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_few_are_deleted_and_a_restart_notices_what_vanished_meanwhile() {
    let mut bed = bed().await;
    bed.lose_ingress("shop", "m7");
    bed.settle().await;
    assert_eq!(bed.holds(), (2, 2, MEMBERS, MEMBERS));
    bed.stop().await;
    (1..7).for_each(|number| bed.lose_ingress("shop", &format!("m{number}")));
    bed.take_calls();
    bed.start();
    bed.settle().await;
    assert_eq!(bed.take_calls().writes(), [""; 0]);
    assert_eq!(held(&bed).len(), 1);
    // The last one is really deleted: that says nothing of the others.
    bed.delete_ingress("shop", "m0");
    bed.settle().await;
    assert_eq!(bed.holds(), (2, 2, 7, 7));
    confirm(&bed);
    bed.settle().await;
    assert_eq!(bed.holds(), (1, 1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_default_class_that_vanishes_takes_nothing_with_it_but_one_that_is_deleted_does() {
    let mut bed = bed().await;
    let mut class = objects::class();
    class["metadata"]["annotations"] = json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    bed.apply(class.clone());
    for number in 0..MEMBERS {
        let mut classless = member(number).object();
        classless["spec"]["ingressClassName"] = Value::Null;
        bed.apply(classless);
    }
    bed.settle().await;
    assert_eq!(bed.take_calls().writes(), [""; 0]);
    bed.lose("networking.k8s.io/v1", "IngressClass", "", ["alb".to_owned()]);
    bed.settle().await;
    assert_eq!(bed.take_calls().writes(), [""; 0]);
    assert_eq!(held(&bed).len(), 1);
    bed.stop().await;
    bed.start();
    bed.settle().await;
    assert_eq!(bed.take_calls().writes(), [""; 0], "a restart is no evidence");
    bed.apply(class);
    bed.settle().await;
    assert_eq!(held(&bed), [0; 0]);
    bed.delete("networking.k8s.io/v1", "IngressClass", "", "alb");
    bed.settle().await;
    assert_eq!(bed.holds(), (1, 1, 1, 1), "the other one names its class");
}

#[tokio::test(start_paused = true)]
async fn pods_that_vanish_unseen_stay_targets_that_can_be_reached() {
    let mut bed = bed().await;
    assert_eq!(targets(&bed), 12);
    bed.lose("v1", "Pod", "shop", (0..12).map(|number| pod_name(&bed, number)));
    bed.lose("discovery.k8s.io/v1", "EndpointSlice", "shop", ["b-abcde".to_owned()]);
    sleep(Duration::from_secs(400)).await;
    assert_eq!((targets(&bed), held(&bed).len()), (12, 1));
    bed.stop().await;
    bed.start();
    sleep(Duration::from_secs(400)).await;
    assert_eq!(targets(&bed), 12, "a restart is no evidence");
    let closes = |write: &&str| write.starts_with("Revoke") || write.starts_with("Deregister");
    assert_eq!(bed.take_calls().writes().into_iter().find(closes), None);
    confirm(&bed);
    bed.settle().await;
    assert_eq!(targets(&bed), 0);
    assert_eq!(held(&bed), [0; 0]);
    // Pods that come are targets, and those that go are none, as ever.
    pods(&bed, 0..12);
    bed.settle().await;
    assert_eq!(targets(&bed), 12);
    scale_to_zero(&bed);
    bed.settle().await;
    assert_eq!((targets(&bed), held(&bed).len()), (0, 0));
}

fn scale_to_zero(bed: &Bed) {
    bed.apply(objects::endpoint_slice("shop", "b", &[]));
    (0..12).for_each(|number| bed.delete("v1", "Pod", "shop", &pod_name(bed, number)));
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_after_a_list_that_lacks_much_waits_a_while() {
    let bed = bed().await;
    for number in 0..9 {
        let mut others = Ingress::new("web", &format!("i{number}")).object();
        others["spec"]["ingressClassName"] = "nginx".into();
        bed.apply(others);
    }
    bed.settle().await;
    (0..9).for_each(|number| bed.lose_ingress("web", &format!("i{number}")));
    sleep(Duration::from_secs(1)).await;
    (2..MEMBERS).for_each(|number| bed.delete_ingress("shop", &format!("m{number}")));
    sleep(Duration::from_secs(200)).await;
    assert_eq!((bed.holds().2, held(&bed).len()), (MEMBERS + 1, 1));
    sleep(Duration::from_secs(200)).await;
    assert_eq!((bed.holds().2, held(&bed).len()), (3, 0), "nobody has to confirm that");
}

#[tokio::test(start_paused = true)]
async fn what_users_do_never_trips_it() {
    let bed = bed().await;
    scale_to_zero(&bed);
    bed.settle().await;
    assert_eq!(targets(&bed), 0);
    // Most of a group goes at once, and a preview environment with its Services.
    (2..MEMBERS).for_each(|number| bed.delete_ingress("shop", &format!("m{number}")));
    bed.delete_ingress("shop", "pods");
    bed.delete("v1", "Service", "shop", "b");
    bed.settle().await;
    assert_eq!(bed.holds(), (1, 1, 2, 2));
    assert_eq!((held(&bed).len(), told(&bed)), (0, 0));
}

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

fn held(bed: &Bed) -> Vec<Value> {
    let mut objects = bed.list("albacore.dev/v1alpha1", "LoadBalancer");
    objects.retain(|object| {
        object["status"]["problems"]
            .to_string()
            .contains("Nothing of it is deleted")
    });
    objects
}

fn told(bed: &Bed) -> usize {
    bed.list("events.k8s.io/v1", "Event")
        .iter()
        .filter(|event| event["reason"] == "Held")
        .count()
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
    // Others go on.
    bed.apply(Ingress::new("shop", "other").host("", &[("/other", "c")]).object());
    bed.settle().await;
    assert_eq!(bed.holds().0, 3);
    sleep(Duration::from_secs(300)).await;
    bed.delete_ingress("shop", "other");
    bed.settle().await;
    assert_eq!(bed.holds().0, 2);
    // They come back: nothing was to be deleted.
    (2..MEMBERS).for_each(|number| bed.apply(member(number).object()));
    bed.settle().await;
    assert_eq!(held(&bed), [0; 0]);
    assert_eq!(picture::difference(&before, &picture::of(&bed)), [""; 0]);
    // They are really gone.
    (2..MEMBERS).for_each(|number| bed.lose_ingress("shop", &format!("m{number}")));
    bed.settle().await;
    let mut object = held(&bed).remove(0);
    object["metadata"]["annotations"] = json!({"albacore.dev/confirm-deletion": "true"});
    bed.apply(object);
    bed.settle().await;
    assert_eq!(bed.holds(), (2, 2, 3, 3));
    assert_eq!(held(&bed), [0; 0]);
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
}

#[tokio::test(start_paused = true)]
async fn pods_that_vanish_unseen_stay_targets_until_somebody_confirms() {
    let bed = bed().await;
    assert_eq!(targets(&bed), 12);
    bed.lose(
        "v1",
        "Pod",
        "shop",
        (2..12).map(|number| {
            let pod = objects::pod(&bed.world, "shop", "b", number);
            pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()
        }),
    );
    bed.lose("discovery.k8s.io/v1", "EndpointSlice", "shop", ["b-abcde".to_owned()]);
    sleep(Duration::from_secs(400)).await;
    assert_eq!(targets(&bed), 12);
    let mut object = held(&bed).remove(0);
    object["metadata"]["annotations"] = json!({"albacore.dev/confirm-deletion": "true"});
    bed.apply(object);
    bed.settle().await;
    assert_eq!(targets(&bed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_users_do_never_trips_it() {
    let bed = bed().await;
    // A Deployment is scaled to zero.
    let none = objects::endpoint_slice("shop", "b", &[]);
    bed.apply(none);
    for number in 0..12 {
        let pod = objects::pod(&bed.world, "shop", "b", number);
        bed.delete(
            "v1",
            "Pod",
            "shop",
            pod["metadata"]["name"].as_str().unwrap_or_default(),
        );
    }
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

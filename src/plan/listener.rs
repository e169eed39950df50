//! Listeners and their certificates.

use super::{
    Mutation, ObservedListener, ObservedLoadBalancer, Ref,
    group::{Draft, from},
    rule,
    tags::Retag,
    target_group::{self, Fleet},
};
use crate::model::*;

/// Makes the listeners that are missing, brings the others in line, and removes those that nobody wants, last.
pub(super) fn build(
    draft: &mut Draft,
    load_balancer: &Ref<LoadBalancerArn>,
    chosen: Option<&ObservedLoadBalancer>,
    fleet: &Fleet,
) {
    let mut rules = Vec::new();
    for (port, wanted) in &draft.intent.listeners {
        let have = chosen.and_then(|lb| lb.listeners.get(port));
        let listener = match have {
            Some(have) => bring_in_line(draft, have, wanted, fleet),
            None => make(draft, load_balancer, wanted, fleet),
        };
        certificates(draft, &listener, have, wanted);
        let have = have.map_or(&[] as &[_], |have| &have.rules);
        rules.push(rule::Rules::new(listener, have, wanted, fleet));
    }
    let listeners = chosen.into_iter().flat_map(|lb| &lb.listeners);
    let surplus: Vec<&ObservedListener> = listeners
        .filter(|(port, _)| !draft.intent.listeners.contains_key(port))
        .map(|(_, listener)| listener)
        .collect();
    rule::build(draft, &rules, &surplus, fleet);
}

/// The listener as a call wants it: without rules.
fn bare(wanted: &Listener<TargetGroupKey>, fleet: &Fleet) -> Listener<Ref<TargetGroupArn>> {
    Listener {
        port: wanted.port,
        protocol: wanted.protocol,
        default_actions: fleet.actions(&wanted.default_actions),
        certificates: wanted.certificates.clone(),
        ssl_policy: wanted.ssl_policy.clone(),
        tags: wanted.tags.clone(),
        rules: Vec::new(),
    }
}

fn make(
    draft: &mut Draft,
    load_balancer: &Ref<LoadBalancerArn>,
    wanted: &Listener<TargetGroupKey>,
    fleet: &Fleet,
) -> Ref<ListenerArn> {
    let call = Mutation::CreateListener {
        load_balancer: load_balancer.clone(),
        listener: bare(wanted, fleet),
    };
    from(draft.order.build(None, call))
}

fn bring_in_line(
    draft: &mut Draft,
    have: &ObservedListener,
    wanted: &Listener<TargetGroupKey>,
    fleet: &Fleet,
) -> Ref<ListenerArn> {
    let now = &have.listener;
    let mut listener = bare(wanted, fleet);
    listener.default_actions = target_group::handover(draft, fleet, listener.default_actions, &now.default_actions);
    let known = |action: &Action<TargetGroupArn>| action.try_map(&mut |arn| Some(Ref::Known(arn.clone())));
    let actions: Option<Vec<_>> = now.default_actions.iter().map(known).collect();
    let same = now.protocol == listener.protocol
        && now.certificates.default == listener.certificates.default
        && now.ssl_policy == listener.ssl_policy
        && actions.as_ref() == Some(&listener.default_actions);
    if !same {
        draft.order.build(
            None,
            Mutation::ModifyListener {
                arn: have.arn.clone(),
                listener,
            },
        );
    }
    Retag::between(&now.tags, &wanted.tags, &draft.readiness.external_tags).plan(
        &mut draft.order,
        None,
        have.arn.as_str(),
    );
    Ref::Known(have.arn.clone())
}

/// Certificates chosen by name: one call each, added before others are removed.
fn certificates(
    draft: &mut Draft,
    listener: &Ref<ListenerArn>,
    have: Option<&ObservedListener>,
    wanted: &Listener<TargetGroupKey>,
) {
    // A listener that speaks plain HTTP, or did until now, has none.
    let tls = have.filter(|have| have.listener.protocol == ListenerProtocol::Https);
    let there: &[CertificateArn] = tls.map_or(&[], |have| have.listener.certificates.by_name.as_slice());
    for certificate in wanted.certificates.by_name.iter().filter(|arn| !there.contains(arn)) {
        let call = Mutation::AddListenerCertificate {
            listener: listener.clone(),
            certificate: certificate.clone(),
        };
        draft.order.build(None, call);
    }
    if wanted.protocol == ListenerProtocol::Https
        && let Some(have) = tls
    {
        for certificate in there.iter().filter(|arn| !wanted.certificates.by_name.contains(arn)) {
            let call = Mutation::RemoveListenerCertificate {
                listener: have.arn.clone(),
                certificate: certificate.clone(),
            };
            draft.order.remove(call);
        }
    }
}

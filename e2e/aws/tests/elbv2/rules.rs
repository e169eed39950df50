//! Rules, their forms and their priorities.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, AuthenticateOidcActionConfig, ForwardActionConfig, PathPatternConditionConfig,
    RedirectActionConfig, RedirectActionStatusCodeEnum, RuleCondition, RulePriorityPair, TargetGroupStickinessConfig,
    TargetGroupTuple,
};

use super::place::*;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_rule_reads_back_with_mirrors_and_defaults() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let (group, port) = (
        target_group(&client, "one").await,
        listener(&client, &balancer, 80).await,
    );
    let arn = rule(&client, &port, 10, &group).await;
    let rules = client.describe_rules().listener_arn(&port).send().await.unwrap();
    let [first, default] = rules.rules() else {
        panic!("{rules:?}")
    };
    assert_eq!(
        (first.rule_arn(), first.priority(), first.is_default()),
        (Some(arn.as_str()), Some("10"), Some(false))
    );
    assert_eq!(first.conditions()[0].values(), ["a.example.com"]);
    assert_eq!(
        first.conditions()[0].host_header_config().unwrap().values(),
        ["a.example.com"]
    );
    let action = &first.actions()[0];
    assert_eq!(action.target_group_arn(), Some(group.as_str()));
    let config = action.forward_config().unwrap();
    assert_eq!(
        (
            config.target_groups()[0].target_group_arn(),
            config.target_groups()[0].weight()
        ),
        (Some(group.as_str()), Some(1))
    );
    assert_eq!(config.target_group_stickiness_config().unwrap().enabled(), Some(false));
    assert_eq!(
        (default.priority(), default.is_default(), default.conditions().len()),
        (Some("default"), Some(true), 0)
    );

    let redirect = RedirectActionConfig::builder()
        .protocol("HTTPS")
        .port("443")
        .status_code(RedirectActionStatusCodeEnum::Http301);
    let redirect = Action::builder()
        .r#type(ActionTypeEnum::Redirect)
        .redirect_config(redirect.build())
        .build();
    let modified = client
        .modify_rule()
        .rule_arn(&arn)
        .actions(redirect)
        .send()
        .await
        .unwrap();
    let config = modified.rules()[0].actions()[0].redirect_config().unwrap().clone();
    assert_eq!(
        (config.host(), config.path(), config.query()),
        (Some("#{host}"), Some("/#{path}"), Some("#{query}"))
    );
    assert_eq!(
        modified.rules()[0].conditions()[0].values(),
        ["a.example.com"],
        "conditions were not given, so they stay"
    );
    assert_eq!(
        code(&client.delete_target_group().target_group_arn(&group).send().await),
        "ok",
        "no rule uses it any more"
    );
    client.delete_rule().rule_arn(&arn).send().await.unwrap();
    assert_eq!(code(&client.delete_rule().rule_arn(&arn).send().await), "RuleNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_weighted_forward_keeps_weights_and_stickiness() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let port = listener(&client, &balancer, 80).await;
    let mut config = ForwardActionConfig::builder();
    for (n, weight) in [("one", 90), ("two", 10)] {
        let group = target_group(&client, n).await;
        config = config.target_groups(
            TargetGroupTuple::builder()
                .target_group_arn(group)
                .weight(weight)
                .build(),
        );
    }
    let sticky = TargetGroupStickinessConfig::builder().enabled(true);
    let action = |sticky: TargetGroupStickinessConfig| {
        let config = config.clone().target_group_stickiness_config(sticky).build();
        Action::builder()
            .r#type(ActionTypeEnum::Forward)
            .forward_config(config)
            .build()
    };
    let create = |action| {
        client
            .create_rule()
            .listener_arn(&port)
            .priority(1)
            .conditions(host("a.example.com"))
            .actions(action)
            .send()
    };
    assert_eq!(
        code(&create(action(sticky.clone().build())).await),
        "ValidationError",
        "a duration is needed"
    );
    let created = create(action(sticky.duration_seconds(60).build())).await.unwrap();
    let read = &created.rules()[0].actions()[0];
    assert_eq!(read.target_group_arn(), None);
    let weights: Vec<_> = read
        .forward_config()
        .unwrap()
        .target_groups()
        .iter()
        .filter_map(|group| group.weight())
        .collect();
    assert_eq!(weights, [90, 10]);
}

fn pair(rule: &str, priority: i32) -> RulePriorityPair {
    RulePriorityPair::builder().rule_arn(rule).priority(priority).build()
}

#[tokio::test(start_paused = true)]
async fn priorities_are_swapped_in_one_call() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let (group, port) = (
        target_group(&client, "one").await,
        listener(&client, &balancer, 80).await,
    );
    let (one, two) = (
        rule(&client, &port, 1, &group).await,
        rule(&client, &port, 2, &group).await,
    );
    let three = rule(&client, &port, 3, &group).await;
    let set = |pairs: Vec<RulePriorityPair>| client.set_rule_priorities().set_rule_priorities(Some(pairs)).send();
    set(vec![pair(&one, 2), pair(&two, 1)]).await.unwrap();
    let order = || async {
        let rules = client.describe_rules().listener_arn(&port).send().await.unwrap();
        rules
            .rules()
            .iter()
            .filter_map(|rule| rule.rule_arn().map(str::to_owned))
            .take(3)
            .collect::<Vec<_>>()
    };
    assert_eq!(order().await, [two.clone(), one.clone(), three.clone()]);
    assert_eq!(code(&set(vec![pair(&one, 3)]).await), "PriorityInUse");
    assert_eq!(code(&set(vec![pair(&one, 9), pair(&two, 9)]).await), "PriorityInUse");
    assert_eq!(order().await, [two, one, three], "a refused call changes nothing");
    let default = client
        .describe_rules()
        .listener_arn(&port)
        .send()
        .await
        .unwrap()
        .rules()[3]
        .rule_arn()
        .unwrap()
        .to_owned();
    assert_eq!(code(&set(vec![pair(&default, 5)]).await), "OperationNotPermitted");
}

#[tokio::test(start_paused = true)]
async fn the_default_rule_is_protected() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let port = listener(&client, &balancer, 80).await;
    let default = client
        .describe_rules()
        .listener_arn(&port)
        .send()
        .await
        .unwrap()
        .rules()[0]
        .rule_arn()
        .unwrap()
        .to_owned();
    assert_eq!(
        code(&client.delete_rule().rule_arn(&default).send().await),
        "OperationNotPermitted"
    );
    let group = target_group(&client, "one").await;
    assert_eq!(
        code(
            &client
                .modify_rule()
                .rule_arn(&default)
                .actions(forward(&group))
                .send()
                .await
        ),
        "OperationNotPermitted"
    );
    client
        .modify_listener()
        .listener_arn(&port)
        .default_actions(forward(&group))
        .send()
        .await
        .unwrap();
    let read = client.describe_rules().rule_arns(&default).send().await.unwrap();
    assert_eq!(read.rules()[0].actions()[0].target_group_arn(), Some(group.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_target_group_belongs_to_one_load_balancer_at_a_time() {
    let (_, client) = here();
    let (first, second) = (
        load_balancer(&client, "first").await,
        load_balancer(&client, "second").await,
    );
    let (one, two) = (
        listener(&client, &first, 80).await,
        listener(&client, &second, 80).await,
    );
    let group = target_group(&client, "one").await;
    let arn = rule(&client, &one, 1, &group).await;
    let create = || {
        client
            .create_rule()
            .listener_arn(&two)
            .priority(1)
            .conditions(host("b.example.com"))
            .actions(forward(&group))
            .send()
    };
    assert_eq!(code(&create().await), "TargetGroupAssociationLimit");
    client.delete_rule().rule_arn(&arn).send().await.unwrap();
    assert_eq!(code(&create().await), "ok");
}

#[tokio::test(start_paused = true)]
async fn quotas_end_where_the_account_says() {
    let (double, client) = here();
    let quota = |name: &str, max| double.set_quota("123456789012", "eu-west-1", name, max);
    let balancer = load_balancer(&client, "web").await;
    let port = listener(&client, &balancer, 80).await;
    let groups = [target_group(&client, "one").await, target_group(&client, "two").await];
    let create = |priority: i32, group: usize| {
        client
            .create_rule()
            .listener_arn(&port)
            .priority(priority)
            .conditions(host("a.example.com"))
            .actions(forward(&groups[group]))
            .send()
    };
    quota("rules-per-application-load-balancer", 1);
    create(1, 0).await.unwrap();
    assert_eq!(code(&create(2, 0).await), "TooManyRules");
    quota("rules-per-application-load-balancer", 9);
    quota("target-groups-per-application-load-balancer", 1);
    assert_eq!(code(&create(2, 1).await), "TooManyUniqueTargetGroupsPerLoadBalancer");
    create(3, 0)
        .await
        .expect("a target group that is in use already counts once");
    quota("target-groups", 2);
    let three = client
        .create_target_group()
        .name("three")
        .protocol("HTTP".into())
        .port(80)
        .vpc_id(VPC)
        .send()
        .await;
    assert_eq!(code(&three), "TooManyTargetGroups");
    quota("application-load-balancers", 1);
    let more = client
        .create_load_balancer()
        .name("more")
        .subnets(A)
        .subnets(B)
        .send()
        .await;
    assert_eq!(code(&more), "TooManyLoadBalancers");
    quota("listeners-per-application-load-balancer", 1);
    let more = client
        .create_listener()
        .load_balancer_arn(&balancer)
        .protocol("HTTP".into())
        .port(81)
        .default_actions(not_found());
    assert_eq!(code(&more.send().await), "TooManyListeners");
    quota("targets-per-application-load-balancer", 1);
    let register = |id: &str| {
        client
            .register_targets()
            .target_group_arn(&groups[0])
            .targets(target(id))
            .send()
    };
    register("10.0.1.1").await.unwrap();
    assert_eq!(code(&register("10.0.1.2").await), "TooManyTargets");
    let health = client
        .describe_target_health()
        .target_group_arn(&groups[0])
        .send()
        .await
        .unwrap();
    assert_eq!(
        health.target_health_descriptions().len(),
        1,
        "a refused call registers nothing"
    );
    let limits = client.describe_account_limits().send().await.unwrap();
    let changed = limits
        .limits()
        .iter()
        .find(|limit| limit.name() == Some("target-groups"))
        .unwrap();
    assert_eq!(changed.max(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn six_condition_values_are_one_too_many() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let port = listener(&client, &balancer, 80).await;
    let create = |paths: usize| {
        let config =
            PathPatternConditionConfig::builder().set_values(Some((0..paths).map(|n| format!("/{n}")).collect()));
        let condition = RuleCondition::builder()
            .field("path-pattern")
            .path_pattern_config(config.build())
            .build();
        client
            .create_rule()
            .listener_arn(&port)
            .priority(1)
            .conditions(condition)
            .actions(not_found())
            .send()
    };
    let refused = create(6).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            Some("ValidationError"),
            Some("A rule can only have '5' condition values")
        )
    );
    assert_eq!(code(&create(5).await), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_login_answers_its_defaults_and_never_its_secret() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let (group, port) = (
        target_group(&client, "one").await,
        https_listener(&client, &balancer, 443).await,
    );
    let config = AuthenticateOidcActionConfig::builder()
        .issuer("https://id.example.com")
        .authorization_endpoint("https://id.example.com/authorize")
        .token_endpoint("https://id.example.com/token")
        .user_info_endpoint("https://id.example.com/user")
        .client_id("web");
    let create = |config: AuthenticateOidcActionConfig| {
        let login = Action::builder()
            .r#type(ActionTypeEnum::AuthenticateOidc)
            .authenticate_oidc_config(config)
            .order(1)
            .build();
        let mut then = forward(&group);
        then.order = Some(2);
        let create = client
            .create_rule()
            .listener_arn(&port)
            .priority(1)
            .conditions(host("a.example.com"));
        create.actions(then).actions(login).send()
    };
    assert_eq!(
        code(&create(config.clone().build()).await),
        "ValidationError",
        "a secret is needed"
    );
    let created = create(config.client_secret("hush").build()).await.unwrap();
    let [login, then] = created.rules()[0].actions() else {
        panic!("{created:?}")
    };
    assert_eq!(
        (login.order(), then.order()),
        (Some(1), Some(2)),
        "in the order in which they are performed"
    );
    let config = login.authenticate_oidc_config().unwrap();
    assert_eq!(
        (config.scope(), config.session_timeout(), config.client_secret()),
        (Some("openid"), Some(604_800), None)
    );
}

//! What callers with a policy may do, as SDK clients see it through the door in process.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use albacore_aws::iam::{EVERYBODY, Policy};
use albacore_aws::{Double, Options};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use aws_sdk_elasticloadbalancingv2::types as elb;
use serde_json::{Value, json};

const CALLER: &str = "AKIDCALLER";

async fn config(double: &Double, key: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region("eu-west-1")
        .credentials_provider(Credentials::new(key, "secret", None, None, "test"))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .http_client(double.http_client())
        .load()
        .await
}

/// A double, and a VPC that an administrator made.
async fn place() -> (Double, String) {
    let double = Double::new(Options::instant());
    let ec2 = aws_sdk_ec2::Client::new(&config(&double, "AKIDADMINISTRATOR").await);
    let made = ec2.create_vpc().cidr_block("10.0.0.0/16").send().await.unwrap();
    (double, made.vpc.unwrap().vpc_id.unwrap())
}

fn allow(double: &Double, who: &str, statements: Value) {
    let document = json!({"Version": "2012-10-17", "Statement": statements});
    double.configure(|options| {
        let policy = Policy::try_from(document).unwrap();
        options.policies.insert(who.to_owned(), policy);
    });
}

/// Code, status and message of a refusal.
fn refusal<T: std::fmt::Debug, E>(
    result: Result<T, SdkError<E, aws_smithy_runtime_api::http::Response>>,
) -> (String, u16, String)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let error = result.unwrap_err();
    let status = error.raw_response().unwrap().status().as_u16();
    let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
    (text(error.code()), status, text(error.message()))
}

#[tokio::test]
async fn each_service_refuses_in_its_own_words_and_others_are_not_concerned() {
    let (double, vpc) = place().await;
    allow(
        &double,
        CALLER,
        json!({"Effect": "Allow", "Action": "acm:ListCertificates", "Resource": "*"}),
    );
    let config = config(&double, CALLER).await;
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&config);
    let ec2 = aws_sdk_ec2::Client::new(&config);
    let acm = aws_sdk_acm::Client::new(&config);
    acm.list_certificates().send().await.unwrap();

    let (code, status, said) = refusal(elb.describe_load_balancers().send().await);
    assert_eq!((code.as_str(), status), ("AccessDenied", 403));
    assert_eq!(
        said,
        "User: arn:aws:iam::123456789012:user/double is not authorized to perform: \
         elasticloadbalancing:DescribeLoadBalancers because no identity-based policy allows the \
         elasticloadbalancing:DescribeLoadBalancers action"
    );
    let group = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/a/0123456789abcdef";
    let (_, _, said) = refusal(elb.delete_target_group().target_group_arn(group).send().await);
    assert!(said.contains(&format!("on resource: {group} because")), "{said}");

    let (code, status, said) = refusal(ec2.describe_subnets().send().await);
    assert_eq!((code.as_str(), status), ("UnauthorizedOperation", 403));
    assert!(
        said.starts_with("You are not authorized to perform this operation. User: "),
        "{said}"
    );
    assert!(!said.contains("Encoded"), "{said}");
    let create = ec2
        .create_security_group()
        .group_name("a")
        .description("a")
        .vpc_id(&vpc);
    let (_, _, said) = refusal(create.send().await);
    assert!(said.contains("Encoded authorization failure message: "), "{said}");

    let certificate = "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-0000-0000-000000000000";
    let (code, status, _) = refusal(acm.describe_certificate().certificate_arn(certificate).send().await);
    assert_eq!((code.as_str(), status), ("AccessDeniedException", 400));

    let sts = aws_sdk_sts::Client::new(&config);
    sts.get_caller_identity().send().await.unwrap();
    allow(
        &double,
        EVERYBODY,
        json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}),
    );
    assert_eq!(
        refusal(ec2.describe_subnets().send().await).0,
        "UnauthorizedOperation",
        "its own policy counts"
    );
    let asked = double.allowed().into_iter().map(|request| request.action);
    assert_eq!(asked.collect::<Vec<_>>(), ["acm:ListCertificates"]);
}

#[tokio::test]
async fn what_is_created_with_tags_takes_the_permission_to_tag_and_only_there() {
    let (double, vpc) = place().await;
    let create = json!({"Effect": "Allow", "Action": "ec2:CreateSecurityGroup", "Resource": "*"});
    let tag_new = json!({
        "Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "arn:aws:ec2:*:*:security-group/*",
        "Condition": {"StringEquals": {"ec2:CreateAction": "CreateSecurityGroup", "aws:RequestTag/team": "a"}},
    });
    let ec2 = aws_sdk_ec2::Client::new(&config(&double, CALLER).await);
    let tag = |value: &str| Tag::builder().key("team").value(value).build();
    let request = |name: &str, value: &str| {
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::SecurityGroup)
            .tags(tag(value));
        let request = ec2
            .create_security_group()
            .group_name(name)
            .description(name)
            .vpc_id(&vpc);
        request.tag_specifications(tags.build())
    };
    allow(&double, CALLER, json!([create]));
    let (_, _, said) = refusal(request("one", "a").send().await);
    assert!(
        said.contains("ec2:CreateTags on resource: arn:aws:ec2:eu-west-1:123456789012:security-group/*"),
        "{said}"
    );
    let plain = ec2
        .create_security_group()
        .group_name("plain")
        .description("plain")
        .vpc_id(&vpc);
    plain.send().await.unwrap();

    allow(&double, CALLER, json!([create, tag_new]));
    let made = request("one", "a").send().await.unwrap();
    assert_eq!(
        refusal(request("two", "b").send().await).0,
        "UnauthorizedOperation",
        "another value"
    );
    let later = ec2.create_tags().resources(made.group_id.unwrap()).tags(tag("a"));
    assert_eq!(refusal(later.send().await).0, "UnauthorizedOperation", "not a creation");
}

#[tokio::test]
async fn elastic_load_balancing_looks_at_ec2_and_links_its_role_in_the_callers_name() {
    let (double, vpc) = place().await;
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&config(&double, CALLER).await);
    let create = |name: &str| {
        let request = elb
            .create_target_group()
            .name(name)
            .port(80)
            .protocol(elb::ProtocolEnum::Http);
        request.vpc_id(&vpc)
    };
    let mut actions = vec!["elasticloadbalancing:*"];
    let linked = "iam:CreateServiceLinkedRole";
    for missing in ["ec2:DescribeInternetGateways", "ec2:DescribeVpcs", linked] {
        allow(
            &double,
            CALLER,
            json!({"Effect": "Allow", "Action": actions, "Resource": "*"}),
        );
        let (code, _, said) = refusal(create("one").send().await);
        assert_eq!(code, "AccessDenied");
        assert!(
            said.contains(&format!("not authorized to perform: {missing} ")),
            "{said}"
        );
        actions.push(missing);
    }
    let link = json!({"StringEquals": {"iam:AWSServiceName": "elasticloadbalancing.amazonaws.com"}});
    allow(
        &double,
        CALLER,
        json!([
            {"Effect": "Allow", "Action": &actions[..3], "Resource": "*"},
            {"Effect": "Allow", "Action": linked, "Resource": "*", "Condition": link},
        ]),
    );
    create("one").send().await.unwrap();
    // The role is there now.
    allow(
        &double,
        CALLER,
        json!({"Effect": "Allow", "Action": &actions[..3], "Resource": "*"}),
    );
    create("two").send().await.unwrap();
}

#[tokio::test]
async fn a_resources_tags_say_who_may_change_it() {
    let (double, vpc) = place().await;
    allow(
        &double,
        CALLER,
        json!([
            {"Effect": "Allow", "Action": ["elasticloadbalancing:CreateTargetGroup", "elasticloadbalancing:AddTags", "ec2:*", "iam:*"], "Resource": "*"},
            {
                "Effect": "Allow", "Action": "elasticloadbalancing:Delete*", "Resource": "*",
                "Condition": {"Null": {"aws:ResourceTag/owner": "false"}},
            },
        ]),
    );
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&config(&double, CALLER).await);
    let create = elb
        .create_target_group()
        .name("one")
        .port(80)
        .protocol(elb::ProtocolEnum::Http);
    let made = create.vpc_id(&vpc).send().await.unwrap();
    let arn = made.target_groups.unwrap().remove(0).target_group_arn.unwrap();
    let delete = || elb.delete_target_group().target_group_arn(&arn).send();
    assert_eq!(refusal(delete().await).0, "AccessDenied");
    let owner = elb::Tag::builder().key("owner").value("me").build();
    elb.add_tags().resource_arns(&arn).tags(owner).send().await.unwrap();
    delete().await.unwrap();
}

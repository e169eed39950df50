//! What passes with time or goes wrong half way in ec2, acm and sts, as SDK clients see it through the door in process.
//! The plain life of everything is told by `tests/boto3`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use albacore_aws::{Double, Options};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{Filter, InstanceStateName, IpPermission, IpRange, UserIdGroupPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Clients of a double in eu-west-1, and what every test needs there.
struct Place {
    double: Double,
    config: SdkConfig,
    ec2: aws_sdk_ec2::Client,
    elbv2: aws_sdk_elasticloadbalancingv2::Client,
    acm: aws_sdk_acm::Client,
    vpc: String,
    subnets: Vec<String>,
}

async fn place(options: Options) -> Place {
    let double = Double::new(options);
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region("eu-west-1")
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .http_client(double.http_client())
        .load()
        .await;
    let ec2 = aws_sdk_ec2::Client::new(&config);
    let vpc = ec2.create_vpc().cidr_block("10.0.0.0/16").send().await.unwrap();
    let vpc = vpc.vpc().unwrap().vpc_id().unwrap().to_owned();
    let gateway = ec2.create_internet_gateway().send().await.unwrap();
    let gateway = gateway.internet_gateway().unwrap().internet_gateway_id().unwrap();
    let attach = ec2.attach_internet_gateway().internet_gateway_id(gateway).vpc_id(&vpc);
    attach.send().await.unwrap();
    let mut subnets = Vec::new();
    for (cidr, zone) in [("10.0.0.0/28", "eu-west-1a"), ("10.0.1.0/28", "eu-west-1b")] {
        let create = ec2
            .create_subnet()
            .vpc_id(&vpc)
            .cidr_block(cidr)
            .availability_zone(zone);
        let subnet = create.send().await.unwrap();
        subnets.push(subnet.subnet().unwrap().subnet_id().unwrap().to_owned());
    }
    Place {
        elbv2: aws_sdk_elasticloadbalancingv2::Client::new(&config),
        acm: aws_sdk_acm::Client::new(&config),
        double,
        config,
        ec2,
        vpc,
        subnets,
    }
}

impl Place {
    async fn security_group(&self, name: &str) -> String {
        let create = self
            .ec2
            .create_security_group()
            .group_name(name)
            .description(name)
            .vpc_id(&self.vpc);
        create.send().await.unwrap().group_id().unwrap().to_owned()
    }

    async fn load_balancer(&self, group: &str) -> String {
        let create = self.elbv2.create_load_balancer().name("web").security_groups(group);
        let created = create.set_subnets(Some(self.subnets.clone())).send().await.unwrap();
        created.load_balancers()[0].load_balancer_arn().unwrap().to_owned()
    }

    async fn free_addresses(&self) -> Vec<i32> {
        let found = self
            .ec2
            .describe_subnets()
            .set_subnet_ids(Some(self.subnets.clone()))
            .send()
            .await
            .unwrap();
        let count = |subnet: &aws_sdk_ec2::types::Subnet| subnet.available_ip_address_count().unwrap();
        found.subnets().iter().map(count).collect()
    }

    async fn import(&self, until: i32) -> Result<String, String> {
        let mut params = rcgen::CertificateParams::new(["a.example.com".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let import = self
            .acm
            .import_certificate()
            .certificate(certificate.pem().into_bytes().into())
            .private_key(key.serialize_pem().into_bytes().into());
        match import.send().await {
            Ok(done) => Ok(done.certificate_arn().unwrap().to_owned()),
            Err(error) => Err(code(&Err::<(), _>(error))),
        }
    }
}

/// How a call ended: `ok`, or the error code.
fn code<T, E: ProvideErrorMetadata, R>(result: &Result<T, SdkError<E, R>>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code().unwrap_or("no answer").to_owned(),
    }
}

fn tcp(port: i32) -> aws_sdk_ec2::types::builders::IpPermissionBuilder {
    IpPermission::builder().ip_protocol("tcp").from_port(port).to_port(port)
}

fn range(cidr: &str) -> IpRange {
    IpRange::builder().cidr_ip(cidr).build()
}

#[tokio::test(start_paused = true)]
async fn a_deleted_load_balancer_keeps_its_security_group_and_addresses_for_a_while() {
    let options = Options {
        interface_linger: Duration::from_secs(90),
        ..Options::instant()
    };
    let here = place(options).await;
    let group = here.security_group("alb").await;
    assert_eq!(here.free_addresses().await, [11, 11]);
    let arn = here.load_balancer(&group).await;
    assert_eq!(here.free_addresses().await, [10, 10]);
    here.elbv2
        .delete_load_balancer()
        .load_balancer_arn(arn)
        .send()
        .await
        .unwrap();
    let delete = || here.ec2.delete_security_group().group_id(&group).send();
    tokio::time::advance(Duration::from_secs(89)).await;
    assert_eq!(code(&delete().await), "DependencyViolation");
    assert_eq!(here.free_addresses().await, [10, 10]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(here.free_addresses().await, [11, 11]);
    assert_eq!(code(&delete().await), "ok");
    assert_eq!(code(&delete().await), "InvalidGroup.NotFound");
}

#[tokio::test(start_paused = true)]
async fn a_subnet_with_fewer_than_eight_addresses_takes_no_load_balancer() {
    let here = place(Options::instant()).await;
    let group = here.security_group("alb").await;
    let take = here
        .ec2
        .create_network_interface()
        .subnet_id(&here.subnets[1])
        .secondary_private_ip_address_count(3);
    take.send().await.unwrap();
    assert_eq!(here.free_addresses().await, [11, 7]);
    let create = here.elbv2.create_load_balancer().name("web").security_groups(group);
    let refused = create.set_subnets(Some(here.subnets.clone())).send().await;
    assert_eq!(code(&refused), "InvalidSubnet");
    assert_eq!(here.free_addresses().await, [11, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_rules_that_is_refused_changes_nothing() {
    let here = place(Options::instant()).await;
    let group = here.security_group("web").await;
    let authorize = |permission: IpPermission| {
        let call = here.ec2.authorize_security_group_ingress().group_id(&group);
        call.ip_permissions(permission).send()
    };
    assert_eq!(
        code(&authorize(tcp(80).ip_ranges(range("10.0.0.0/8")).build()).await),
        "ok"
    );
    let again = tcp(80)
        .ip_ranges(range("192.0.2.0/24"))
        .ip_ranges(range("10.9.9.9/8"))
        .build();
    assert_eq!(code(&authorize(again).await), "InvalidPermission.Duplicate");
    let twice = tcp(81)
        .ip_ranges(range("10.0.0.0/8"))
        .ip_ranges(range("10.1.0.0/8"))
        .build();
    assert_eq!(code(&authorize(twice).await), "InvalidParameterValue");
    let stranger = UserIdGroupPair::builder().group_id("sg-0123456789abcdef0").build();
    assert_eq!(
        code(
            &authorize(
                tcp(82)
                    .ip_ranges(range("10.0.0.0/8"))
                    .user_id_group_pairs(stranger)
                    .build()
            )
            .await
        ),
        "InvalidGroup.NotFound"
    );
    let many = (0..60).map(|n| range(&format!("192.0.2.{n}/32"))).collect();
    assert_eq!(
        code(&authorize(tcp(83).set_ip_ranges(Some(many)).build()).await),
        "RulesPerSecurityGroupLimitExceeded"
    );
    let revoke = here.ec2.revoke_security_group_ingress().group_id(&group);
    let both = tcp(80)
        .ip_ranges(range("10.0.0.0/8"))
        .ip_ranges(range("192.0.2.0/24"))
        .build();
    assert_eq!(
        code(&revoke.ip_permissions(both).send().await),
        "InvalidPermission.NotFound"
    );
    let found = here
        .ec2
        .describe_security_groups()
        .group_ids(&group)
        .send()
        .await
        .unwrap();
    let [permission] = found.security_groups()[0].ip_permissions() else {
        panic!("one permission is left: {found:?}");
    };
    assert_eq!(permission.ip_ranges(), [range("10.0.0.0/8")]);
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_fails_half_way_leaves_nothing() {
    let here = place(Options::instant()).await;
    let run = here
        .ec2
        .run_instances()
        .image_id("ami-0123456789abcdef0")
        .min_count(12)
        .max_count(12);
    let refused = run.subnet_id(&here.subnets[0]).send().await;
    assert_eq!(code(&refused), "InsufficientFreeAddressesInSubnet");
    assert_eq!(here.free_addresses().await, [11, 11]);
    assert_eq!(here.ec2.describe_instances().send().await.unwrap().reservations(), []);
}

#[tokio::test(start_paused = true)]
async fn a_terminated_instance_is_seen_for_an_hour() {
    let here = place(Options::instant()).await;
    let run = here
        .ec2
        .run_instances()
        .image_id("ami-0123456789abcdef0")
        .min_count(1)
        .max_count(1);
    let run = run.subnet_id(&here.subnets[0]).send().await.unwrap();
    let id = run.instances()[0].instance_id().unwrap();
    here.ec2.terminate_instances().instance_ids(id).send().await.unwrap();
    let describe = || here.ec2.describe_instances().instance_ids(id).send();
    tokio::time::advance(Duration::from_secs(3600)).await;
    let seen = describe().await.unwrap();
    let state = seen.reservations()[0].instances()[0].state().unwrap();
    assert_eq!(state.name(), Some(&InstanceStateName::Terminated));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(code(&describe().await), "InvalidInstanceID.NotFound");
}

#[tokio::test(start_paused = true)]
async fn an_unfiltered_listing_is_throttled_earlier() {
    let here = place(Options::instant()).await;
    here.double.configure(|options| options.throttling = true);
    for _ in 0..50 {
        here.ec2.describe_security_groups().send().await.unwrap();
    }
    let refused = here.ec2.describe_security_groups().send().await;
    assert_eq!(code(&refused), "RequestLimitExceeded");
    let vpc = Filter::builder().name("vpc-id").values(&here.vpc).build();
    for _ in 0..100 {
        here.ec2.describe_subnets().filters(vpc.clone()).send().await.unwrap();
    }
    let refused = here.ec2.describe_subnets().filters(vpc).send().await;
    assert_eq!(code(&refused), "RequestLimitExceeded");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_expires_and_keeps_its_key_for_the_data_plane() {
    let here = place(Options::instant()).await;
    assert_eq!(here.import(2025).await, Err("ValidationException".to_owned()));
    let arn = here.import(2027).await.unwrap();
    let status = || async {
        let found = here
            .acm
            .describe_certificate()
            .certificate_arn(&arn)
            .send()
            .await
            .unwrap();
        found.certificate().unwrap().status().unwrap().as_str().to_owned()
    };
    assert_eq!(status().await, "ISSUED");
    {
        let mut world = here.double.world();
        let region = world.regions.values_mut().next().unwrap();
        let served = region.acm.certificate(&arn).unwrap();
        assert!(served.chain_pem().starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(served.key.starts_with("-----BEGIN PRIVATE KEY-----"));
    }
    tokio::time::advance(Duration::from_secs(366 * 24 * 3600)).await;
    assert_eq!(status().await, "EXPIRED");
}

#[tokio::test(start_paused = true)]
async fn credentials_of_a_role_belong_to_its_account() {
    let here = place(Options::instant()).await;
    let sts = aws_sdk_sts::Client::new(&here.config);
    let role = "arn:aws:iam::210987654321:role/team/deploy";
    let assume = |token: &str| {
        let call = sts
            .assume_role_with_web_identity()
            .role_arn(role)
            .role_session_name("pod");
        call.web_identity_token(token.to_owned()).send()
    };
    let token = |expires: &str| {
        let expires: jiff::Timestamp = expires.parse().unwrap();
        let claims = format!(r#"{{"iss":"i","sub":"s","exp":{}}}"#, expires.as_second());
        format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(claims)
        )
    };
    // The double's clock starts in 2026.
    assert_eq!(
        code(&assume(&token("2025-01-01T00:00:00Z")).await),
        "ExpiredTokenException"
    );
    let granted = assume(&token("2030-01-01T00:00:00Z")).await.unwrap();
    assert_eq!(granted.subject_from_web_identity_token(), Some("s"));
    let granted = granted.credentials().unwrap();
    let credentials = Credentials::new(
        granted.access_key_id(),
        "s",
        Some(granted.session_token().to_owned()),
        None,
        "test",
    );
    let config =
        here.config
            .to_builder()
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(
                credentials,
            ));
    let there = aws_sdk_sts::Client::new(&config.build());
    let identity = there.get_caller_identity().send().await.unwrap();
    assert_eq!(identity.account(), Some("210987654321"));
}

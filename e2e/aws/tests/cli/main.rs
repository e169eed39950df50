//! The double as a person at the AWS CLI sees it: a session in a shell, with its waiters, pages, queries and error codes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use albacore_aws::{Double, Options};
use albacore_cluster::python;
use serde_json::Value;
use tokio::net::TcpListener;

/// `aws` in a virtualenv, against the double.
struct Shell {
    aws: PathBuf,
    url: String,
    home: tempfile::TempDir,
}

impl Shell {
    fn run(&self, arguments: &str) -> Result<String, String> {
        let output = Command::new(&self.aws)
            .args(["--endpoint-url", &self.url, "--region", "eu-west-1", "--output", "json"])
            .args(arguments.split_whitespace())
            .env_clear()
            .env("HOME", self.home.path())
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// A command that works; what it prints.
    fn aws(&self, arguments: &str) -> String {
        self.run(arguments)
            .unwrap_or_else(|error| panic!("aws {arguments}: {error}"))
    }

    /// One value of what it prints.
    fn get(&self, arguments: &str, query: &str) -> String {
        let value: Value = serde_json::from_str(&self.aws(&format!("{arguments} --query {query}"))).unwrap();
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    /// A command that AWS refuses with a code.
    fn refused(&self, arguments: &str, code: &str) {
        let error = self.run(arguments).unwrap_err();
        assert!(error.contains(&format!("({code})")), "aws {arguments}: {error}");
    }
}

fn certificate(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["shop.example.com".to_owned()]).unwrap();
    fs::write(folder.join("crt"), made.cert.pem()).unwrap();
    fs::write(folder.join("key"), made.signing_key.serialize_pem()).unwrap();
    let file = |name: &str| format!("fileb://{}", folder.join(name).display());
    format!(
        "acm import-certificate --certificate {} --private-key {}",
        file("crt"),
        file("key")
    )
}

fn session(shell: &Shell) {
    assert_eq!(shell.get("sts get-caller-identity", "Account"), "123456789012");
    let vpc = shell.get("ec2 create-vpc --cidr-block 10.0.0.0/16", "Vpc.VpcId");
    let gateway = shell.get("ec2 create-internet-gateway", "InternetGateway.InternetGatewayId");
    shell.aws(&format!(
        "ec2 attach-internet-gateway --internet-gateway-id {gateway} --vpc-id {vpc}"
    ));
    let subnet = |number: u8, zone: char| {
        let network = format!("--cidr-block 10.0.{number}.0/24 --availability-zone eu-west-1{zone}");
        shell.get(
            &format!("ec2 create-subnet --vpc-id {vpc} {network}"),
            "Subnet.SubnetId",
        )
    };
    let subnets = format!("{} {}", subnet(0, 'a'), subnet(1, 'b'));
    let group = shell.get(
        &format!("ec2 create-security-group --group-name alb --description alb --vpc-id {vpc}"),
        "GroupId",
    );
    shell.aws(&format!(
        "ec2 authorize-security-group-ingress --group-id {group} --protocol tcp --port 443 --cidr 0.0.0.0/0"
    ));
    shell.refused(
        &format!("ec2 authorize-security-group-ingress --group-id {group} --protocol tcp --port 443 --cidr 0.0.0.0/0"),
        "InvalidPermission.Duplicate",
    );
    shell.aws(&format!(
        "ec2 create-tags --resources {group} --tags Key=team,Value=web"
    ));

    let create = format!("elbv2 create-load-balancer --name web --subnets {subnets} --security-groups {group}");
    let create = format!("{create} --tags Key=team,Value=web");
    let balancer = shell.get(&create, "LoadBalancers[0].LoadBalancerArn");
    let state = format!("elbv2 describe-load-balancers --load-balancer-arns {balancer}");
    assert_eq!(shell.get(&state, "LoadBalancers[0].State.Code"), "provisioning");
    // Asks every 15 seconds until it is so.
    shell.aws(&format!(
        "elbv2 wait load-balancer-available --load-balancer-arns {balancer}"
    ));
    assert_eq!(shell.get(&state, "LoadBalancers[0].State.Code"), "active");

    let target_group = |name: &str| {
        let create = format!(
            "elbv2 create-target-group --name {name} --protocol HTTP --port 80 --vpc-id {vpc} --target-type ip"
        );
        shell.get(&create, "TargetGroups[0].TargetGroupArn")
    };
    let (one, two) = (target_group("one"), target_group("two"));
    target_group("three");
    // One page and where to go on, as the API tells it; and as the CLI tells it when it shall stop.
    let page = "elbv2 describe-target-groups --page-size 1";
    let marker = shell.get(page, "NextMarker");
    let second = shell.get(&format!("{page} --marker {marker}"), "TargetGroups[0].TargetGroupName");
    assert_eq!(second, "three");
    let some = "elbv2 describe-target-groups --max-items 2";
    let next = shell.get(some, "NextToken");
    let rest = shell.get(&format!("{some} --starting-token {next}"), "length(TargetGroups)");
    assert_eq!(rest, "1");
    shell.refused("elbv2 describe-target-groups --names four", "TargetGroupNotFound");

    let certificate = shell.get(&certificate(shell.home.path()), "CertificateArn");
    let listener = shell.get(
        &format!(
            "elbv2 create-listener --load-balancer-arn {balancer} --protocol HTTPS --port 443 \
             --certificates CertificateArn={certificate} --default-actions Type=forward,TargetGroupArn={one}"
        ),
        "Listeners[0].ListenerArn",
    );
    let rule = format!("elbv2 create-rule --listener-arn {listener} --conditions Field=path-pattern,Values=/two");
    let rule = format!("{rule} --actions Type=forward,TargetGroupArn={two} --priority");
    let made = shell.get(&format!("{rule} 5"), "Rules[0].RuleArn");
    shell.refused(&format!("{rule} 5"), "PriorityInUse");
    shell.aws(&format!(
        "elbv2 set-rule-priorities --rule-priorities RuleArn={made},Priority=7"
    ));
    let rules = format!("elbv2 describe-rules --listener-arn {listener}");
    assert_eq!(shell.get(&rules, "Rules[0].Priority"), "7");
    shell.aws(&format!(
        "elbv2 register-targets --target-group-arn {one} --targets Id=10.0.0.20,Port=80"
    ));
    shell.aws(&format!("elbv2 wait target-in-service --target-group-arn {one}"));

    let found = "resourcegroupstaggingapi get-resources --tag-filters Key=team,Values=web";
    // The CLI turns pages by itself.
    assert_eq!(
        shell.get(&format!("{found} --page-size 1"), "length(ResourceTagMappingList)"),
        "2"
    );
    let only = format!("{found} --resource-type-filters elasticloadbalancing:loadbalancer");
    assert_eq!(shell.get(&only, "ResourceTagMappingList[0].ResourceARN"), balancer);

    shell.refused(
        &format!("elbv2 delete-target-group --target-group-arn {one}"),
        "ResourceInUse",
    );
    shell.aws(&format!("elbv2 delete-load-balancer --load-balancer-arn {balancer}"));
    shell.aws(&format!(
        "elbv2 wait load-balancers-deleted --load-balancer-arns {balancer}"
    ));
    shell.refused(&state, "LoadBalancerNotFound");
    shell.aws(&format!("elbv2 delete-target-group --target-group-arn {one}"));
    shell.aws(&format!("acm delete-certificate --certificate-arn {certificate}"));
    shell.refused(
        &format!("acm describe-certificate --certificate-arn {certificate}"),
        "ResourceNotFoundException",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_at_the_aws_cli() {
    let double = Double::new(Options {
        provisioning: Duration::from_secs(8),
        ..Options::instant()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { double.serve(listener).await });
    tokio::task::spawn_blocking(move || {
        // Tests run in the folder of their package.
        let python = python(Path::new("tests/cli/requirements.txt")).unwrap();
        session(&Shell {
            aws: python.with_file_name("aws"),
            url,
            home: tempfile::tempdir().unwrap(),
        });
    })
    .await
    .unwrap();
    serving.abort();
}

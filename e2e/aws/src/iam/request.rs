//! What a call asks IAM for: each action with the resource it is about and what is known of both.
//!
//! Sources: "Actions, resources, and condition keys" of AWS Elastic Load Balancing V2, Amazon EC2 and AWS Certificate
//! Manager, Service Authorization Reference; "API permissions", Elastic Load Balancing user guide, for what Elastic Load
//! Balancing does in the caller's name.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::call::{Call, Service, partition};
use crate::ec2;
use crate::fault::AwsError;
use crate::world::{Region, World};

/// One question to IAM.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Request {
    /// Service prefix and action, such as `elasticloadbalancing:CreateRule`.
    pub action: String,
    /// ARN; ends in `/*` where the id is not known yet; `*` for actions that are not about single resources.
    pub resource: String,
    /// Values of condition keys, whose names are in lower case.
    pub context: BTreeMap<String, Vec<String>>,
}

type Tags = BTreeMap<String, String>;

/// Elastic Load Balancing looks at EC2 in the caller's name.
const ON_EC2: [(&str, &[&str]); 5] = [
    (
        "CreateLoadBalancer",
        &[
            "DescribeAccountAttributes",
            "DescribeAddresses",
            "DescribeInternetGateways",
            "DescribeSecurityGroups",
            "DescribeSubnets",
            "DescribeVpcs",
        ],
    ),
    ("CreateTargetGroup", &["DescribeInternetGateways", "DescribeVpcs"]),
    (
        "RegisterTargets",
        &[
            "DescribeInstances",
            "DescribeInternetGateways",
            "DescribeSubnets",
            "DescribeVpcs",
        ],
    ),
    ("SetIpAddressType", &["DescribeSubnets"]),
    ("SetSubnets", &["DescribeSubnets"]),
];

/// The calls that create Elastic Load Balancing's service-linked role in an account without it.
const LINKS: [&str; 2] = ["CreateLoadBalancer", "CreateTargetGroup"];

/// Whether a call creates that role beside, where it is not there.
pub(super) fn links(call: &Call) -> bool {
    call.service == Service::Elbv2 && LINKS.contains(&call.operation.as_str())
}

/// What a call asks for; all of it must be allowed.
///
/// # Errors
/// It is not known what the operation asks for.
pub(super) fn of(world: &World, call: &Call, input: &Value) -> Result<Vec<Request>, AwsError> {
    let region = world.regions.get(&(call.account.clone(), call.region.clone()));
    let asked = Asked { call, input, region };
    let mut requests = match call.service {
        Service::Elbv2 => asked.elbv2(),
        Service::Ec2 => asked.ec2(),
        Service::Acm => asked.acm(),
        // Tagging asks for more, of the service whose resource it is.
        Service::Tagging => call.is_read().then(|| vec![asked.about("tag", "*")]),
        Service::Sts => (call.operation == "AssumeRole").then(|| vec![asked.about("sts", asked.text("RoleArn"))]),
    }
    .ok_or_else(|| {
        let message = format!("The double does not know what {} is authorized by", call.operation);
        AwsError::new("InternalFailure", message).with_status(500)
    })?;
    if links(call) && !world.linked_accounts.contains(&call.account) {
        requests.push(asked.linked_role());
    }
    Ok(requests)
}

struct Asked<'a> {
    call: &'a Call,
    input: &'a Value,
    region: Option<&'a Region>,
}

impl Asked<'_> {
    fn elbv2(&self) -> Option<Vec<Request>> {
        const ELB: &str = "elasticloadbalancing";
        let operation = self.call.operation.as_str();
        let given = tags(&self.input["Tags"]);
        let arn = |resource: String| self.call.arn(ELB, &resource);
        let under = |parent: &str, kind: &str, of: &str| format!("{}/*", parent.replacen(kind, of, 1));
        let mut requests = match operation {
            _ if operation.starts_with("Describe") => vec![self.about(ELB, "*")],
            "CreateLoadBalancer" => {
                let made = arn(format!("loadbalancer/app/{}/*", self.text("Name")));
                self.creation(ELB, "AddTags", &made, &made, &given)
            }
            "CreateTargetGroup" => {
                let made = arn(format!("targetgroup/{}/*", self.text("Name")));
                self.creation(ELB, "AddTags", &made, &made, &given)
            }
            "CreateListener" => {
                let parent = self.text("LoadBalancerArn");
                let made = under(parent, ":loadbalancer/", ":listener/");
                self.creation(ELB, "AddTags", parent, &made, &given)
            }
            "CreateRule" => {
                let parent = self.text("ListenerArn");
                let made = under(parent, ":listener/", ":listener-rule/");
                self.creation(ELB, "AddTags", parent, &made, &given)
            }
            "AddTags" | "RemoveTags" => {
                let of = |arn: &str| self.about(ELB, arn).with_tags(&given).with_keys(&self.texts("TagKeys"));
                self.texts("ResourceArns").into_iter().map(of).collect()
            }
            "SetRulePriorities" => {
                let pairs = self.input["RulePriorities"].as_array()?;
                let arns = pairs.iter().filter_map(|pair| pair["RuleArn"].as_str());
                arns.map(|arn| self.about(ELB, arn)).collect()
            }
            _ => {
                let members = ["LoadBalancerArn", "TargetGroupArn", "ListenerArn", "RuleArn"];
                let arn = members.into_iter().find_map(|member| self.input[member].as_str())?;
                vec![self.about(ELB, arn)]
            }
        };
        let on_ec2 = ON_EC2.iter().filter(|(by, _)| *by == operation);
        let looked = on_ec2.flat_map(|(_, actions)| *actions);
        requests.extend(looked.map(|action| request(&format!("ec2:{action}"), "*")));
        Some(requests)
    }

    fn ec2(&self) -> Option<Vec<Request>> {
        const EC2: &str = "ec2";
        let operation = self.call.operation.as_str();
        let arn = |resource: &str| self.call.arn(EC2, resource);
        Some(match operation {
            _ if operation.starts_with("Describe") => vec![self.about(EC2, "*")],
            "CreateSecurityGroup" => {
                let specified = self.input["TagSpecifications"].as_array();
                let given: Tags = specified
                    .into_iter()
                    .flatten()
                    .flat_map(|one| tags(&one["Tags"]))
                    .collect();
                let made = arn("security-group/*");
                let mut requests = self.creation(EC2, "CreateTags", &made, &made, &given);
                requests.push(self.about(EC2, &arn(&format!("vpc/{}", self.text("VpcId")))));
                requests
            }
            "AuthorizeSecurityGroupIngress"
            | "AuthorizeSecurityGroupEgress"
            | "RevokeSecurityGroupIngress"
            | "RevokeSecurityGroupEgress"
            | "DeleteSecurityGroup" => {
                let group = self.input["GroupId"].as_str()?;
                vec![self.about(EC2, &arn(&format!("security-group/{group}")))]
            }
            "CreateTags" | "DeleteTags" => {
                let given = tags(&self.input["Tags"]);
                let of = |id: &str| {
                    let about = self.about(EC2, &arn(&format!("{}/{id}", ec2::resource_type(id)?)));
                    Some(about.with_tags(&given))
                };
                self.texts("Resources").into_iter().map(of).collect::<Option<_>>()?
            }
            _ => return None,
        })
    }

    fn acm(&self) -> Option<Vec<Request>> {
        let resource = match self.call.operation.as_str() {
            "ListCertificates" => "*",
            "DescribeCertificate" | "GetCertificate" | "DeleteCertificate" | "ListTagsForCertificate" => {
                self.text("CertificateArn")
            }
            _ => return None,
        };
        Some(vec![self.about("acm", resource)])
    }

    fn linked_role(&self) -> Request {
        let service = "elasticloadbalancing.amazonaws.com";
        let (partition, account) = (partition(&self.call.region), &self.call.account);
        let role = format!(
            "arn:{partition}:iam::{account}:role/aws-service-role/{service}/AWSServiceRoleForElasticLoadBalancing"
        );
        request("iam:CreateServiceLinkedRole", &role).with("iam:AWSServiceName", vec![service.to_owned()])
    }

    /// The operation itself, about something that may be there, whose tags then count.
    fn about(&self, service: &str, resource: &str) -> Request {
        let mut about = request(&format!("{service}:{}", self.call.operation), resource);
        for (key, value) in self.tags_of(resource).into_iter().flatten() {
            about = about.with(&format!("{service}:ResourceTag/{key}"), vec![value.clone()]);
            about = about.with(&format!("aws:ResourceTag/{key}"), vec![value.clone()]);
        }
        about
    }

    /// A creation `on` something, and that what is `made` gets its tags.
    fn creation(&self, service: &str, tagging: &str, on: &str, made: &str, given: &Tags) -> Vec<Request> {
        let mut requests = vec![self.about(service, on).with_tags(given)];
        if !given.is_empty() {
            let operation = vec![self.call.operation.clone()];
            let tags = request(&format!("{service}:{tagging}"), made).with_tags(given);
            requests.push(tags.with(&format!("{service}:CreateAction"), operation));
        }
        requests
    }

    fn tags_of(&self, arn: &str) -> Option<&Tags> {
        let region = self.region?;
        let id = || arn.rsplit('/').next().unwrap_or_default();
        let elbv2 = region.elbv2.tags.get(arn);
        elbv2
            .or_else(|| region.ec2.tags.get(id()))
            .or_else(|| region.acm.certificates.get(arn).map(|certificate| &certificate.tags))
    }

    fn text(&self, member: &str) -> &str {
        self.input[member].as_str().unwrap_or_default()
    }

    fn texts(&self, member: &str) -> Vec<&str> {
        let texts = self.input[member].as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).collect()
    }
}

fn request(action: &str, resource: &str) -> Request {
    Request {
        action: action.to_owned(),
        resource: resource.to_owned(),
        context: BTreeMap::new(),
    }
}

impl Request {
    fn with(mut self, key: &str, values: Vec<String>) -> Self {
        self.context.insert(key.to_lowercase(), values);
        self
    }

    fn with_tags(self, given: &Tags) -> Self {
        let keys: Vec<&str> = given.keys().map(String::as_str).collect();
        let named = self.with_keys(&keys);
        given.iter().fold(named, |request, (key, value)| {
            request.with(&format!("aws:RequestTag/{key}"), vec![value.clone()])
        })
    }

    fn with_keys(self, keys: &[&str]) -> Self {
        match keys {
            [] => self,
            keys => self.with("aws:TagKeys", keys.iter().map(|&key| key.to_owned()).collect()),
        }
    }
}

/// Tags as both services' models name their parts.
fn tags(list: &Value) -> Tags {
    let all = list.as_array().into_iter().flatten();
    let pair = |tag: &Value| {
        let value = tag["Value"].as_str().unwrap_or_default();
        Some((tag["Key"].as_str()?.to_owned(), value.to_owned()))
    };
    all.filter_map(pair).collect()
}

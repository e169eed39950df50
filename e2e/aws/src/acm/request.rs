//! `RequestCertificate`. Nobody looks for the record that would prove the domain, so what is requested stays pending.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Certificate;
use super::tag::{self, Tag};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::{Scene, World};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request {
    domain_name: String,
    #[serde(default)]
    subject_alternative_names: Vec<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// `RequestCertificate`.
pub(super) fn request(world: &mut World, call: &Call, input: Request) -> Result<Value, AwsError> {
    let Scene { region, ids, .. } = world.scene(call);
    let tags = tag::checked(&input.tags, &Default::default())?;
    let mut names = vec![input.domain_name.clone()];
    for name in input.subject_alternative_names {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // Source: "Quotas", ACM user guide: domain names per ACM certificate, by default.
    if names.len() > 10 {
        let message = "The certificate has more domain names than the quota of 10 allows.";
        return Err(AwsError::new("LimitExceededException", message));
    }
    let arn = call.arn("acm", &format!("certificate/{}", ids.uuid()));
    let certificate = Certificate {
        domain_name: input.domain_name,
        alternative_names: names,
        created: call.now,
        issued: None,
        tags,
    };
    region.acm.certificates.insert(arn.clone(), certificate);
    Ok(json!({"CertificateArn": arn}))
}

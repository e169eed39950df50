//! `ListCertificates`: summaries, filters, pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Certificate;
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::World;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    certificate_statuses: Option<Vec<String>>,
    #[serde(default)]
    includes: Filters,
    next_token: Option<String>,
    max_items: Option<usize>,
    sort_by: Option<String>,
    sort_order: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filters {
    key_types: Option<Vec<String>>,
    key_usage: Option<Vec<String>>,
    extended_key_usage: Option<Vec<String>>,
    export_option: Option<String>,
    managed_by: Option<String>,
}

/// "Default filtering returns only RSA_1024 and RSA_2048 certificates with at least one domain. To return other certificate
/// types, provide the desired type signatures." Source: Filters, ACM API reference.
const DEFAULT_KEY_TYPES: [&str; 2] = ["RSA_1024", "RSA_2048"];

/// "The maximum value is 1000" and what is answered without `MaxItems`. Source: ListCertificates, ACM API reference.
const PAGE: usize = 1000;

/// Names in a summary. Source: CertificateSummary, ACM API reference: "the first 100".
const NAMES: usize = 100;

impl Filters {
    fn pass(&self, certificate: &Certificate) -> bool {
        let key = certificate.key_algorithm();
        let key_type = match &self.key_types {
            Some(wanted) => wanted.iter().any(|wanted| wanted == key),
            None => DEFAULT_KEY_TYPES.contains(&key),
        };
        let issued = certificate.issued.as_ref();
        let usages = issued.map(|issued| issued.key_usages.as_slice()).unwrap_or_default();
        let extended = issued
            .map(|issued| issued.extended_key_usages.as_slice())
            .unwrap_or_default();
        let has = |wanted: &Vec<String>| wanted.iter().any(|wanted| usages.contains(&wanted.as_str()));
        let extends = |wanted: &Vec<String>| {
            wanted
                .iter()
                .any(|wanted| extended.iter().any(|(name, _)| name == wanted))
        };
        // Nothing here can be exported, and no other service manages a certificate.
        key_type
            && self.key_usage.as_ref().is_none_or(has)
            && self.extended_key_usage.as_ref().is_none_or(extends)
            && self.export_option.as_deref().is_none_or(|option| option == "DISABLED")
            && self.managed_by.is_none()
    }
}

/// `ListCertificates`.
pub(super) fn list(world: &mut World, call: &Call, input: &List) -> Result<Value, AwsError> {
    if input.sort_by.is_some() != input.sort_order.is_some() {
        let message = "SortBy and SortOrder must be specified together";
        return Err(AwsError::new("ValidationException", message));
    }
    let region = world.region(call);
    let status = |certificate: &Certificate| {
        let wanted = input.certificate_statuses.as_ref();
        wanted.is_none_or(|wanted| wanted.iter().any(|one| one == certificate.status(call.now)))
    };
    // Keys that sort as asked, and never change while pages are read.
    let mut found: Vec<(String, &String, &Certificate)> = region
        .acm
        .certificates
        .iter()
        .filter(|(_, certificate)| status(certificate) && input.includes.pass(certificate))
        .map(|(arn, certificate)| {
            (
                format!("{:020} {arn}", certificate.created.as_millisecond()),
                arn,
                certificate,
            )
        })
        .collect();
    found.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    if input.sort_order.as_deref() == Some("DESCENDING") {
        found.reverse();
    }
    if let Some(token) = &input.next_token {
        let decoded = URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let last = decoded.ok_or_else(|| AwsError::new("InvalidArgsException", "The NextToken is not valid"))?;
        let descending = input.sort_order.as_deref() == Some("DESCENDING");
        found.retain(|(key, ..)| if descending { *key < last } else { *key > last });
    }
    let size = input.max_items.unwrap_or(PAGE);
    let more = found.len() > size;
    found.truncate(size);
    let next = found
        .last()
        .filter(|_| more)
        .map(|(key, ..)| URL_SAFE_NO_PAD.encode(key));
    let summaries: Vec<Value> = found
        .into_iter()
        .map(|(_, arn, certificate)| {
            let in_use = !region.elbv2.certificate_users(arn).is_empty();
            summary(arn, certificate, in_use, call)
        })
        .collect();
    Ok(json!({"CertificateSummaryList": summaries, "NextToken": next}))
}

fn summary(arn: &str, certificate: &Certificate, in_use: bool, call: &Call) -> Value {
    let names = &certificate.alternative_names;
    let issued = certificate.issued.as_ref();
    let usages = issued.map(|issued| issued.key_usages.clone()).unwrap_or_default();
    let extended = issued
        .map(|issued| issued.extended_key_usages.as_slice())
        .unwrap_or_default();
    let extended: Vec<&str> = extended.iter().map(|(name, _)| *name).collect();
    json!({
        "CertificateArn": arn, "DomainName": certificate.domain_name,
        "SubjectAlternativeNameSummaries": names[..names.len().min(NAMES)],
        "HasAdditionalSubjectAlternativeNames": names.len() > NAMES, "Status": certificate.status(call.now),
        "Type": certificate.kind(), "KeyAlgorithm": certificate.key_algorithm(), "KeyUsages": usages,
        "ExtendedKeyUsages": extended, "InUse": in_use, "RenewalEligibility": "INELIGIBLE",
        "NotBefore": issued.map(|issued| issued.not_before.to_string()),
        "NotAfter": issued.map(|issued| issued.not_after.to_string()),
        "CreatedAt": certificate.created.to_string(), "ImportedAt": issued.map(|issued| issued.imported.to_string()),
    })
}

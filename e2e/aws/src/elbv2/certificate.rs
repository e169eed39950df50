//! Certificates of HTTPS listeners: one default, and a list from which SNI chooses.

use serde::Deserialize;
use serde_json::{Value, json};

use super::lookup::{Kind, find_mut};
use super::paging::{Page, Paging};
use super::{network, state};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::{Region, World};

/// A certificate as it comes in.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Certificate {
    certificate_arn: Option<String>,
    is_default: Option<bool>,
}

/// The one certificate that a call names, if it can be presented.
pub(super) fn one(region: &Region, given: &[Certificate]) -> Result<String, AwsError> {
    let arn = only(given)?;
    match network::certificate(region, &arn) {
        None => Err(AwsError::new(
            "CertificateNotFound",
            format!("Certificate '{arn}' not found"),
        )),
        Some(issued) if !issued => {
            let message = format!(
                "The certificate '{arn}' must have a fully-qualified domain name, a supported signature, and a supported key size."
            );
            Err(AwsError::new("UnsupportedCertificate", message))
        }
        Some(_) => Ok(arn),
    }
}

/// "You can specify one certificate per call. Set CertificateArn to the certificate ARN but do not set IsDefault."
fn only(given: &[Certificate]) -> Result<String, AwsError> {
    match given {
        [] => Err(AwsError::validation("A certificate must be specified")),
        [one] if one.is_default.is_some() => {
            Err(AwsError::validation("IsDefault cannot be specified for a certificate"))
        }
        [one] => one
            .certificate_arn
            .clone()
            .ok_or_else(|| AwsError::validation("A certificate ARN must be specified")),
        more => {
            let message = format!(
                "Up to '1' certificate ARNs can be specified, but '{}' were specified",
                more.len()
            );
            Err(AwsError::new("TooManyCertificates", message))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Change {
    listener_arn: String,
    certificates: Vec<Certificate>,
}

/// `AddListenerCertificates`.
pub(super) fn add(world: &mut World, call: &Call, input: &Change) -> Result<Value, AwsError> {
    let region = world.region(call);
    let listener = region.elbv2.listener(&input.listener_arn)?;
    if listener.protocol != "HTTPS" {
        return Err(AwsError::validation(format!(
            "Certificates cannot be specified for {} listeners",
            listener.protocol
        )));
    }
    let arn = one(region, &input.certificates)?;
    if !listener.certificate_list.contains(&arn) {
        let listeners = region.elbv2.listeners_of(&listener.load_balancer);
        let listed = |listener: &state::Listener| {
            let default = listener.certificate.as_ref();
            listener
                .certificate_list
                .iter()
                .filter(|listed| Some(*listed) != default)
                .count()
        };
        let count: usize = listeners.map(listed).sum();
        let most = region.elbv2.quota("certificates-per-application-load-balancer");
        if count >= most && listener.certificate.as_ref() != Some(&arn) {
            let message = format!(
                "The maximum number of certificates '{most}' has been reached on load balancer '{}'",
                listener.load_balancer
            );
            return Err(AwsError::new("TooManyCertificates", message));
        }
        find_mut(Kind::Listener, &mut region.elbv2.listeners, &input.listener_arn)?
            .certificate_list
            .push(arn.clone());
    }
    Ok(json!({"Certificates": [{"CertificateArn": arn, "IsDefault": false}]}))
}

/// `RemoveListenerCertificates`.
pub(super) fn remove(world: &mut World, call: &Call, input: &Change) -> Result<Value, AwsError> {
    let state = &mut world.region(call).elbv2;
    let listener = find_mut(Kind::Listener, &mut state.listeners, &input.listener_arn)?;
    let arn = only(&input.certificates)?;
    let listed = listener.certificate_list.contains(&arn);
    if !listed && listener.certificate.as_ref() == Some(&arn) {
        let message = format!(
            "The default certificate '{arn}' cannot be removed from listener '{}'",
            listener.arn
        );
        return Err(AwsError::new("OperationNotPermitted", message));
    }
    listener.certificate_list.retain(|other| *other != arn);
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    listener_arn: String,
    #[serde(flatten)]
    paging: Paging,
}

/// `DescribeListenerCertificates`: the default one, then the list, in which the default one may stand again.
pub(super) fn describe(world: &mut World, call: &Call, input: &Describe) -> Result<Value, AwsError> {
    let listener = world.region(call).elbv2.listener(&input.listener_arn)?;
    let default = listener.certificate.iter().map(|arn| (arn, true));
    let all = default.chain(listener.certificate_list.iter().map(|arn| (arn, false)));
    let keyed = all.map(|(arn, default)| (format!("{} {arn}", u8::from(!default)), (arn, default)));
    let Page { items, next } = input.paging.page(keyed.collect())?;
    let certificates = items
        .into_iter()
        .map(|(arn, default)| json!({"CertificateArn": arn, "IsDefault": default}));
    Ok(json!({"Certificates": certificates.collect::<Vec<_>>(), "NextMarker": next}))
}

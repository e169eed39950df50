//! What the flags say of the webhook.

use super::{flags::Flags, value::Check};
use std::{
    net::{Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// Seconds that a pod may go on serving: AWS' longest deregistration delay is an hour ("Deregistration delay", Application
/// Load Balancers user guide).
pub const SECONDS: RangeInclusive<u32> = 1..=3600;

/// The webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate.
    pub certificate: Certificate,
    /// `--enable-pod-readiness-gate-inject`.
    pub gates: bool,
    /// `--deregister-seconds`.
    pub seconds: u32,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Somebody else writes it to files.
    Files {
        /// The certificate and those that vouch for it.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// albacore makes it, and has the API server trust it.
    Own {
        /// Where Service and Secret are.
        namespace: String,
        /// Name of the MutatingWebhookConfiguration.
        name: String,
    },
}

impl Flags {
    /// The webhook, if a certificate for it is named; `of_pod` is this pod's namespace.
    pub(super) fn webhook(&self, of_pod: Option<&str>, check: &mut Check) -> Option<Webhook> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let port = check.number("webhook-bind-port", &self.webhook_bind_port, 0..=65_535);
        let gates = check.switch(
            "enable-pod-readiness-gate-inject",
            &self.enable_pod_readiness_gate_inject,
        );
        let seconds = check.number("deregister-seconds", &self.deregister_seconds, SECONDS);
        let certificate = match (filled(&self.webhook_name), filled(&self.webhook_cert_dir)) {
            (None, None) => return None,
            (None, Some(folder)) => Certificate::Files {
                certificate: Path::new(&folder).join(&self.webhook_cert_file),
                key: Path::new(&folder).join(&self.webhook_key_file),
            },
            (Some(name), None) => Certificate::Own {
                namespace: of_pod.map_or_else(
                    || {
                        check.wrong(format!(
                            "--webhook-name={name}: this is not a pod; give the certificate with --webhook-cert-dir"
                        ));
                        String::new()
                    },
                    str::to_owned,
                ),
                name,
            },
            (Some(name), Some(folder)) => {
                check.wrong(format!(
                    "--webhook-name={name} makes a certificate and --webhook-cert-dir={folder} has one; leave one of them out"
                ));
                return None;
            }
        };
        Some(Webhook {
            address: (Ipv6Addr::UNSPECIFIED, u16::try_from(port).unwrap_or_default()).into(),
            certificate,
            gates,
            seconds,
        })
    }
}

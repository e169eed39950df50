//! Who calls: roles and whom they trust, issuers of tokens, and the credentials that were handed out.
//!
//! ```text
//! a pod's token ─► sts: AssumeRoleWithWebIdentity ─┐ signature, audience, time ─► the role trusts it ─► Session
//!               └► pod identity agent ─────────────┘
//! call ─► access key ─► Session: known? its token? not expired? ─► service
//! ```
//! All of this is looked at while [`Options::strict_credentials`] is on; otherwise any key and any token will do.
//!
//! [`Options::strict_credentials`]: crate::Options::strict_credentials

pub mod issuer;
pub mod token;
pub mod trust;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::token::{Keys, Token};
use self::trust::{Principal, Trust};
use crate::call::{Call, Service, partition};
use crate::fault::AwsError;
use crate::ids::Ids;

/// An OpenID Connect provider of an account ("Create an OpenID Connect (OIDC) identity provider in IAM", IAM user guide):
/// the issuer of a cluster's tokens.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The issuer's URL, as in the claim `iss`.
    pub url: String,
    /// Whom tokens may be meant for (`ClientIDList`).
    pub audiences: Vec<String>,
    /// What the issuer signs with (`jwks_uri` of its discovery document).
    pub keys: Keys,
}

impl Provider {
    /// The ARN of an issuer's provider in an account: its URL without the scheme.
    pub fn arn(account: &str, url: &str) -> String {
        let name = url.strip_prefix("https://").unwrap_or(url);
        format!("arn:aws:iam::{account}:oidc-provider/{name}")
    }
}

/// A role.
#[derive(Clone, Debug)]
pub struct Role {
    /// Whom it trusts.
    pub trust: Trust,
    /// Longest life of its credentials (`MaxSessionDuration`).
    pub longest: Duration,
}

impl Role {
    /// A role with IAM's usual longest session, one hour.
    pub fn trusting(trust: Trust) -> Self {
        Role {
            trust,
            longest: Duration::from_secs(3600),
        }
    }
}

/// Credentials that were handed out.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who calls with them.
    pub arn: String,
    /// Session token that must come with the key; none for a user's own key.
    pub token: Option<String>,
    /// When they end, if ever.
    pub expiration: Option<Timestamp>,
}

/// Everything about identities; IAM is one for all regions.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// OpenID Connect providers by ARN.
    pub providers: BTreeMap<String, Provider>,
    /// Roles by ARN.
    pub roles: BTreeMap<String, Role>,
    /// EKS Pod Identity associations: cluster, namespace and ServiceAccount → role.
    pub associations: BTreeMap<(String, String, String), String>,
    /// Credentials by access key id.
    pub sessions: BTreeMap<String, Session>,
}

/// Temporary credentials, as they are given to whoever asked.
#[derive(Clone, Debug)]
pub struct Granted {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret: String,
    /// Session token.
    pub token: String,
    /// When they end.
    pub expiration: Timestamp,
    /// Account of the role.
    pub account: String,
    /// ARN of the session.
    pub arn: String,
}

impl State {
    /// ARN of whoever makes a call: the session of a role, or the only user.
    pub fn caller(&self, call: &Call) -> String {
        let session = self.sessions.get(&call.access_key);
        let user = || format!("arn:{}:iam::{}:user/double", partition(&call.region), call.account);
        session.map_or_else(user, |session| session.arn.clone())
    }

    /// Adds an OpenID Connect provider to an account; returns its ARN.
    pub fn add_provider(&mut self, account: &str, provider: Provider) -> String {
        let arn = Provider::arn(account, &provider.url);
        self.providers.insert(arn.clone(), provider);
        arn
    }

    /// Ends all sessions of a role, as deleting the role does.
    pub fn revoke(&mut self, role: &str) {
        let Some(role) = RoleArn::parse(role) else { return };
        let prefix = role.session("");
        self.sessions.retain(|_, session| !session.arn.starts_with(&prefix));
    }

    /// Whether a call's credentials are good.
    ///
    /// # Errors
    /// The service's refusal.
    pub fn admit(&self, call: &Call, token: Option<&str>) -> Result<(), AwsError> {
        // Calls that carry a token in place of a signature.
        if call.access_key.is_empty() {
            return Ok(());
        }
        let known = self.sessions.get(&call.access_key);
        let session = known.filter(|session| session.token.as_deref() == token);
        match session {
            None => Err(unknown_key(call.service)),
            Some(session) if session.expiration.is_some_and(|end| end <= call.now) => Err(expired_key(call.service)),
            Some(_) => Ok(()),
        }
    }

    /// Exchanges a token for a role, as `AssumeRoleWithWebIdentity` does; all but the credentials.
    ///
    /// # Errors
    /// What STS says. Sources: AssumeRoleWithWebIdentity, AWS STS API reference; the words are those seen in the wild.
    pub fn judge(&self, role: &str, token: &Token, now: Timestamp) -> Result<&Role, AwsError> {
        let account = RoleArn::parse(role).map_or("", |role| role.account);
        let invalid = |message: String| AwsError::new("InvalidIdentityToken", message);
        let issuer = Provider::arn(account, &token.issuer);
        let provider = self.providers.get(&issuer).ok_or_else(|| {
            invalid(format!(
                "No OpenIDConnect provider found in your account for {}",
                token.issuer
            ))
        })?;
        provider
            .keys
            .verify(token)
            .map_err(|wrong| invalid(wrong.to_string()))?;
        let audience = token.audiences.iter().find(|given| provider.audiences.contains(given));
        let audience = audience.ok_or_else(|| invalid("Incorrect token audience".to_owned()))?;
        not_expired(token, now)?;
        let name = provider.url.strip_prefix("https://").unwrap_or(&provider.url);
        let context = BTreeMap::from([
            (format!("{name}:aud"), audience.clone()),
            (format!("{name}:sub"), token.subject.clone()),
        ]);
        let operation = "sts:AssumeRoleWithWebIdentity";
        let known = self.roles.get(role);
        known
            .filter(|role| role.trust.allows(&Principal::Federated(issuer), operation, &context))
            .ok_or_else(|| {
                AwsError::new("AccessDenied", format!("Not authorized to perform {operation}")).with_status(403)
            })
    }

    /// Hands credentials of a role out.
    pub fn grant(&mut self, ids: &mut Ids, role: RoleArn<'_>, session: &str, expiration: Timestamp) -> Granted {
        let granted = Granted {
            access_key: format!("ASIA{}", ids.hex(16).to_uppercase()),
            secret: ids.hex(40),
            token: ids.hex(64),
            expiration,
            account: role.account.to_owned(),
            arn: role.session(session),
        };
        let session = Session {
            arn: granted.arn.clone(),
            token: Some(granted.token.clone()),
            expiration: Some(expiration),
        };
        self.sessions.insert(granted.access_key.clone(), session);
        granted
    }
}

impl Granted {
    /// As STS writes them.
    pub fn document(&self) -> Value {
        json!({
            "AccessKeyId": self.access_key, "SecretAccessKey": self.secret, "SessionToken": self.token,
            "Expiration": self.expiration.to_string(),
        })
    }
}

/// A role's ARN, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleArn<'a> {
    /// Partition.
    pub partition: &'a str,
    /// Account.
    pub account: &'a str,
    /// Name, without the role's path, as the ARNs of its sessions have it.
    pub name: &'a str,
}

impl<'a> RoleArn<'a> {
    /// Takes an ARN apart; none if it is not that of a role.
    pub fn parse(arn: &'a str) -> Option<Self> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, "iam", "", account, resource] = parts[..] else {
            return None;
        };
        let name = resource.strip_prefix("role/")?.rsplit('/').next()?;
        Some(RoleArn {
            partition,
            account,
            name,
        })
    }

    /// The ARN of a session of it.
    pub fn session(&self, name: &str) -> String {
        let (partition, account) = (self.partition, self.account);
        format!("arn:{partition}:sts::{account}:assumed-role/{}/{name}", self.name)
    }
}

/// A token serves until it ends.
///
/// # Errors
/// It has ended.
pub fn not_expired(token: &Token, now: Timestamp) -> Result<(), AwsError> {
    let now = now.as_second();
    if now < token.expires {
        return Ok(());
    }
    let message = format!(
        "Token expired: current date/time {now} must be before the expiration date/time {}",
        token.expires
    );
    Err(AwsError::new("ExpiredTokenException", message))
}

/// How each service refuses an access key it does not know. Sources: "Common errors" of each API reference; "Error codes for
/// the Amazon EC2 API".
fn unknown_key(service: Service) -> AwsError {
    let invalid = "The security token included in the request is invalid.";
    match service {
        Service::Ec2 => {
            let message = "AWS was not able to validate the provided access credentials";
            AwsError::new("AuthFailure", message).with_status(401)
        }
        Service::Acm | Service::Tagging => AwsError::new("UnrecognizedClientException", invalid),
        Service::Elbv2 | Service::Sts => AwsError::new("InvalidClientTokenId", invalid).with_status(403),
    }
}

/// How each service refuses credentials that have ended.
fn expired_key(service: Service) -> AwsError {
    let expired = "The security token included in the request is expired";
    match service {
        Service::Ec2 => AwsError::new("RequestExpired", "Request has expired."),
        Service::Acm | Service::Tagging => AwsError::new("ExpiredTokenException", expired),
        Service::Elbv2 | Service::Sts => AwsError::new("ExpiredToken", expired).with_status(403),
    }
}

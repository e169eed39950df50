//! Ids: what they name, and what EC2 says when they name nothing.

use std::collections::BTreeMap;

use super::state::State;
use crate::fault::AwsError;

/// What an id can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Vpc,
    Subnet,
    RouteTable,
    InternetGateway,
    SecurityGroup,
    SecurityGroupRule,
    Instance,
    Interface,
    Address,
    PrefixList,
}

/// How EC2 speaks of a kind.
struct Words {
    /// Before the dash of an id.
    prefix: &'static str,
    /// In tag specifications.
    resource_type: &'static str,
    /// Codes. Source: "Error codes for the Amazon EC2 API".
    missing: &'static str,
    malformed: &'static str,
    /// In messages.
    noun: &'static str,
}

const fn words(
    prefix: &'static str,
    resource_type: &'static str,
    missing: &'static str,
    malformed: &'static str,
    noun: &'static str,
) -> Words {
    Words {
        prefix,
        resource_type,
        missing,
        malformed,
        noun,
    }
}

impl Kind {
    const ALL: [Kind; 10] = [
        Kind::Vpc,
        Kind::Subnet,
        Kind::RouteTable,
        Kind::InternetGateway,
        Kind::SecurityGroup,
        Kind::SecurityGroupRule,
        Kind::Instance,
        Kind::Interface,
        Kind::Address,
        Kind::PrefixList,
    ];

    #[rustfmt::skip]
    const fn words(self) -> Words {
        match self {
            Kind::Vpc => words("vpc", "vpc", "InvalidVpcID.NotFound", "InvalidVpcID.Malformed", "vpc ID"),
            Kind::Subnet => words("subnet", "subnet", "InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed", "subnet ID"),
            Kind::RouteTable => words("rtb", "route-table", "InvalidRouteTableID.NotFound", "InvalidRouteTableId.Malformed", "routeTable ID"),
            Kind::InternetGateway => words("igw", "internet-gateway", "InvalidInternetGatewayID.NotFound", "InvalidInternetGatewayId.Malformed", "internetGateway ID"),
            Kind::SecurityGroup => words("sg", "security-group", "InvalidGroup.NotFound", "InvalidGroupId.Malformed", "security group"),
            Kind::SecurityGroupRule => words("sgr", "security-group-rule", "InvalidSecurityGroupRuleId.NotFound", "InvalidSecurityGroupRuleId.Malformed", "security group rule ID"),
            Kind::Instance => words("i", "instance", "InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed", "instance ID"),
            Kind::Interface => words("eni", "network-interface", "InvalidNetworkInterfaceID.NotFound", "InvalidNetworkInterfaceId.Malformed", "networkInterface ID"),
            Kind::Address => words("eipalloc", "elastic-ip", "InvalidAllocationID.NotFound", "InvalidAllocationID.NotFound", "allocation ID"),
            Kind::PrefixList => words("pl", "prefix-list", "InvalidPrefixListID.NotFound", "InvalidPrefixListId.Malformed", "prefix list ID"),
        }
    }

    /// What an id seems to name, by its prefix.
    pub fn of(id: &str) -> Option<Kind> {
        let prefix = id.split_once('-')?.0;
        Kind::ALL.into_iter().find(|kind| kind.words().prefix == prefix)
    }

    /// The kind's name in tag specifications and `DescribeTags`.
    pub fn resource_type(self) -> &'static str {
        self.words().resource_type
    }

    /// The error for an id that names nothing of this kind: it is malformed, or there is no such thing.
    pub fn missing(self, id: &str) -> AwsError {
        let words = self.words();
        match id.strip_prefix(words.prefix).and_then(|rest| rest.strip_prefix('-')) {
            None => AwsError::new(
                words.malformed,
                format!("Invalid id: \"{id}\" (expecting \"{}-...\")", words.prefix),
            ),
            Some(digits) if !is_hexadecimal(digits) => AwsError::new(words.malformed, format!("Invalid id: \"{id}\"")),
            Some(_) => AwsError::new(words.missing, format!("The {} '{id}' does not exist", words.noun)),
        }
    }

    /// Refuses an id that names nothing of this kind.
    pub fn check(self, state: &State, id: &str) -> Result<(), AwsError> {
        if state.contains(self, id) {
            Ok(())
        } else {
            Err(self.missing(id))
        }
    }

    /// What `id` names in a collection of this kind.
    pub fn get<'a, T>(self, all: &'a BTreeMap<String, T>, id: &str) -> Result<&'a T, AwsError> {
        all.get(id).ok_or_else(|| self.missing(id))
    }

    /// What `id` names in a collection of this kind, to be changed.
    pub fn get_mut<'a, T>(self, all: &'a mut BTreeMap<String, T>, id: &str) -> Result<&'a mut T, AwsError> {
        all.get_mut(id).ok_or_else(|| self.missing(id))
    }
}

/// Ids have 8 or 17 hexadecimal digits. Source: "Resource IDs", Amazon EC2 user guide.
fn is_hexadecimal(digits: &str) -> bool {
    matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `DependencyViolation`: something else still needs the resource.
pub(super) fn in_use(message: String) -> AwsError {
    AwsError::new("DependencyViolation", message)
}

/// `InvalidParameterValue`.
pub(super) fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterValue", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_names_nothing_is_malformed_or_missing() {
        let code = |kind: Kind, id: &str| kind.missing(id).code;
        assert_eq!(
            code(Kind::Subnet, "subnet-0123456789abcdef0"),
            "InvalidSubnetID.NotFound"
        );
        assert_eq!(code(Kind::Subnet, "subnet-0123abcd"), "InvalidSubnetID.NotFound");
        assert_eq!(code(Kind::Subnet, "subnet-012"), "InvalidSubnetID.Malformed");
        assert_eq!(
            Kind::SecurityGroup.missing("web").to_string(),
            "InvalidGroupId.Malformed: Invalid id: \"web\" (expecting \"sg-...\")"
        );
        assert_eq!(Kind::of("sgr-0123456789abcdef0"), Some(Kind::SecurityGroupRule));
        assert_eq!(Kind::of("vol-0123456789abcdef0"), None);
    }
}

//! The addresses of a subnet: how many are free, which ones, and why one cannot be had.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::lookup::Kind;
use super::state::{State, Subnet};
use crate::fault::AwsError;

/// "The first four IP addresses and the last IP address in each subnet CIDR block are not available for your use."
/// Source: "Subnet CIDR blocks", Amazon VPC user guide.
const RESERVED_FIRST: u32 = 4;
const RESERVED: usize = 5;

impl State {
    /// `AvailableIpAddressCount` of a subnet.
    pub fn free_addresses(&self, subnet: &str) -> usize {
        let Some(found) = self.subnet(subnet) else { return 0 };
        let size = 1_usize << (32 - u32::from(found.cidr.prefix_len()));
        let used: usize = self
            .interfaces_of(subnet)
            .map(|interface| {
                let delegated = interface.prefixes.iter().map(|net| 1_usize << (32 - net.prefix_len()));
                interface.addresses.len() + delegated.sum::<usize>()
            })
            .sum();
        size.saturating_sub(RESERVED + used)
    }

    /// Whether an address of a subnet is taken by an interface.
    fn is_taken(&self, subnet: &str, address: Ipv4Addr) -> bool {
        self.interfaces_of(subnet).any(|interface| {
            interface.addresses.contains(&address) || interface.prefixes.iter().any(|net| net.contains(&address))
        })
    }

    /// Refuses an address that an interface in a subnet cannot have.
    pub(super) fn check_address(&self, id: &str, subnet: &Subnet, address: Ipv4Addr) -> Result<(), AwsError> {
        let invalid = |message: &str| Err(AwsError::new("InvalidParameterValue", message));
        if !subnet.cidr.contains(&address) {
            return invalid("Address does not fall within the subnet's address range");
        }
        let offset = u32::from(address) - u32::from(subnet.cidr.network());
        if offset < RESERVED_FIRST || address == subnet.cidr.broadcast() {
            return invalid("Address is in subnet's reserved address range");
        }
        if self.is_taken(id, address) {
            return Err(AwsError::new(
                "InvalidIPAddress.InUse",
                format!("Address {address} is in use."),
            ));
        }
        Ok(())
    }

    /// The lowest `count` free addresses of a subnet that are not among `wanted`.
    pub(super) fn pick_addresses(
        &self,
        id: &str,
        count: usize,
        wanted: &[Ipv4Addr],
    ) -> Result<Vec<Ipv4Addr>, AwsError> {
        let short = || {
            let message = "The specified subnet does not have enough free addresses to satisfy the request.";
            AwsError::new("InsufficientFreeAddressesInSubnet", message)
        };
        let subnet = self.subnet(id).ok_or_else(|| Kind::Subnet.missing(id))?;
        let taken: BTreeSet<Ipv4Addr> = self
            .interfaces_of(id)
            .flat_map(|interface| {
                let delegated = interface.prefixes.iter().flat_map(|net| net.hosts());
                interface.addresses.iter().copied().chain(delegated)
            })
            .chain(wanted.iter().copied())
            .collect();
        let (first, last) = (u32::from(subnet.cidr.network()), u32::from(subnet.cidr.broadcast()));
        let free: Vec<Ipv4Addr> = (first + RESERVED_FIRST..last)
            .map(Ipv4Addr::from)
            .filter(|address| !taken.contains(address))
            .take(count)
            .collect();
        if free.len() < count { Err(short()) } else { Ok(free) }
    }

    /// The lowest `count` free IPv6 addresses of a subnet.
    pub(super) fn pick_ipv6(&self, id: &str, count: usize) -> Result<Vec<Ipv6Addr>, AwsError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let subnet = self.subnet(id).ok_or_else(|| Kind::Subnet.missing(id))?;
        let Some((_, net)) = &subnet.ipv6 else {
            let message = format!("The subnet '{id}' does not have an IPv6 CIDR block");
            return Err(AwsError::new("InvalidParameterValue", message));
        };
        let first = u128::from(net.network()) + u128::from(RESERVED_FIRST);
        let free = (first..)
            .map(Ipv6Addr::from)
            .filter(|address| !self.interfaces_of(id).any(|other| other.ipv6.contains(address)));
        Ok(free.take(count).collect())
    }
}

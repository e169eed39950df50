"""boto3 against the AWS double: one of everything is created, read back, changed and deleted; error codes are checked.

Run by main.rs, which starts the double. DOUBLE_URL is its address, DOUBLE_CERTIFICATES a folder of certificates and keys.
"""
import contextlib
import os
import pathlib
import unittest

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

REGION = "eu-west-1"
CERTIFICATES = pathlib.Path(os.environ["DOUBLE_CERTIFICATES"])


def client(service, region=REGION):
    return boto3.client(
        service,
        endpoint_url=os.environ["DOUBLE_URL"],
        region_name=region,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )


ec2, elbv2, acm, sts = (client(service) for service in ("ec2", "elbv2", "acm", "sts"))


def pem(name):
    return (CERTIFICATES / name).read_bytes()


def tags(**values):
    return [{"Key": key, "Value": value} for key, value in sorted(values.items())]


def filters(**values):
    return [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in values.items()]


class Case(unittest.TestCase):
    maxDiff = None

    @contextlib.contextmanager
    def refused(self, code):
        with self.assertRaises(ClientError) as caught:
            yield
        self.assertEqual(caught.exception.response["Error"]["Code"], code, caught.exception)

    def network(self):
        """A VPC with an internet gateway and a subnet in each of two zones."""
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=REGION + zone)["Subnet"]["SubnetId"]
            for n, zone in enumerate("ab")
        ]
        self.addCleanup(self.remove_network, vpc, gateway, subnets)
        return vpc, subnets

    def remove_network(self, vpc, gateway, subnets):
        for subnet in subnets:
            ec2.delete_subnet(SubnetId=subnet)
        ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        ec2.delete_internet_gateway(InternetGatewayId=gateway)
        for group in ec2.describe_security_groups(Filters=filters(vpc_id=vpc))["SecurityGroups"]:
            if group["GroupName"] != "default":
                ec2.delete_security_group(GroupId=group["GroupId"])
        ec2.delete_vpc(VpcId=vpc)
        with self.refused("InvalidVpcID.NotFound"):
            ec2.describe_vpcs(VpcIds=[vpc])


class Network(Case):
    def test_vpc(self):
        vpc = ec2.create_vpc(CidrBlock="10.1.2.3/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": tags(Name="one")}])["Vpc"]
        self.assertEqual((vpc["CidrBlock"], vpc["Tags"]), ("10.1.0.0/16", tags(Name="one")))
        id = vpc["VpcId"]
        ec2.modify_vpc_attribute(VpcId=id, EnableDnsHostnames={"Value": True})
        self.assertTrue(ec2.describe_vpc_attribute(VpcId=id, Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"])
        self.assertEqual([v["VpcId"] for v in ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["o?e"]}])["Vpcs"]], [id])
        block = ec2.associate_vpc_cidr_block(VpcId=id, AmazonProvidedIpv6CidrBlock=True)["Ipv6CidrBlockAssociation"]["Ipv6CidrBlock"]
        self.assertTrue(block.endswith("/56"), block)
        # What comes with it.
        [table] = ec2.describe_route_tables(Filters=filters(vpc_id=id))["RouteTables"]
        self.assertTrue(table["Associations"][0]["Main"])
        self.assertEqual([r["GatewayId"] for r in table["Routes"]], ["local", "local"])
        [group] = ec2.describe_security_groups(Filters=filters(vpc_id=id))["SecurityGroups"]
        self.assertEqual(group["GroupName"], "default")
        self.assertEqual(group["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"], group["GroupId"])
        with self.refused("CannotDelete"):
            ec2.delete_security_group(GroupId=group["GroupId"])
        # Subnets.
        subnet = ec2.create_subnet(VpcId=id, CidrBlock="10.1.1.0/28", AvailabilityZoneId="euw1-az2")["Subnet"]
        self.assertEqual((subnet["AvailabilityZone"], subnet["AvailableIpAddressCount"]), (REGION + "b", 11))
        for cidr, code in (
            ("10.1.1.0/24", "InvalidSubnet.Conflict"),
            ("10.2.0.0/24", "InvalidSubnet.Range"),
            ("10.1.3.0/29", "InvalidSubnet.Range"),
            ("ten", "InvalidParameterValue"),
        ):
            with self.refused(code):
                ec2.create_subnet(VpcId=id, CidrBlock=cidr)
        with self.refused("InvalidParameterValue"):
            ec2.create_subnet(VpcId=id, CidrBlock="10.1.4.0/24", AvailabilityZone="eu-west-1q")
        ec2.associate_subnet_cidr_block(SubnetId=subnet["SubnetId"], Ipv6CidrBlock=block.replace("/56", "/64"))
        ec2.modify_subnet_attribute(SubnetId=subnet["SubnetId"], MapPublicIpOnLaunch={"Value": True})
        [found] = ec2.describe_subnets(SubnetIds=[subnet["SubnetId"]])["Subnets"]
        self.assertTrue(found["MapPublicIpOnLaunch"])
        self.assertEqual(found["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlockState"]["State"], "associated")
        with self.refused("DependencyViolation"):
            ec2.delete_vpc(VpcId=id)
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        ec2.delete_vpc(VpcId=id)
        with self.refused("InvalidVpcID.NotFound"):
            ec2.delete_vpc(VpcId=id)
        for call, code in (
            (lambda: ec2.describe_subnets(SubnetIds=[subnet["SubnetId"]]), "InvalidSubnetID.NotFound"),
            (lambda: ec2.describe_subnets(SubnetIds=["net-1"]), "InvalidSubnetID.Malformed"),
            (lambda: ec2.create_vpc(CidrBlock="10.0.0.0/8"), "InvalidVpc.Range"),
            (lambda: ec2.create_subnet(CidrBlock="10.0.0.0/24"), "MissingParameter"),
            (lambda: ec2.describe_vpcs(Filters=filters(colour="red")), None),
            (lambda: ec2.describe_availability_zones(ZoneNames=["mars-1a"]), "InvalidParameterValue"),
        ):
            if code:
                with self.refused(code):
                    call()
        self.assertEqual(len(client("ec2", "us-east-1").describe_availability_zones()["AvailabilityZones"]), 6)
        self.assertEqual(client("ec2", "us-east-1").describe_vpcs()["Vpcs"], [], "regions are kept apart")

    def test_routes(self):
        vpc, subnets = self.network()
        [gateway] = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}])["InternetGateways"]
        gateway = gateway["InternetGatewayId"]
        with self.refused("Resource.AlreadyAssociated"):
            ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        with self.refused("DependencyViolation"):
            ec2.delete_internet_gateway(InternetGatewayId=gateway)
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        with self.refused("RouteAlreadyExists"):
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        with self.refused("InvalidGatewayID.NotFound"):
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="1.0.0.0/8", GatewayId="igw-0123456789abcdef0")
        association = ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[0])["AssociationId"]
        self.assertEqual(ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[0])["AssociationId"], association)
        [found] = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [subnets[0]]}])["RouteTables"]
        self.assertEqual(found["RouteTableId"], table)
        self.assertEqual([r["State"] for r in found["Routes"]], ["active", "active"])
        with self.refused("DependencyViolation"):
            ec2.delete_route_table(RouteTableId=table)
        ec2.disassociate_route_table(AssociationId=association)
        with self.refused("InvalidAssociationID.NotFound"):
            ec2.disassociate_route_table(AssociationId=association)
        ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
        with self.refused("InvalidRoute.NotFound"):
            ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
        ec2.delete_route_table(RouteTableId=table)
        with self.refused("InvalidRouteTableID.NotFound"):
            ec2.describe_route_tables(RouteTableIds=[table])

    def test_security_group(self):
        vpc, _ = self.network()
        create = lambda name: ec2.create_security_group(GroupName=name, Description="of a test", VpcId=vpc)["GroupId"]
        web, front = create("web"), create("front")
        with self.refused("InvalidGroup.Duplicate"):
            create("web")
        with self.refused("InvalidParameterValue"):
            create("sg-web")
        rules = [
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
            {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8090, "UserIdGroupPairs": [{"GroupId": front, "Description": "from front"}]},
        ]
        made = ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=rules)
        self.assertEqual([len(made["SecurityGroupRules"]), made["Return"]], [3, True])
        with self.refused("InvalidPermission.Duplicate"):
            ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=rules[1:])
        [group] = ec2.describe_security_groups(GroupIds=[web])["SecurityGroups"]
        self.assertEqual(group["IpPermissions"][0]["IpRanges"], [{"CidrIp": "0.0.0.0/0", "Description": "all"}])
        self.assertEqual(group["IpPermissions"][1]["UserIdGroupPairs"][0], {"GroupId": front, "UserId": "123456789012", "Description": "from front"})
        self.assertEqual(group["IpPermissionsEgress"][0]["IpProtocol"], "-1")
        self.assertNotIn("FromPort", group["IpPermissionsEgress"][0])
        with self.refused("DependencyViolation"):
            ec2.delete_security_group(GroupId=front)
        ec2.update_security_group_rule_descriptions_ingress(
            GroupId=web, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "everybody"}]}]
        )
        listed = ec2.describe_security_group_rules(Filters=filters(group_id=web))["SecurityGroupRules"]
        self.assertIn("everybody", [rule.get("Description") for rule in listed])
        rule = made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
        ec2.modify_security_group_rules(
            GroupId=web,
            SecurityGroupRules=[{"SecurityGroupRuleId": rule, "SecurityGroupRule": {"IpProtocol": "tcp", "FromPort": 81, "ToPort": 81, "CidrIpv4": "10.0.0.0/8"}}],
        )
        [changed] = ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule])["SecurityGroupRules"]
        self.assertEqual((changed["FromPort"], changed["CidrIpv4"]), (81, "10.0.0.0/8"))
        ec2.revoke_security_group_ingress(GroupId=web, IpPermissions=rules[1:])
        with self.refused("InvalidPermission.NotFound"):
            ec2.revoke_security_group_ingress(GroupId=web, IpPermissions=rules[1:])
        ec2.revoke_security_group_ingress(GroupId=web, SecurityGroupRuleIds=[rule])
        ec2.revoke_security_group_egress(GroupId=web, IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
        ec2.authorize_security_group_egress(GroupId=web, IpPermissions=[{"IpProtocol": "6", "FromPort": 1, "ToPort": 2, "IpRanges": [{"CidrIp": "10.0.0.1/8"}]}])
        [group] = ec2.describe_security_groups(Filters=[{"Name": "egress.ip-permission.cidr", "Values": ["10.0.0.0/8"]}])["SecurityGroups"]
        self.assertEqual((group["GroupId"], group["IpPermissionsEgress"][0]["IpProtocol"]), (web, "tcp"))
        lists = ec2.create_managed_prefix_list(PrefixListName="offices", MaxEntries=5, AddressFamily="IPv4", Entries=[{"Cidr": "192.0.2.0/24"}])
        prefixes = lists["PrefixList"]["PrefixListId"]
        ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=[{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": prefixes}]}])
        with self.refused("DependencyViolation"):
            ec2.delete_managed_prefix_list(PrefixListId=prefixes)
        with self.refused("RulesPerSecurityGroupLimitExceeded"):
            ranges = [{"CidrIp": f"10.0.{n}.0/24"} for n in range(56)]
            ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=[{"IpProtocol": "-1", "IpRanges": ranges}])
        ec2.delete_security_group(GroupId=web)
        ec2.delete_managed_prefix_list(PrefixListId=prefixes)
        ec2.delete_security_group(GroupId=front)
        with self.refused("InvalidGroup.NotFound"):
            ec2.describe_security_groups(GroupIds=[front])
        with self.refused("InvalidGroupId.Malformed"):
            ec2.describe_security_groups(GroupIds=["front"])

    def test_pages(self):
        vpc, _ = self.network()
        for n in range(12):
            ec2.create_security_group(GroupName=f"group-{n}", Description="one of many", VpcId=vpc)
        pages = list(ec2.get_paginator("describe_security_groups").paginate(Filters=filters(vpc_id=vpc), PaginationConfig={"PageSize": 5}))
        self.assertEqual([len(page["SecurityGroups"]) for page in pages], [5, 5, 3])
        self.assertEqual(len({group["GroupId"] for page in pages for group in page["SecurityGroups"]}), 13)
        with self.refused("InvalidParameterValue"):
            ec2.describe_security_groups(MaxResults=4)

    def test_tags(self):
        vpc, subnets = self.network()
        ec2.create_tags(Resources=subnets, Tags=tags(a="1", b=""))
        ec2.create_tags(Resources=subnets[:1], Tags=tags(a="2"))
        ec2.delete_tags(Resources=subnets, Tags=[{"Key": "a", "Value": "1"}])
        found = ec2.describe_tags(Filters=filters(resource_type="subnet"))["Tags"]
        self.assertEqual(
            sorted((tag["ResourceId"] == subnets[0], tag["Key"], tag["Value"]) for tag in found),
            [(False, "b", ""), (True, "a", "2"), (True, "b", "")],
        )
        with self.refused("InvalidParameterValue"):
            ec2.create_tags(Resources=subnets, Tags=tags(**{"aws:x": "1"}))
        with self.refused("InvalidSubnetID.NotFound"):
            ec2.create_tags(Resources=["subnet-0123456789abcdef0"], Tags=tags(a="1"))
        with self.refused("TagLimitExceeded"):
            ec2.create_tags(Resources=subnets, Tags=tags(**{f"k{n}": "v" for n in range(50)}))

    def test_instance_and_interface(self):
        vpc, subnets = self.network()
        image = ec2.describe_images()["Images"][0]["ImageId"]
        group = ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=vpc)["GroupId"]
        free = lambda: ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["AvailableIpAddressCount"]
        self.assertEqual(free(), 251)
        launched = ec2.run_instances(
            ImageId=image, MinCount=2, MaxCount=2, InstanceType="m5.large",
            NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnets[0], "Groups": [group], "SecondaryPrivateIpAddressCount": 3}],
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags(Name="node")}],
        )
        first, second = (instance["InstanceId"] for instance in launched["Instances"])
        self.assertEqual((launched["Instances"][0]["State"]["Name"], free()), ("pending", 243))
        [reservation] = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["node"]}, {"Name": "instance-state-name", "Values": ["running"]}])["Reservations"]
        self.assertEqual({instance["InstanceId"] for instance in reservation["Instances"]}, {first, second})
        [interface] = ec2.describe_network_interfaces(Filters=[{"Name": "attachment.instance-id", "Values": [first]}])["NetworkInterfaces"]
        id = interface["NetworkInterfaceId"]
        self.assertEqual((len(interface["PrivateIpAddresses"]), interface["Groups"]), (4, [{"GroupId": group, "GroupName": "nodes"}]))
        ec2.assign_private_ip_addresses(NetworkInterfaceId=id, PrivateIpAddresses=["10.0.0.100", "10.0.0.101"])
        [found] = ec2.describe_network_interfaces(Filters=[{"Name": "addresses.private-ip-address", "Values": ["10.0.0.101"]}])["NetworkInterfaces"]
        self.assertEqual(found["NetworkInterfaceId"], id)
        with self.refused("InvalidIPAddress.InUse"):
            ec2.create_network_interface(SubnetId=subnets[0], PrivateIpAddress="10.0.0.100")
        with self.refused("InvalidParameterValue"):
            ec2.delete_network_interface(NetworkInterfaceId=id)
        with self.refused("DependencyViolation"):
            ec2.delete_security_group(GroupId=group)
        with self.refused("DependencyViolation"):
            ec2.delete_subnet(SubnetId=subnets[0])
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=id, PrivateIpAddresses=["10.0.0.100"])
        [default] = ec2.describe_security_groups(Filters=filters(vpc_id=vpc, group_name="default"))["SecurityGroups"]
        ec2.modify_network_interface_attribute(NetworkInterfaceId=id, Groups=[default["GroupId"]])
        self.assertEqual(ec2.describe_instances(InstanceIds=[first])["Reservations"][0]["Instances"][0]["SecurityGroups"][0]["GroupName"], "default")
        self.assertEqual(ec2.stop_instances(InstanceIds=[second])["StoppingInstances"][0]["CurrentState"]["Name"], "stopping")
        ec2.start_instances(InstanceIds=[second])
        for ids, code in (([first, "i-0123456789abcdef0"], "InvalidInstanceID.NotFound"), (["node"], "InvalidInstanceID.Malformed")):
            with self.refused(code):
                ec2.describe_instances(InstanceIds=ids)
        with self.refused("DryRunOperation"):
            ec2.terminate_instances(InstanceIds=[first, second], DryRun=True)
        ec2.terminate_instances(InstanceIds=[first, second])
        self.assertEqual((free(), ec2.describe_network_interfaces()["NetworkInterfaces"]), (251, []))
        [gone] = ec2.describe_instances(InstanceIds=[first])["Reservations"][0]["Instances"]
        self.assertEqual(gone["State"], {"Code": 48, "Name": "terminated"})
        # An interface of nobody.
        made = ec2.create_network_interface(SubnetId=subnets[1], Description="spare", PrivateIpAddress="10.0.1.9")["NetworkInterface"]["NetworkInterfaceId"]
        [found] = ec2.describe_network_interfaces(Filters=filters(private_ip_address="10.0.1.9", description="sp*"))["NetworkInterfaces"]
        self.assertEqual((found["Status"], found["NetworkInterfaceId"]), ("available", made))
        ec2.delete_network_interface(NetworkInterfaceId=made)
        with self.refused("InvalidNetworkInterfaceID.NotFound"):
            ec2.describe_network_interfaces(NetworkInterfaceIds=[made])
        with self.refused("InvalidParameterValue"):
            ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnets[0], PrivateIpAddress="10.0.0.255")

    def test_address(self):
        made = ec2.allocate_address(Domain="vpc")["AllocationId"]
        self.assertEqual([a["AllocationId"] for a in ec2.describe_addresses()["Addresses"]], [made])
        ec2.release_address(AllocationId=made)
        with self.refused("InvalidAllocationID.NotFound"):
            ec2.release_address(AllocationId=made)


class Certificates(Case):
    def test_certificate(self):
        arn = acm.import_certificate(Certificate=pem("rsa.crt"), PrivateKey=pem("rsa.key"), Tags=tags(team="a"))["CertificateArn"]
        detail = acm.describe_certificate(CertificateArn=arn)["Certificate"]
        self.assertEqual(
            [detail[key] for key in ("DomainName", "SubjectAlternativeNames", "Status", "Type", "KeyAlgorithm", "InUseBy")],
            ["example.com", ["example.com", "www.example.com"], "ISSUED", "IMPORTED", "RSA_2048", []],
        )
        self.assertEqual(detail["NotAfter"].year, 2090)
        self.assertEqual(acm.get_certificate(CertificateArn=arn)["Certificate"].encode(), pem("rsa.crt"))
        ec = acm.import_certificate(Certificate=pem("ec.crt"), PrivateKey=pem("ec.key"))["CertificateArn"]
        listed = lambda **how: {summary["CertificateArn"] for summary in acm.list_certificates(**how)["CertificateSummaryList"]}
        self.assertEqual(listed(), {arn}, "without key types only RSA_1024 and RSA_2048 are listed")
        self.assertEqual(listed(Includes={"keyTypes": ["RSA_2048", "EC_prime256v1"]}, CertificateStatuses=["ISSUED"]), {arn, ec})
        self.assertEqual(listed(CertificateStatuses=["EXPIRED"]), set())
        pages = acm.get_paginator("list_certificates").paginate(
            Includes={"keyTypes": ["RSA_2048", "EC_prime256v1"]}, PaginationConfig={"PageSize": 1}
        )
        self.assertEqual([len(page["CertificateSummaryList"]) for page in pages], [1, 1])
        acm.add_tags_to_certificate(CertificateArn=arn, Tags=tags(team="b", more="x"))
        acm.remove_tags_from_certificate(CertificateArn=arn, Tags=[{"Key": "more"}])
        self.assertEqual(acm.list_tags_for_certificate(CertificateArn=arn)["Tags"], tags(team="b"))
        acm.import_certificate(CertificateArn=arn, Certificate=pem("ec.crt"), PrivateKey=pem("ec.key"))
        self.assertEqual(acm.describe_certificate(CertificateArn=arn)["Certificate"]["DomainName"], "ec.example.com")
        for certificate, key in (("rsa.crt", "ec.key"), ("expired.crt", "expired.key"), ("rsa.key", "rsa.key"), ("rsa.crt", "rsa.crt")):
            with self.refused("ValidationException"):
                acm.import_certificate(Certificate=pem(certificate), PrivateKey=pem(key))
        with self.refused("ValidationException"):
            acm.import_certificate(Certificate=pem("rsa.crt"), PrivateKey=pem("rsa.key"), CertificateChain=pem("ec.crt"))
        pending = acm.request_certificate(DomainName="new.example.com", ValidationMethod="DNS")["CertificateArn"]
        self.assertEqual(acm.describe_certificate(CertificateArn=pending)["Certificate"]["Status"], "PENDING_VALIDATION")
        with self.refused("RequestInProgressException"):
            acm.get_certificate(CertificateArn=pending)
        for one in (arn, ec, pending):
            acm.delete_certificate(CertificateArn=one)
        with self.refused("ResourceNotFoundException"):
            acm.describe_certificate(CertificateArn=arn)
        with self.refused("InvalidArnException"):
            acm.describe_certificate(CertificateArn="arn:aws:acm:eu-west-1:123456789012:key/x")
        with self.refused("ValidationException"):
            acm.describe_certificate(CertificateArn="certificate")


class Identity(Case):
    def test_identity(self):
        self.assertEqual(sts.get_caller_identity()["Account"], "123456789012")
        role = sts.assume_role(RoleArn="arn:aws:iam::210987654321:role/deploy", RoleSessionName="me")
        self.assertEqual(role["AssumedRoleUser"]["Arn"], "arn:aws:sts::210987654321:assumed-role/deploy/me")
        with self.refused("InvalidIdentityToken"):
            sts.assume_role_with_web_identity(RoleArn="arn:aws:iam::210987654321:role/deploy", RoleSessionName="me", WebIdentityToken="none")


class LoadBalancers(Case):
    def target_group(self, name, vpc):
        group = elbv2.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip")["TargetGroups"][0]
        self.addCleanup(elbv2.delete_target_group, TargetGroupArn=group["TargetGroupArn"])
        return group["TargetGroupArn"]

    def test_load_balancer(self):
        vpc, subnets = self.network()
        with self.refused("ValidationError"):
            elbv2.create_load_balancer(Name="web", Subnets=subnets[:1])
        with self.refused("SubnetNotFound"):
            elbv2.create_load_balancer(Name="web", Subnets=["subnet-0123456789abcdef0", subnets[0]])
        group = ec2.create_security_group(GroupName="alb", Description="of the load balancer", VpcId=vpc)["GroupId"]
        made = elbv2.create_load_balancer(Name="web", Subnets=subnets, SecurityGroups=[group], Tags=tags(a="1"))["LoadBalancers"][0]
        arn = made["LoadBalancerArn"]
        self.assertEqual(elbv2.describe_load_balancers(Names=["web"])["LoadBalancers"][0]["State"]["Code"], "active")
        again = elbv2.create_load_balancer(Name="web", Subnets=subnets, SecurityGroups=[group], Tags=tags(a="1"))
        self.assertEqual(again["LoadBalancers"][0]["LoadBalancerArn"], arn)
        with self.refused("DuplicateLoadBalancerName"):
            elbv2.create_load_balancer(Name="web", Subnets=subnets, Scheme="internal")
        # Its network interfaces.
        found = ec2.describe_network_interfaces(Filters=filters(description="ELB app/web/*", group_id=group))["NetworkInterfaces"]
        self.assertEqual({interface["SubnetId"] for interface in found}, set(subnets))
        self.assertEqual((found[0]["RequesterManaged"], found[0]["Attachment"]["InstanceOwnerId"]), (True, "amazon-elb"))
        with self.refused("DependencyViolation"):
            ec2.delete_security_group(GroupId=group)
        with self.refused("OperationNotPermitted"):
            ec2.modify_network_interface_attribute(NetworkInterfaceId=found[0]["NetworkInterfaceId"], Groups=[group])
        # Attributes and tags.
        changed = elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "61"}])
        self.assertIn({"Key": "idle_timeout.timeout_seconds", "Value": "61"}, changed["Attributes"])
        attributes = elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
        self.assertIn({"Key": "idle_timeout.timeout_seconds", "Value": "61"}, attributes)
        elbv2.add_tags(ResourceArns=[arn], Tags=tags(b="2"))
        elbv2.remove_tags(ResourceArns=[arn], TagKeys=["a"])
        self.assertEqual(elbv2.describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"], tags(b="2"))
        # Target groups and targets.
        one, two = self.target_group("one", vpc), self.target_group("two", vpc)
        with self.refused("TargetGroupNotFound"):
            elbv2.describe_target_groups(Names=["three"])
        elbv2.modify_target_group(TargetGroupArn=one, HealthCheckPath="/health")
        self.assertEqual(elbv2.describe_target_groups(Names=["one"])["TargetGroups"][0]["HealthCheckPath"], "/health")
        elbv2.modify_target_group_attributes(TargetGroupArn=one, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}])
        elbv2.register_targets(TargetGroupArn=one, Targets=[{"Id": "10.0.0.50", "Port": 8080}])
        health = lambda: [t["TargetHealth"]["State"] for t in elbv2.describe_target_health(TargetGroupArn=one)["TargetHealthDescriptions"]]
        self.assertEqual(health(), ["unused"])
        # Listeners, certificates, rules.
        forward = lambda group: [{"Type": "forward", "TargetGroupArn": group}]
        http = elbv2.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=forward(one))["Listeners"][0]
        self.assertEqual(http["DefaultActions"][0]["ForwardConfig"]["TargetGroups"], [{"TargetGroupArn": one, "Weight": 1}])
        self.assertEqual(health(), ["healthy"])
        with self.refused("DuplicateListener"):
            elbv2.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=forward(two))
        with self.refused("ResourceInUse"):
            elbv2.delete_target_group(TargetGroupArn=one)
        certificate = acm.import_certificate(Certificate=pem("rsa.crt"), PrivateKey=pem("rsa.key"))["CertificateArn"]
        another = acm.import_certificate(Certificate=pem("ec.crt"), PrivateKey=pem("ec.key"))["CertificateArn"]
        with self.refused("CertificateNotFound"):
            missing = certificate[:-4] + "0000"
            elbv2.create_listener(LoadBalancerArn=arn, Protocol="HTTPS", Port=443, Certificates=[{"CertificateArn": missing}], DefaultActions=forward(one))
        https = elbv2.create_listener(
            LoadBalancerArn=arn, Protocol="HTTPS", Port=443, Certificates=[{"CertificateArn": certificate}], DefaultActions=forward(one)
        )["Listeners"][0]["ListenerArn"]
        elbv2.add_listener_certificates(ListenerArn=https, Certificates=[{"CertificateArn": another}])
        listed = elbv2.describe_listener_certificates(ListenerArn=https)["Certificates"]
        self.assertEqual({(c["CertificateArn"], c["IsDefault"]) for c in listed}, {(certificate, True), (another, False)})
        self.assertEqual(acm.describe_certificate(CertificateArn=another)["Certificate"]["InUseBy"], [arn])
        with self.refused("ResourceInUseException"):
            acm.delete_certificate(CertificateArn=another)
        elbv2.remove_listener_certificates(ListenerArn=https, Certificates=[{"CertificateArn": another}])
        elbv2.modify_listener(ListenerArn=https, SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06")
        self.assertEqual(elbv2.describe_listeners(ListenerArns=[https])["Listeners"][0]["SslPolicy"], "ELBSecurityPolicy-TLS13-1-2-2021-06")
        host = lambda name: [{"Field": "host-header", "Values": [name]}]
        rules = [
            elbv2.create_rule(ListenerArn=http["ListenerArn"], Priority=priority, Conditions=host(f"{priority}.example.com"), Actions=forward(two))["Rules"][0]["RuleArn"]
            for priority in (1, 2)
        ]
        with self.refused("PriorityInUse"):
            elbv2.create_rule(ListenerArn=http["ListenerArn"], Priority=1, Conditions=host("x.example.com"), Actions=forward(two))
        elbv2.set_rule_priorities(RulePriorities=[{"RuleArn": rules[0], "Priority": 2}, {"RuleArn": rules[1], "Priority": 1}])
        elbv2.modify_rule(RuleArn=rules[0], Conditions=host("moved.example.com"))
        described = elbv2.describe_rules(ListenerArn=http["ListenerArn"])["Rules"]
        self.assertEqual([(rule["Priority"], rule["IsDefault"]) for rule in described], [("1", False), ("2", False), ("default", True)])
        self.assertEqual(described[1]["Conditions"][0]["HostHeaderConfig"]["Values"], ["moved.example.com"])
        with self.refused("OperationNotPermitted"):
            elbv2.delete_rule(RuleArn=described[2]["RuleArn"])
        elbv2.delete_rule(RuleArn=rules[0])
        with self.refused("RuleNotFound"):
            elbv2.describe_rules(RuleArns=[rules[0]])
        elbv2.deregister_targets(TargetGroupArn=one, Targets=[{"Id": "10.0.0.50", "Port": 8080}])
        elbv2.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[group])
        elbv2.delete_listener(ListenerArn=https)
        with self.refused("ListenerNotFound"):
            elbv2.describe_listeners(ListenerArns=[https])
        # Deletion.
        elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}])
        with self.refused("OperationNotPermitted"):
            elbv2.delete_load_balancer(LoadBalancerArn=arn)
        elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": "deletion_protection.enabled", "Value": "false"}])
        elbv2.delete_load_balancer(LoadBalancerArn=arn)
        with self.refused("LoadBalancerNotFound"):
            elbv2.describe_load_balancers(LoadBalancerArns=[arn])
        self.assertEqual(ec2.describe_network_interfaces(Filters=filters(vpc_id=vpc))["NetworkInterfaces"], [])
        for one in (certificate, another):
            acm.delete_certificate(CertificateArn=one)
        self.assertGreater(len(elbv2.describe_ssl_policies()["SslPolicies"]), 5)
        self.assertTrue(elbv2.describe_account_limits()["Limits"])


if __name__ == "__main__":
    unittest.main()

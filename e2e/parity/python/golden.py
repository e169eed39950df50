"""The AWS side of the recorded cases, in boto3: builds their world, changes it behind the controller's back, tells its state.

  golden.py ENDPOINT serve            JSON orders on standard input, one a line; one JSON answer a line
  golden.py ENDPOINT exec ALIASES 'STATEMENT' …    what `aws '…'` means in a step; ALIASES is a file

Orders: {"do": "world", "certificates": {"cert-example": [CERTIFICATE_PEM, KEY_PEM], …}} and {"do": "state", "world": {ALIAS: ID}}.
"""
import json
import sys

import boto3
from botocore.config import Config

REGION, CLUSTER = "us-east-1", "demo"


def clients(endpoint):
    options = dict(
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"max_attempts": 1}),
    )
    return [boto3.client(name, **options) for name in ("elbv2", "ec2", "acm")]


def tags(values):
    return [{"Key": key, "Value": value} for key, value in values.items()]


def build(elb, ec2, acm, certificates):
    """A VPC with three zones, a public and a private subnet in each, three nodes with room for pods, four certificates."""
    world = {}
    vpc = world["vpc"] = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=tags({"Name": "golden"}))
    gateway = world["igw"] = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    tables = {}
    for kind in ("public", "private"):
        tables[kind] = world["rtb-" + kind] = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=tables["public"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)

    def subnet(alias, cidr, zone, kind, labels):
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=REGION + zone)["Subnet"]["SubnetId"]
        ec2.associate_route_table(RouteTableId=tables[kind], SubnetId=made)
        ec2.create_tags(Resources=[made], Tags=tags(labels))
        world["subnet-" + alias] = made

    for number, zone in enumerate("abc"):
        for kind, offset, role in (("public", 0, "elb"), ("private", 10, "internal-elb")):
            labels = {"Name": f"golden-{kind}-{zone}", "kubernetes.io/role/" + role: "1", "tier": kind}
            labels[f"kubernetes.io/cluster/{CLUSTER}"] = "shared"
            subnet(f"{kind}-{zone}", f"10.0.{number + offset}.0/24", zone, kind, labels)
    subnet("extra-a", "10.0.20.0/24", "a", "public", {"Name": "golden-extra-a"})

    def security_group(alias, name, labels):
        made = ec2.create_security_group(GroupName=name, Description="golden " + name, VpcId=vpc)["GroupId"]
        ec2.create_tags(Resources=[made], Tags=tags({"Name": name, **labels}))
        world[alias] = made

    security_group("sg-node", "golden-node", {f"kubernetes.io/cluster/{CLUSTER}": "owned"})
    security_group("sg-front", "golden-front", {})
    security_group("sg-front2", "golden-front2", {})
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    world["sg-default"] = ec2.describe_security_groups(Filters=filters)["SecurityGroups"][0]["GroupId"]

    image = ec2.describe_images()["Images"][0]["ImageId"]
    for number, zone in enumerate("abc"):
        network = f"10.0.{10 + number}."
        interface = {"DeviceIndex": 0, "SubnetId": world[f"subnet-private-{zone}"], "Groups": [world["sg-node"]]}
        interface["PrivateIpAddress"] = network + "10"
        made = ec2.run_instances(
            ImageId=image, MinCount=1, MaxCount=1, InstanceType="m5.large", NetworkInterfaces=[interface]
        )["Instances"][0]
        world[f"i-node-{zone}"] = made["InstanceId"]
        world[f"eni-node-{zone}"] = made["NetworkInterfaces"][0]["NetworkInterfaceId"]
        addresses = [network + str(host) for host in range(64, 96)]
        ec2.assign_private_ip_addresses(NetworkInterfaceId=world[f"eni-node-{zone}"], PrivateIpAddresses=addresses)

    for alias, (certificate, key) in certificates.items():
        made = acm.import_certificate(Certificate=certificate, PrivateKey=key)
        world[alias] = made["CertificateArn"]
    for name, kind in (("golden-ext-ip", "ip"), ("golden-ext-inst", "instance"), ("golden-ext-ip2", "ip")):
        made = elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType=kind)
        world["tg-" + name.removeprefix("golden-")] = made["TargetGroups"][0]["TargetGroupArn"]
    return world


def pages(client, operation, key, **arguments):
    return [item for page in client.get_paginator(operation).paginate(**arguments) for item in page[key]]


def state(elb, ec2, world):
    """What AWS holds, in the form of the recordings; parts of the world show only where something was added to them."""
    known = set(world.values())

    def tagged(arns):
        found = {}
        for start in range(0, len(arns), 20):
            for entry in elb.describe_tags(ResourceArns=arns[start : start + 20])["TagDescriptions"]:
                found[entry["ResourceArn"]] = {tag["Key"]: tag["Value"] for tag in entry["Tags"]}
        return found

    def attributes(answer):
        return {entry["Key"]: entry["Value"] for entry in answer["Attributes"]}

    load_balancers = []
    for lb in pages(elb, "describe_load_balancers", "LoadBalancers"):
        arn = lb["LoadBalancerArn"]
        listeners = []
        for listener in sorted(pages(elb, "describe_listeners", "Listeners", LoadBalancerArn=arn), key=lambda l: l["Port"]):
            own = listener["ListenerArn"]
            rules = [rule for rule in pages(elb, "describe_rules", "Rules", ListenerArn=own) if not rule["IsDefault"]]
            labels = tagged([own] + [rule["RuleArn"] for rule in rules])
            certificates = []
            if listener["Protocol"] == "HTTPS":
                certificates = pages(elb, "describe_listener_certificates", "Certificates", ListenerArn=own)
            told = dict(
                arn=own,
                port=listener["Port"],
                protocol=listener["Protocol"],
                sslPolicy=listener.get("SslPolicy"),
                defaultActions=listener["DefaultActions"],
                certificates=certificates,
                attributes=attributes(elb.describe_listener_attributes(ListenerArn=own)),
                tags=labels[own],
                rules=[],
            )
            for rule in rules:
                told["rules"].append(
                    dict(
                        arn=rule["RuleArn"],
                        priority=rule["Priority"],
                        conditions=rule["Conditions"],
                        actions=rule["Actions"],
                        transforms=rule.get("Transforms") or [],
                        tags=labels[rule["RuleArn"]],
                    )
                )
            listeners.append(told)
        load_balancers.append(
            dict(
                arn=arn,
                name=lb["LoadBalancerName"],
                dnsName=lb["DNSName"],
                type=lb["Type"],
                scheme=lb["Scheme"],
                ipAddressType=lb["IpAddressType"],
                securityGroups=lb["SecurityGroups"],
                subnets=[{"SubnetId": zone["SubnetId"]} for zone in lb["AvailabilityZones"]],
                tags=tagged([arn])[arn],
                attributes=attributes(elb.describe_load_balancer_attributes(LoadBalancerArn=arn)),
                listeners=listeners,
            )
        )

    settings = (
        "Protocol Port HealthCheckProtocol HealthCheckPort HealthCheckEnabled HealthCheckIntervalSeconds HealthCheckTimeoutSeconds "
        "HealthyThresholdCount UnhealthyThresholdCount HealthCheckPath Matcher TargetType ProtocolVersion IpAddressType"
    ).split()
    target_groups = []
    for group in pages(elb, "describe_target_groups", "TargetGroups"):
        arn = group["TargetGroupArn"]
        health = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        targets = [entry["Target"] for entry in health if entry["TargetHealth"]["State"] != "draining"]
        if arn in known and not targets:
            continue
        target_groups.append(
            dict(
                arn=arn,
                name=group["TargetGroupName"],
                settings={key: group[key] for key in settings if key in group},
                loadBalancers=group["LoadBalancerArns"],
                tags=tagged([arn])[arn],
                attributes=attributes(elb.describe_target_group_attributes(TargetGroupArn=arn)),
                targets=[{"id": target["Id"], "port": target["Port"]} for target in targets],
            )
        )

    security_groups = []
    for group in pages(ec2, "describe_security_groups", "SecurityGroups"):
        default = group["GroupName"] == "default"
        if (group["GroupId"] in known and not group["IpPermissions"]) or default:
            continue
        security_groups.append(
            dict(
                id=group["GroupId"],
                name=group["GroupName"],
                description=group["Description"],
                tags={tag["Key"]: tag["Value"] for tag in group.get("Tags", [])},
                ingress=group["IpPermissions"],
            )
        )
    return dict(loadBalancers=load_balancers, targetGroups=target_groups, securityGroups=security_groups)


def serve(elb, ec2, acm):
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if order["do"] == "world":
                answer = build(elb, ec2, acm, order["certificates"])
            else:
                answer = state(elb, ec2, order["world"])
        except Exception as error:  # the caller decides what a failure means
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=str), flush=True)


def execute(elb, ec2, aliases, statements):
    """Runs statements with the names that the recorded steps use."""
    with open(aliases) as file:
        A = json.load(file)

    def lb():
        return elb.describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]

    def listener(port):
        return next(l["ListenerArn"] for l in elb.describe_listeners(LoadBalancerArn=lb())["Listeners"] if l["Port"] == port)

    def rule(port, priority):
        rules = elb.describe_rules(ListenerArn=listener(port))["Rules"]
        return next(rule["RuleArn"] for rule in rules if rule["Priority"] == str(priority))

    def tg(number=0):
        groups = elb.describe_target_groups()["TargetGroups"]
        ours = sorted((g for g in groups if g["TargetGroupName"].startswith("k8s-")), key=lambda g: g["TargetGroupName"])
        return ours[number]["TargetGroupArn"]

    def sg(prefix):
        groups = ec2.describe_security_groups()["SecurityGroups"]
        return next(g["GroupId"] for g in groups if g["GroupName"].startswith(prefix))

    names = dict(elb=elb, ec2=ec2, A=A, lb=lb, listener=listener, rule=rule, tg=tg, sg=sg)
    for statement in statements:
        exec(statement, names)


if __name__ == "__main__":
    elb, ec2, acm = clients(sys.argv[1])
    if sys.argv[2] == "serve":
        serve(elb, ec2, acm)
    else:
        execute(elb, ec2, sys.argv[3], sys.argv[4:])

#!/usr/bin/env python3
"""Writes the compact service models beside this file from the public models that botocore ships.

    python3 -m venv v && v/bin/pip install botocore && v/bin/python generate.py

One JSON file per service: operations (input, output, result wrapper), the shapes they reach, and what the wire calls
them. Documentation is left out. To add an operation, name it below and run this again.
"""
import gzip
import json
import pathlib

import botocore

# name of the file -> (folder in botocore, operations; None = every one)
SERVICES = {
    "elbv2": ("elbv2/2015-12-01", None),
    "ec2": (
        "ec2/2016-11-15",
        """
        AllocateAddress AssignPrivateIpAddresses AssociateRouteTable AssociateSubnetCidrBlock AssociateVpcCidrBlock
        AttachInternetGateway AuthorizeSecurityGroupEgress AuthorizeSecurityGroupIngress CreateInternetGateway
        CreateManagedPrefixList CreateNetworkInterface CreateRoute CreateRouteTable CreateSecurityGroup CreateSubnet
        CreateTags CreateVpc DeleteInternetGateway DeleteManagedPrefixList DeleteNetworkInterface DeleteRoute
        DeleteRouteTable DeleteSecurityGroup DeleteSubnet DeleteTags DeleteVpc DescribeAddresses
        DescribeAvailabilityZones DescribeImages DescribeInstances DescribeInternetGateways DescribeManagedPrefixLists
        DescribeNetworkInterfaces DescribeRouteTables DescribeSecurityGroupRules DescribeSecurityGroups
        DescribeSubnets DescribeTags DescribeVpcAttribute DescribeVpcs DetachInternetGateway DisassociateRouteTable
        GetManagedPrefixListEntries ModifyNetworkInterfaceAttribute ModifySecurityGroupRules ModifySubnetAttribute
        ModifyVpcAttribute ReleaseAddress ReplaceRouteTableAssociation RevokeSecurityGroupEgress
        RevokeSecurityGroupIngress RunInstances StartInstances StopInstances TerminateInstances
        UnassignPrivateIpAddresses UpdateSecurityGroupRuleDescriptionsEgress
        UpdateSecurityGroupRuleDescriptionsIngress
        """.split(),
    ),
    "acm": (
        "acm/2015-12-08",
        """
        AddTagsToCertificate DeleteCertificate DescribeCertificate GetCertificate ImportCertificate ListCertificates
        ListTagsForCertificate RemoveTagsFromCertificate RequestCertificate
        """.split(),
    ),
    "sts": ("sts/2011-06-15", "AssumeRole AssumeRoleWithWebIdentity GetCallerIdentity".split()),
    "tagging": (
        "resourcegroupstaggingapi/2017-01-26",
        "GetResources GetTagKeys GetTagValues TagResources UntagResources".split(),
    ),
}

SHAPE_KEYS = ["type", "required", "enum", "min", "max", "pattern", "sensitive", "timestampFormat", "flattened", "locationName"]


def member(reference):
    """A reference to a shape: its name alone, or with the names it has on the wire."""
    kept = {"shape": reference["shape"]}
    for ours, theirs in (("name", "locationName"), ("query", "queryName")):
        if theirs in reference:
            kept[ours] = reference[theirs]
    return kept if len(kept) > 1 else kept["shape"]


def reach(shapes, name, found):
    """Adds the shape `name` and all that it refers to, to `found`."""
    if name in found:
        return
    shape = shapes[name]
    kept = {key: shape[key] for key in SHAPE_KEYS if key in shape}
    if "(?!" in kept.get("pattern", "") or "(?=" in kept.get("pattern", ""):
        del kept["pattern"]  # Rust's regular expressions have no look-ahead; services check these by hand
    found[name] = kept
    if "members" in shape:
        kept["members"] = {key: member(value) for key, value in shape["members"].items()}
    for part in ("member", "key", "value"):
        if part in shape:
            kept[part] = member(shape[part])
    references = [*shape.get("members", {}).values(), *(shape[part] for part in ("member", "key", "value") if part in shape)]
    for reference in references:
        reach(shapes, reference["shape"], found)


def compact(folder, wanted):
    data = pathlib.Path(botocore.__file__).parent / "data" / folder / "service-2.json.gz"
    model = json.loads(gzip.decompress(data.read_bytes()))
    metadata, shapes, operations, found = model["metadata"], model["shapes"], {}, {}
    for name in sorted(wanted or model["operations"]):
        operation = model["operations"][name]
        kept = {}
        for part in ("input", "output"):
            if part in operation:
                kept[part] = operation[part]["shape"]
                reach(shapes, operation[part]["shape"], found)
        if "resultWrapper" in operation.get("output", {}):
            kept["wrapper"] = operation["output"]["resultWrapper"]
        operations[name] = kept
    errors = {
        shape.get("error", {}).get("code", name): shape.get("error", {}).get("httpStatusCode", 400)
        for name, shape in shapes.items()
        if shape.get("exception")
    }
    return {
        # Of several protocols, the one that every client speaks.
        "protocol": "json" if "json" in metadata.get("protocols", []) else metadata["protocol"],
        "version": metadata["apiVersion"],
        "namespace": metadata.get("xmlNamespace"),
        "target": metadata.get("targetPrefix"),
        "operations": operations,
        "errors": dict(sorted(errors.items())),
        "shapes": dict(sorted(found.items())),
    }


for service, (folder, wanted) in SERVICES.items():
    text = json.dumps(compact(folder, wanted), separators=(",", ":"), ensure_ascii=False)
    # one shape and one operation a line, so that a change of the model is a readable difference
    text = text.replace('},"', '},\n"')
    (pathlib.Path(__file__).parent / f"{service}.json").write_text(text + "\n")
    print(service, len(text))

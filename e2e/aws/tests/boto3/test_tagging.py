"""The Resource Groups Tagging API, and waiters, as boto3 sees them. Run by main.rs, which starts the double."""
import unittest

from test_double import Case, client, ec2, elbv2, tags

tagging = client("resourcegroupstaggingapi")


def arns(answer):
    return [found["ResourceARN"] for found in answer["ResourceTagMappingList"]]


class Tagging(Case):
    def test_resources(self):
        vpc, subnets = self.network()
        groups = []
        for name, values in (("one", {"team": "web", "stage": "test"}), ("two", {"team": "web"}), ("three", {"team": "shop"})):
            made = elbv2.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip", Tags=tags(**values))
            groups.append(made["TargetGroups"][0]["TargetGroupArn"])
            self.addCleanup(elbv2.delete_target_group, TargetGroupArn=groups[-1])
        ec2.create_tags(Resources=[vpc], Tags=tags(team="web"))
        one, two, three = groups
        network = f"arn:aws:ec2:eu-west-1:123456789012:vpc/{vpc}"
        get = lambda **wanted: arns(tagging.get_resources(**wanted))
        of = lambda key, *values: {"Key": key, "Values": list(values)}
        self.assertEqual(set(get(TagFilters=[of("team", "web")])), {one, two, network})
        self.assertEqual(set(get(TagFilters=[of("team", "web", "shop")])), {one, two, three, network})
        self.assertEqual(get(TagFilters=[of("team"), of("stage", "test")]), [one])
        self.assertEqual(get(TagFilters=[of("team", "none")]), [])
        self.assertEqual(get(TagFilters=[of("team", "web")], ResourceTypeFilters=["ec2:vpc"]), [network])
        self.assertEqual(len(get(TagFilters=[of("team", "web")], ResourceTypeFilters=["elasticloadbalancing"])), 2)
        self.assertEqual(get(ResourceTypeFilters=["elasticloadbalancing:target"]), [])
        # By ARN; what is not there is left out.
        self.assertEqual(get(ResourceARNList=[three, three + "0"]), [three])
        for clash in ({"TagFilters": [of("team")]}, {"ResourceTypeFilters": ["ec2"]}, {"ResourcesPerPage": 5}):
            with self.refused("InvalidParameterException"):
                get(ResourceARNList=[three], **clash)
        for wrong in (
            {"ResourcesPerPage": 0},
            {"ResourcesPerPage": 101},
            {"TagsPerPage": 150},
            {"PaginationToken": "nonsense"},
            {"ExcludeCompliantResources": True},
            {"TagFilters": [{"Values": ["web"]}]},
            {"TagFilters": [of("k" * 129)]},
            {"ResourceARNList": [three] * 101},
        ):
            with self.subTest(wrong), self.refused("InvalidParameterException"):
                tagging.get_resources(**wrong)
        # Pages.
        first = tagging.get_resources(TagFilters=[of("team")], ResourcesPerPage=3)
        self.assertEqual(len(arns(first)), 3)
        second = tagging.get_resources(TagFilters=[of("team")], ResourcesPerPage=3, PaginationToken=first["PaginationToken"])
        self.assertEqual(second["PaginationToken"], "")
        self.assertEqual(set(arns(first) + arns(second)), {one, two, three, network})
        pages = tagging.get_paginator("get_resources").paginate(TagFilters=[of("team")], PaginationConfig={"PageSize": 1})
        self.assertEqual(sum(len(arns(page)) for page in pages), 4)
        # Keys and values.
        # Others may be there still: a terminated instance has its tags for a while.
        self.assertLessEqual({"stage", "team"}, set(tagging.get_tag_keys()["TagKeys"]))
        self.assertEqual(tagging.get_tag_values(Key="team")["TagValues"], ["shop", "web"])
        # Changes, each through its service.
        gone = three[:-4] + "0000"
        failed = tagging.tag_resources(ResourceARNList=[network, one, gone], Tags={"cost": "7"})["FailedResourcesMap"]
        self.assertEqual({arn: told["ErrorCode"] for arn, told in failed.items()}, {gone: "TargetGroupNotFound"})
        self.assertEqual(set(get(TagFilters=[of("cost", "7")])), {network, one})
        self.assertEqual(tagging.untag_resources(ResourceARNList=[network, one], TagKeys=["cost"])["FailedResourcesMap"], {})
        self.assertEqual(get(TagFilters=[of("cost")]), [])
        self.assertEqual(ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Tags"], tags(team="web"))

    def test_waiters(self):
        vpc, subnets = self.network()
        made = elbv2.create_load_balancer(Name="waited", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
        elbv2.get_waiter("load_balancer_available").wait(LoadBalancerArns=[made])
        elbv2.get_waiter("load_balancer_exists").wait(LoadBalancerArns=[made])
        elbv2.delete_load_balancer(LoadBalancerArn=made)
        elbv2.get_waiter("load_balancers_deleted").wait(LoadBalancerArns=[made])


if __name__ == "__main__":
    unittest.main()

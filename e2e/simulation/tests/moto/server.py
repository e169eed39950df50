"""moto's server, with one of its answers put right. Arguments are those of moto_server.

SetRulePriorities: "You can reorder the rules as long as there are no priority conflicts in the new order" (Elastic Load
Balancing API reference). moto 5.2.5 compares each new priority with what every rule has before the call, so it refuses
to let rules change places, or to move one to where another has just been moved from.
"""
from moto.elbv2.models import ELBv2Backend
from moto.server import main

as_moto_does = ELBv2Backend.set_rule_priorities


def set_rule_priorities(self, rule_priorities):
    arns = [wanted["RuleArn"] for wanted in rule_priorities]
    before = [(rule, rule.priority) for rule in self.describe_rules(listener_arn=None, rule_arns=arns)]
    for rule, _ in before:
        rule.priority = None
    try:
        return as_moto_does(self, rule_priorities)
    except Exception:
        for rule, priority in before:
            rule.priority = priority
        raise


ELBv2Backend.set_rule_priorities = set_rule_priorities
main()

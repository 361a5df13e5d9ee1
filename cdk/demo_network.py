"""Creates the demo's networks in the local AWS: two accounts, their VPCs, subnets and network interfaces with Name tags.

ministack takes an access key of 12 digits as the account.
"""

import os

import botocore.session

# Account by access key, name of the VPC, and second octet of its addresses. The first two overlap, as copies of an environment do.
VPCS = [("test", "prod", 0), ("210987654321", "staging", 0), ("test", "shared-services", 8)]
SUBNETS = ["public-a", "public-b", "private-a", "private-b"]
ROLES = ["web", "api", "worker", "database", "cache", "nat gateway"]


def named(kind, name):
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]


def create(ec2, vpc_name, octet):
    vpc = ec2.create_vpc(CidrBlock=f"10.{octet}.0.0/16", TagSpecifications=named("vpc", vpc_name))["Vpc"]["VpcId"]
    for number, subnet_name in enumerate(SUBNETS):
        subnet = ec2.create_subnet(
            VpcId=vpc,
            CidrBlock=f"10.{octet}.{number}.0/24",
            TagSpecifications=named("subnet", f"{vpc_name}-{subnet_name}"),
        )["Subnet"]["SubnetId"]
        for role in ROLES:
            name = f"{role} {vpc_name} {subnet_name}"
            ec2.create_network_interface(SubnetId=subnet, TagSpecifications=named("network-interface", name))


session = botocore.session.get_session()
for key, vpc_name, octet in VPCS:
    create(
        session.create_client(
            "ec2",
            region_name=os.environ["AWS_REGION"],
            endpoint_url=os.environ["AWS_ENDPOINT_URL"],
            aws_access_key_id=key,
            aws_secret_access_key="test",
        ),
        vpc_name,
        octet,
    )

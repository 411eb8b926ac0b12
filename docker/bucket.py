"""Makes a bucket where it is missing: python bucket.py ENDPOINT BUCKET. Credentials and region are in the environment."""

import sys

import boto3

endpoint, bucket = sys.argv[1:]
store = boto3.client("s3", endpoint_url=endpoint)
if bucket not in [found["Name"] for found in store.list_buckets()["Buckets"]]:
    store.create_bucket(Bucket=bucket)

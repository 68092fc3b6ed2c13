"""The S3 backend, for AWS and S3-compatible servers: Ceph, MinIO, Wasabi.

obstore sends requests with bodies. boto3 sends all others, and those that obstore cannot express.
"""

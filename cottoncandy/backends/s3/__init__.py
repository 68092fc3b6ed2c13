"""S3 and everything that speaks it: AWS, Ceph, MinIO, Wasabi.

Bodies travel through obstore, everything else (and what obstore can't say) through boto3.
"""

from cottoncandy.backends.s3.backend import S3Backend

__all__ = ["S3Backend"]

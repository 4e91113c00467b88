"""Everything that speaks S3: all of boto3 is here."""

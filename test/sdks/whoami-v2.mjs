// Prints the ARN that the AWS SDK for JavaScript v2 finds by its default credential chain. It does not know AWS_ENDPOINT_URL.
import AWS from "aws-sdk";

const sts = new AWS.STS({ region: process.env.AWS_REGION, endpoint: process.env.AWS_ENDPOINT_URL });
console.log((await sts.getCallerIdentity().promise()).Arn);

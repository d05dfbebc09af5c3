// Prints the ARN that the AWS SDK for JavaScript v3 finds by its default credential chain.
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { defaultProvider } from "@aws-sdk/credential-provider-node";

const sts = new STSClient({ credentials: defaultProvider() });
console.log((await sts.send(new GetCallerIdentityCommand({}))).Arn);

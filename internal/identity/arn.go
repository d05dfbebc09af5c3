package identity

import (
	"errors"
	"strings"
)

// ErrARN is returned for a string that is not an ARN.
var ErrARN = errors.New("not an ARN: want arn:partition:service:region:account:resource")

// ARN is an Amazon Resource Name taken apart.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html.
type ARN struct {
	Partition string // aws, aws-cn, aws-us-gov, …
	Service   string // iam, sts, eks, s3, …
	Region    string // empty for global services
	AccountID string // twelve digits; empty for S3, "aws" for AWS managed policies
	Resource  string // all that follows the fifth colon, colons included
}

// ParseARN takes an ARN apart. It checks the form only, not whether the parts make sense together.
func ParseARN(s string) (ARN, error) {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] == "" || parts[2] == "" || parts[5] == "" {
		return ARN{}, ErrARN
	}
	return ARN{parts[1], parts[2], parts[3], parts[4], parts[5]}, nil
}

// String puts the ARN together again.
func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.AccountID + ":" + a.Resource
}

// ParseRoleARN parses the ARN of an IAM role and also returns the role's name, which is the last part of its path.
// An assumed-role session ARN is not a role ARN and is refused.
func ParseRoleARN(s string) (arn ARN, name string, err error) {
	arn, err = ParseARN(s)
	if err != nil {
		return ARN{}, "", err
	}
	path, ok := strings.CutPrefix(arn.Resource, "role/")
	name = path[strings.LastIndexByte(path, '/')+1:]
	if !ok || arn.Service != "iam" || arn.Region != "" || !ValidAccountID(arn.AccountID) || !ValidIAMName(name, 64) {
		return ARN{}, "", errors.New("not the ARN of an IAM role: want arn:aws:iam::111122223333:role/name")
	}
	return arn, name, nil
}

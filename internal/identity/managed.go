package identity

import (
	"errors"
	"strings"
	"time"
)

// AWSAccount stands in the ARNs of the managed policies that AWS made, where others have the account's number.
const AWSAccount = "aws"

// ManagedPolicy is an IAM policy of its own, which can be attached to many roles and users.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_managed-vs-inline.html.
type ManagedPolicy struct {
	AccountID      string          `json:"accountId"` // or [AWSAccount]
	Partition      string          `json:"partition"`
	Path           string          `json:"path"`
	Name           string          `json:"name"`
	ID             string          `json:"id"` // ANPA…
	Description    string          `json:"description,omitempty"`
	Versions       []PolicyVersion `json:"versions"`       // oldest first
	DefaultVersion string          `json:"defaultVersion"` // id of the version that counts
	LastVersion    int             `json:"lastVersion"`    // number of the latest version; numbers are not used again
	Tags           []Tag           `json:"tags,omitempty"`
	CreatedAt      time.Time       `json:"createdAt"`
	UpdatedAt      time.Time       `json:"updatedAt"` // when the default version was last made or chosen
}

// PolicyVersion is one text of a managed policy.
type PolicyVersion struct {
	ID        string    `json:"id"`       // v1, v2, …
	Document  string    `json:"document"` // as the caller wrote it
	CreatedAt time.Time `json:"createdAt"`
}

// ARN names the policy, its path included: arn:aws:iam::111122223333:policy/team/read.
func (p *ManagedPolicy) ARN() string {
	return ARN{p.Partition, "iam", "", p.AccountID, "policy" + p.Path + p.Name}.String()
}

// Version finds a version by its id.
func (p *ManagedPolicy) Version(id string) (*PolicyVersion, bool) {
	for i := range p.Versions {
		if p.Versions[i].ID == id {
			return &p.Versions[i], true
		}
	}
	return nil, false
}

// Document is the text of the version that counts; empty if there is none, which does not parse as a policy.
func (p *ManagedPolicy) Document() string {
	if v, ok := p.Version(p.DefaultVersion); ok {
		return v.Document
	}
	return ""
}

// ParsePolicyARN parses the ARN of a managed policy and also returns the policy's name, which is the last part of its path.
func ParsePolicyARN(s string) (arn ARN, name string, err error) {
	arn, err = ParseARN(s)
	if err != nil {
		return ARN{}, "", err
	}
	path, ok := strings.CutPrefix(arn.Resource, "policy/")
	name = path[strings.LastIndexByte(path, '/')+1:]
	account := arn.AccountID == AWSAccount || ValidAccountID(arn.AccountID)
	if !ok || arn.Service != "iam" || arn.Region != "" || !account || !ValidIAMName(name, 128) {
		return ARN{}, "", errors.New("not the ARN of a managed policy: want arn:aws:iam::111122223333:policy/name")
	}
	return arn, name, nil
}

package directory

import (
	"crypto/sha256"
	"embed"
	"encoding/base32"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// Policy is a managed policy with its default version compiled.
type Policy struct {
	identity.ManagedPolicy
	Compiled *policy.Named
	Err      error // the stored text does not compile: nothing can be decided where the policy is attached, and asking is a fault
}

func compilePolicy(_ string, p identity.ManagedPolicy) *Policy {
	managed := &Policy{ManagedPolicy: p}
	compiled, err := policy.Parse(policy.Identity, p.Document())
	if err != nil {
		managed.Err = fmt.Errorf("compiling the stored version %s of %s: %w", p.DefaultVersion, p.ARN(), err)
		return managed
	}
	managed.Compiled = &policy.Named{Name: p.Name, ARN: p.ARN(), Policy: compiled}
	return managed
}

// awsDocuments are the texts of AWS's policies, each in a file of the policy's name.
//
//go:embed managed/*.json
var awsDocuments embed.FS

// awsPolicies are the managed policies of AWS that podid knows: those which people attach to roles of pods and of clusters. Version
// and date are those under which AWS published the text.
// See https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html.
var awsPolicies = sync.OnceValue(func() map[string]*Policy {
	known := map[string]*Policy{}
	for _, p := range []struct{ name, version, date string }{
		{"AdministratorAccess", "v1", "2015-02-06T18:39:46Z"},
		{"AmazonDynamoDBFullAccess", "v15", "2021-01-29T17:38:30Z"},
		{"AmazonDynamoDBReadOnlyAccess", "v14", "2024-03-20T15:45:01Z"},
		{"AmazonEKSClusterPolicy", "v9", "2026-02-11T22:21:13Z"},
		{"AmazonEKSWorkerNodePolicy", "v3", "2023-11-27T00:06:13Z"},
		{"AmazonS3FullAccess", "v2", "2021-09-27T20:16:37Z"},
		{"AmazonS3ReadOnlyAccess", "v3", "2023-08-10T21:31:39Z"},
	} {
		text, err := awsDocuments.ReadFile("managed/" + p.name + ".json")
		if err != nil {
			panic("directory: " + err.Error()) // a policy without its file does not get past any test
		}
		date, err := time.Parse(time.RFC3339, p.date)
		if err != nil {
			panic("directory: " + err.Error())
		}
		policy := compilePolicy("", identity.ManagedPolicy{
			AccountID: identity.AWSAccount, Partition: "aws", Path: "/", Name: p.name, ID: awsPolicyID(p.name),
			Versions:       []identity.PolicyVersion{{ID: p.version, Document: string(text), CreatedAt: date}},
			DefaultVersion: p.version, CreatedAt: date, UpdatedAt: date,
		})
		known["policy/"+p.name] = policy
	}
	return known
})

// awsPolicyID makes an id that is always the same for the same name. It is not the one that AWS uses.
func awsPolicyID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return string(identity.PolicyID) + base32.StdEncoding.EncodeToString(sum[:])[:17]
}

// PolicyByARN finds a managed policy by its ARN, the path included: one of an account, or one of AWS.
func (d *Directory) PolicyByARN(text string) (*Policy, bool) {
	arn, name, err := identity.ParsePolicyARN(text)
	if err != nil {
		return nil, false
	}
	if arn.AccountID == identity.AWSAccount {
		p, ok := awsPolicies()[arn.Resource]
		if ok && arn.Partition != p.Partition { // every partition has them under names of its own
			elsewhere := p.ManagedPolicy
			elsewhere.Partition = arn.Partition
			p = compilePolicy("", elsewhere)
		}
		return p, ok
	}
	p, ok := d.policies.Get(Key(arn.AccountID, name))
	if !ok || p.ARN() != text {
		return nil, false
	}
	return p, true
}

// ScanPolicies goes through an account's managed policies in the order of their names.
func (d *Directory) ScanPolicies(accountID string) iter.Seq[*Policy] {
	return values(d.policies.Scan(accountID+"/", ""))
}

// AWSPolicies returns the managed policies of AWS as a partition names them, in the order of their names.
func (d *Directory) AWSPolicies(partition string) []*Policy {
	var all []*Policy
	for _, resource := range slices.Sorted(maps.Keys(awsPolicies())) {
		arn := identity.ARN{Partition: partition, Service: "iam", AccountID: identity.AWSAccount, Resource: resource}
		if p, ok := d.PolicyByARN(arn.String()); ok {
			all = append(all, p)
		}
	}
	return all
}

// RolePolicies returns the policies by which a role is judged: inline and attached ones, and its boundary, nil without one. An error
// means that nothing can be decided.
func (d *Directory) RolePolicies(role *Role) (all []*policy.Named, boundary *policy.Named, err error) {
	if role.Err != nil {
		return nil, nil, role.Err
	}
	return d.permissions(role.ARN(), &role.Permissions, role.Policies)
}

// UserPolicies is [Directory.RolePolicies] for a user. The policies of its groups count as its own.
func (d *Directory) UserPolicies(user *User) (all []*policy.Named, boundary *policy.Named, err error) {
	if user.Err != nil {
		return nil, nil, user.Err
	}
	all, boundary, err = d.permissions(user.ARN(), &user.Permissions, user.Policies)
	if err != nil || len(user.GroupIDs) == 0 {
		return all, boundary, err
	}
	groups, err := d.GroupsOf(&user.User)
	if err != nil {
		return nil, nil, err
	}
	all = slices.Clone(all)
	for _, group := range groups {
		of, err := d.GroupPolicies(group)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, of...)
	}
	return all, boundary, nil
}

// GroupPolicies returns the inline and attached policies of a group.
func (d *Directory) GroupPolicies(group *Group) ([]*policy.Named, error) {
	if group.Err != nil {
		return nil, group.Err
	}
	all, _, err := d.permissions(group.ARN(), &group.Permissions, group.Policies)
	for i, n := range all {
		if n.Group == "" { // an attached one, which others have too
			named := *n
			named.Group = group.Name
			all[i] = &named
		}
	}
	return all, err
}

// GroupsOf returns the groups that a user is in. A group cannot be deleted while users are in it, so one that is not there is a fault.
func (d *Directory) GroupsOf(user *identity.User) ([]*Group, error) {
	groups := make([]*Group, 0, len(user.GroupIDs))
	for _, id := range user.GroupIDs {
		group, ok := d.groups.Get(GroupKey(user.AccountID, id))
		if !ok {
			return nil, fmt.Errorf("finding the group %s of %s: it does not exist", id, user.ARN())
		}
		groups = append(groups, group)
	}
	return groups, nil
}

// permissions adds to the inline policies of a role, a user or a group those that are attached to it, and finds its boundary. They are looked
// up for each decision, so that a changed policy counts at once wherever it is attached. One that is not there is a fault: what it
// denied cannot be known.
func (d *Directory) permissions(owner string, p *identity.Permissions, inline []*policy.Named) (all []*policy.Named, boundary *policy.Named, err error) {
	find := func(arn string) (*policy.Named, error) {
		managed, ok := d.PolicyByARN(arn)
		if !ok {
			return nil, fmt.Errorf("finding the policy %s of %s: it does not exist", arn, owner)
		}
		return managed.Compiled, managed.Err
	}
	all = inline
	if len(p.AttachedPolicies) > 0 {
		all = slices.Clone(inline)
	}
	for _, arn := range p.AttachedPolicies {
		attached, err := find(arn)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, attached)
	}
	if p.Boundary != "" {
		boundary, err = find(p.Boundary)
	}
	return all, boundary, err
}

package eks

import (
	"unicode/utf8"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

// maxSessionPolicy is how many characters an association's session policy may have.
const maxSessionPolicy = 2048

// checkRole makes sure that an association's role is one that the caller may hand out and that pods can get: in the cluster's
// account, passable by the caller, there, and with a trust policy that lets EKS Pod Identity assume it.
func (s *Service) checkRole(call *wire.Call, cluster *identity.Cluster, a *identity.Association) error {
	arn, _, err := identity.ParseRoleARN(a.RoleARN)
	switch {
	case err != nil:
		return errInvalidParameter("roleArn %q is %v.", a.RoleARN[:min(len(a.RoleARN), 300)], err)
	case arn.AccountID != cluster.AccountID:
		return errInvalidParameter("The role %s is not in the account of cluster %s (%s). Use a role of that account, and targetRoleArn to reach "+
			"a role in another.", a.RoleARN, cluster.Name, cluster.AccountID)
	}
	err = call.Authorize(wire.Access{Action: "iam:PassRole", Resource: a.RoleARN, Keys: func(keys *policy.Context) {
		keys.Set("iam:PassedToService", identity.PodIdentityService)
		keys.Set("iam:AssociatedResourceArn", cluster.ARN())
	}})
	if err != nil {
		return err
	}
	role, ok := s.Directory.RoleByARN(a.RoleARN)
	if !ok {
		// Terraform tries again as long as it finds this sentence.
		return errInvalidParameter("Role provided in the request does not exist. (%s)", a.RoleARN)
	}
	if role.Err != nil {
		return role.Err
	}
	for _, action := range []string{"sts:AssumeRole", "sts:TagSession"} {
		if action == "sts:TagSession" && a.DisableSessionTags {
			continue
		}
		if !role.Trust.Policy.Names(policy.Principal{Service: identity.PodIdentityService}, action) {
			return errInvalidParameter("Trust policy of the role provided is invalid: no statement allows the service principal %s to do %s. "+
				"The trust policy of %s needs both sts:AssumeRole and sts:TagSession.", identity.PodIdentityService, action, a.RoleARN)
		}
	}
	return nil
}

// checkSession judges the target role and the session policy, which need no look-up: the target role may be in any account.
func checkSession(a *identity.Association) error {
	if a.TargetRoleARN != "" {
		if _, _, err := identity.ParseRoleARN(a.TargetRoleARN); err != nil {
			return errInvalidParameter("targetRoleArn %q is %v.", a.TargetRoleARN[:min(len(a.TargetRoleARN), 300)], err)
		}
	}
	if a.Policy == "" {
		return nil
	}
	if !a.DisableSessionTags {
		return errInvalidParameter("disableSessionTags must be true when policy is specified: both together do not fit into a session.")
	}
	if n := utf8.RuneCountInString(a.Policy); n > maxSessionPolicy {
		return errInvalidParameter("policy has %d characters; at most %d are allowed.", n, maxSessionPolicy)
	}
	if _, err := policy.Parse(policy.Identity, a.Policy); err != nil {
		return errInvalidParameter("policy is not a valid IAM policy: %v", err)
	}
	return nil
}

func (s *Service) createAccess(_ *wire.Call, in *createInput) (wire.Access, error) {
	return s.clusterAccess("eks:CreatePodIdentityAssociation", in.Cluster, func(keys *policy.Context) {
		directory.SetRequestTags(keys, identity.TagList(in.Tags))
	})
}

func (s *Service) listAccess(_ *wire.Call, in *listInput) (wire.Access, error) {
	return s.clusterAccess("eks:ListPodIdentityAssociations", in.Cluster, nil)
}

// watchAccess is that of listing: a feed tells nothing that a list does not.
func (s *Service) watchAccess(_ *wire.Call, in *watchInput) (wire.Access, error) {
	return s.clusterAccess("eks:ListPodIdentityAssociations", in.Cluster, nil)
}

// associationAccess is permission for an action on an association, whose ARN can be told without looking it up; one that does
// not exist is told after permission was given.
func (s *Service) associationAccess(action string, in *associationInput, more func(*policy.Context)) (wire.Access, error) {
	cluster, ok := s.Directory.Cluster(in.Cluster)
	if !ok {
		return wire.Access{}, errNoCluster(in.Cluster)
	}
	arn := identity.ARN{Partition: cluster.Partition, Service: "eks", Region: cluster.Region, AccountID: cluster.AccountID,
		Resource: "podidentityassociation/" + cluster.Name + "/" + in.ID}
	return wire.Access{Action: action, Resource: arn.String(), Keys: func(keys *policy.Context) {
		if a, ok := s.Directory.AssociationByID(in.Cluster, in.ID); ok {
			keys.SetTags("aws:ResourceTag/", identity.TagList(a.Tags))
		}
		if more != nil {
			more(keys)
		}
	}}, nil
}

func (s *Service) describeAccess(_ *wire.Call, in *associationInput) (wire.Access, error) {
	return s.associationAccess("eks:DescribePodIdentityAssociation", in, nil)
}

func (s *Service) updateAccess(_ *wire.Call, in *updateInput) (wire.Access, error) {
	return s.associationAccess("eks:UpdatePodIdentityAssociation", &in.associationInput, nil)
}

func (s *Service) deleteAccess(_ *wire.Call, in *associationInput) (wire.Access, error) {
	return s.associationAccess("eks:DeletePodIdentityAssociation", in, nil)
}

package iam

import "github.com/podid/podid/internal/wire"

func (s *Service) roleOperations() []wire.Operation {
	listRoles := func(call *wire.Call, in *listInput) (wire.Access, error) {
		return s.listAccess(call, "iam:ListRoles", "role", in), nil
	}
	return []wire.Operation{
		wire.Op("CreateRole", "", on[createRoleInput](s, "iam:CreateRole"), s.CreateRole),
		wire.Op("GetRole", "", on[roleInput](s, "iam:GetRole"), s.GetRole),
		wire.Op("ListRoles", "", listRoles, s.ListRoles),
		wire.Op("UpdateRole", "", on[updateRoleInput](s, "iam:UpdateRole"), s.UpdateRole),
		wire.Op("UpdateRoleDescription", "", on[roleDescriptionInput](s, "iam:UpdateRoleDescription"), s.UpdateRoleDescription),
		wire.Op("UpdateAssumeRolePolicy", "", on[updateTrustInput](s, "iam:UpdateAssumeRolePolicy"), s.UpdateAssumeRolePolicy),
		wire.Op("DeleteRole", "", on[roleInput](s, "iam:DeleteRole"), s.DeleteRole),
		wire.Op("PutRolePolicy", "", on[putRolePolicyInput](s, "iam:PutRolePolicy"), s.PutRolePolicy),
		wire.Op("GetRolePolicy", "", on[rolePolicyInput](s, "iam:GetRolePolicy"), s.GetRolePolicy),
		wire.Op("DeleteRolePolicy", "", on[rolePolicyInput](s, "iam:DeleteRolePolicy"), s.DeleteRolePolicy),
		wire.Op("ListRolePolicies", "", on[pagedRoleInput](s, "iam:ListRolePolicies"), s.ListRolePolicies),
		wire.Op("AttachRolePolicy", "", on[attachRolePolicyInput](s, "iam:AttachRolePolicy"), s.AttachRolePolicy),
		wire.Op("DetachRolePolicy", "", on[attachRolePolicyInput](s, "iam:DetachRolePolicy"), s.DetachRolePolicy),
		wire.Op("ListAttachedRolePolicies", "", on[listAttachedRolePoliciesInput](s, "iam:ListAttachedRolePolicies"), s.ListAttachedRolePolicies),
		wire.Op("PutRolePermissionsBoundary", "", on[putRoleBoundaryInput](s, "iam:PutRolePermissionsBoundary"), s.PutRolePermissionsBoundary),
		wire.Op("DeleteRolePermissionsBoundary", "", on[roleInput](s, "iam:DeleteRolePermissionsBoundary"), s.DeleteRolePermissionsBoundary),
		wire.Op("ListInstanceProfilesForRole", "", on[pagedRoleInput](s, "iam:ListInstanceProfilesForRole"), s.ListInstanceProfilesForRole),
		wire.Op("TagRole", "", on[tagRoleInput](s, "iam:TagRole"), s.TagRole),
		wire.Op("UntagRole", "", on[untagRoleInput](s, "iam:UntagRole"), s.UntagRole),
		wire.Op("ListRoleTags", "", on[pagedRoleInput](s, "iam:ListRoleTags"), s.ListRoleTags),
	}
}

func (s *Service) userOperations() []wire.Operation {
	listUsers := func(call *wire.Call, in *listInput) (wire.Access, error) {
		return s.listAccess(call, "iam:ListUsers", "user", in), nil
	}
	return []wire.Operation{
		wire.Op("CreateUser", "", on[createUserInput](s, "iam:CreateUser"), s.CreateUser),
		wire.Op("GetUser", "", on[ownUserInput](s, "iam:GetUser"), s.GetUser),
		wire.Op("ListUsers", "", listUsers, s.ListUsers),
		wire.Op("UpdateUser", "", on[updateUserInput](s, "iam:UpdateUser"), s.UpdateUser),
		wire.Op("DeleteUser", "", on[userInput](s, "iam:DeleteUser"), s.DeleteUser),
		wire.Op("PutUserPolicy", "", on[putUserPolicyInput](s, "iam:PutUserPolicy"), s.PutUserPolicy),
		wire.Op("GetUserPolicy", "", on[userPolicyInput](s, "iam:GetUserPolicy"), s.GetUserPolicy),
		wire.Op("DeleteUserPolicy", "", on[userPolicyInput](s, "iam:DeleteUserPolicy"), s.DeleteUserPolicy),
		wire.Op("ListUserPolicies", "", on[pagedUserInput](s, "iam:ListUserPolicies"), s.ListUserPolicies),
		wire.Op("AttachUserPolicy", "", on[attachUserPolicyInput](s, "iam:AttachUserPolicy"), s.AttachUserPolicy),
		wire.Op("DetachUserPolicy", "", on[attachUserPolicyInput](s, "iam:DetachUserPolicy"), s.DetachUserPolicy),
		wire.Op("ListAttachedUserPolicies", "", on[listAttachedUserPoliciesInput](s, "iam:ListAttachedUserPolicies"), s.ListAttachedUserPolicies),
		wire.Op("PutUserPermissionsBoundary", "", on[putUserBoundaryInput](s, "iam:PutUserPermissionsBoundary"), s.PutUserPermissionsBoundary),
		wire.Op("DeleteUserPermissionsBoundary", "", on[userInput](s, "iam:DeleteUserPermissionsBoundary"), s.DeleteUserPermissionsBoundary),
		wire.Op("ListGroupsForUser", "", on[pagedUserInput](s, "iam:ListGroupsForUser"), s.ListGroupsForUser),
		wire.Op("TagUser", "", on[tagUserInput](s, "iam:TagUser"), s.TagUser),
		wire.Op("UntagUser", "", on[untagUserInput](s, "iam:UntagUser"), s.UntagUser),
		wire.Op("ListUserTags", "", on[pagedUserInput](s, "iam:ListUserTags"), s.ListUserTags),
		wire.Op("CreateAccessKey", "", on[ownUserInput](s, "iam:CreateAccessKey"), s.CreateAccessKey),
		wire.Op("ListAccessKeys", "", on[pagedOwnUserInput](s, "iam:ListAccessKeys"), s.ListAccessKeys),
		wire.Op("UpdateAccessKey", "", on[updateAccessKeyInput](s, "iam:UpdateAccessKey"), s.UpdateAccessKey),
		wire.Op("DeleteAccessKey", "", on[accessKeyInput](s, "iam:DeleteAccessKey"), s.DeleteAccessKey),
		wire.Op("GetAccessKeyLastUsed", "", on[keyIDInput](s, "iam:GetAccessKeyLastUsed"), s.GetAccessKeyLastUsed),
		wire.Op("GetLoginProfile", "", on[ownUserInput](s, "iam:GetLoginProfile"), s.GetLoginProfile),
		wire.Op("DeleteLoginProfile", "", on[ownUserInput](s, "iam:DeleteLoginProfile"), s.DeleteLoginProfile),
		wire.Op("ListMFADevices", "", on[pagedOwnUserInput](s, "iam:ListMFADevices"), s.ListMFADevices),
		wire.Op("ListVirtualMFADevices", "", inAccount[page](s, "iam:ListVirtualMFADevices", "mfa/"), s.ListVirtualMFADevices),
		wire.Op("ListSSHPublicKeys", "", on[pagedOwnUserInput](s, "iam:ListSSHPublicKeys"), s.ListSSHPublicKeys),
		wire.Op("ListSigningCertificates", "", on[pagedOwnUserInput](s, "iam:ListSigningCertificates"), s.ListSigningCertificates),
		wire.Op("ListServiceSpecificCredentials", "", on[ownUserInput](s, "iam:ListServiceSpecificCredentials"), s.ListServiceSpecificCredentials),
	}
}

func (s *Service) groupOperations() []wire.Operation {
	listGroups := func(call *wire.Call, in *listInput) (wire.Access, error) {
		return s.listAccess(call, "iam:ListGroups", "group", in), nil
	}
	return []wire.Operation{
		wire.Op("CreateGroup", "", on[createGroupInput](s, "iam:CreateGroup"), s.CreateGroup),
		wire.Op("GetGroup", "", on[pagedGroupInput](s, "iam:GetGroup"), s.GetGroup),
		wire.Op("ListGroups", "", listGroups, s.ListGroups),
		wire.Op("UpdateGroup", "", on[updateGroupInput](s, "iam:UpdateGroup"), s.UpdateGroup),
		wire.Op("DeleteGroup", "", on[groupInput](s, "iam:DeleteGroup"), s.DeleteGroup),
		wire.Op("AddUserToGroup", "", on[memberInput](s, "iam:AddUserToGroup"), s.AddUserToGroup),
		wire.Op("RemoveUserFromGroup", "", on[memberInput](s, "iam:RemoveUserFromGroup"), s.RemoveUserFromGroup),
		wire.Op("PutGroupPolicy", "", on[putGroupPolicyInput](s, "iam:PutGroupPolicy"), s.PutGroupPolicy),
		wire.Op("GetGroupPolicy", "", on[groupPolicyInput](s, "iam:GetGroupPolicy"), s.GetGroupPolicy),
		wire.Op("DeleteGroupPolicy", "", on[groupPolicyInput](s, "iam:DeleteGroupPolicy"), s.DeleteGroupPolicy),
		wire.Op("ListGroupPolicies", "", on[pagedGroupInput](s, "iam:ListGroupPolicies"), s.ListGroupPolicies),
		wire.Op("AttachGroupPolicy", "", on[attachGroupPolicyInput](s, "iam:AttachGroupPolicy"), s.AttachGroupPolicy),
		wire.Op("DetachGroupPolicy", "", on[attachGroupPolicyInput](s, "iam:DetachGroupPolicy"), s.DetachGroupPolicy),
		wire.Op("ListAttachedGroupPolicies", "", on[listAttachedGroupPoliciesInput](s, "iam:ListAttachedGroupPolicies"), s.ListAttachedGroupPolicies),
	}
}

func (s *Service) policyOperations() []wire.Operation {
	return []wire.Operation{
		wire.Op("CreatePolicy", "", on[createPolicyInput](s, "iam:CreatePolicy"), s.CreatePolicy),
		wire.Op("GetPolicy", "", on[policyInput](s, "iam:GetPolicy"), s.GetPolicy),
		wire.Op("ListPolicies", "", inAccount[listPoliciesInput](s, "iam:ListPolicies", "policy/*"), s.ListPolicies),
		wire.Op("DeletePolicy", "", on[policyInput](s, "iam:DeletePolicy"), s.DeletePolicy),
		wire.Op("CreatePolicyVersion", "", on[createVersionInput](s, "iam:CreatePolicyVersion"), s.CreatePolicyVersion),
		wire.Op("GetPolicyVersion", "", on[versionInput](s, "iam:GetPolicyVersion"), s.GetPolicyVersion),
		wire.Op("ListPolicyVersions", "", on[pagedPolicyInput](s, "iam:ListPolicyVersions"), s.ListPolicyVersions),
		wire.Op("SetDefaultPolicyVersion", "", on[versionInput](s, "iam:SetDefaultPolicyVersion"), s.SetDefaultPolicyVersion),
		wire.Op("DeletePolicyVersion", "", on[versionInput](s, "iam:DeletePolicyVersion"), s.DeletePolicyVersion),
		wire.Op("ListEntitiesForPolicy", "", on[listEntitiesInput](s, "iam:ListEntitiesForPolicy"), s.ListEntitiesForPolicy),
		wire.Op("TagPolicy", "", on[tagPolicyInput](s, "iam:TagPolicy"), s.TagPolicy),
		wire.Op("UntagPolicy", "", on[untagPolicyInput](s, "iam:UntagPolicy"), s.UntagPolicy),
		wire.Op("ListPolicyTags", "", on[pagedPolicyInput](s, "iam:ListPolicyTags"), s.ListPolicyTags),
	}
}

func (s *Service) providerOperations() []wire.Operation {
	return []wire.Operation{
		wire.Op("CreateOpenIDConnectProvider", "", on[createProviderInput](s, "iam:CreateOpenIDConnectProvider"), s.CreateOpenIDConnectProvider),
		wire.Op("GetOpenIDConnectProvider", "", on[providerInput](s, "iam:GetOpenIDConnectProvider"), s.GetOpenIDConnectProvider),
		wire.Op("ListOpenIDConnectProviders", "", inAccount[empty](s, "iam:ListOpenIDConnectProviders", "oidc-provider/*"), s.ListOpenIDConnectProviders),
		wire.Op("DeleteOpenIDConnectProvider", "", on[providerInput](s, "iam:DeleteOpenIDConnectProvider"), s.DeleteOpenIDConnectProvider),
		wire.Op("AddClientIDToOpenIDConnectProvider", "", on[clientIDInput](s, "iam:AddClientIDToOpenIDConnectProvider"), s.AddClientIDToOpenIDConnectProvider),
		wire.Op("RemoveClientIDFromOpenIDConnectProvider", "", on[clientIDInput](s, "iam:RemoveClientIDFromOpenIDConnectProvider"), s.RemoveClientIDFromOpenIDConnectProvider),
		wire.Op("UpdateOpenIDConnectProviderThumbprint", "", on[thumbprintInput](s, "iam:UpdateOpenIDConnectProviderThumbprint"), s.UpdateOpenIDConnectProviderThumbprint),
		wire.Op("TagOpenIDConnectProvider", "", on[tagProviderInput](s, "iam:TagOpenIDConnectProvider"), s.TagOpenIDConnectProvider),
		wire.Op("UntagOpenIDConnectProvider", "", on[untagProviderInput](s, "iam:UntagOpenIDConnectProvider"), s.UntagOpenIDConnectProvider),
		wire.Op("ListOpenIDConnectProviderTags", "", on[pagedProviderInput](s, "iam:ListOpenIDConnectProviderTags"), s.ListOpenIDConnectProviderTags),
	}
}

func (s *Service) accountOperations() []wire.Operation {
	return []wire.Operation{
		wire.Op("ListAccountAliases", "", inAccount[page](s, "iam:ListAccountAliases", ""), s.ListAccountAliases),
		wire.Op("GetAccountSummary", "", inAccount[empty](s, "iam:GetAccountSummary", ""), s.GetAccountSummary),
		wire.Op("GetAccountAuthorizationDetails", "",
			inAccount[authorizationDetailsInput](s, "iam:GetAccountAuthorizationDetails", ""), s.GetAccountAuthorizationDetails),
		wire.Op("SimulateCustomPolicy", "", inAccount[simulateCustomInput](s, "iam:SimulateCustomPolicy", ""), s.SimulateCustomPolicy),
		wire.Op("SimulatePrincipalPolicy", "", on[simulatePrincipalInput](s, "iam:SimulatePrincipalPolicy"), s.SimulatePrincipalPolicy),
		wire.Op("GetContextKeysForCustomPolicy", "",
			inAccount[customKeysInput](s, "iam:GetContextKeysForCustomPolicy", ""), s.GetContextKeysForCustomPolicy),
		wire.Op("GetContextKeysForPrincipalPolicy", "", on[principalKeysInput](s, "iam:GetContextKeysForPrincipalPolicy"), s.GetContextKeysForPrincipalPolicy),
	}
}

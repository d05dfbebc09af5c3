package iam_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

// Who may change users of one path must not move them to another, nor others to this one.
func TestMoveUser(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	for name, path := range map[string]string{"Ann": "/team/", "Bob": "/"} {
		if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name, Path: &path}); err != nil {
			t.Fatal(err)
		}
	}
	team := iam.NewFromConfig(s.Limited("team", servertest.Allow(`"iam:UpdateUser"`, "arn:aws:iam::111122223333:user/team/*", "")))
	move := func(name string, in iam.UpdateUserInput) error {
		in.UserName = &name
		_, err := team.UpdateUser(t.Context(), &in)
		return err
	}
	servertest.WantRefused(t, move("Ann", iam.UpdateUserInput{NewPath: aws.String("/")}), "AccessDenied", 403, "arn:aws:iam::111122223333:user/Ann")
	servertest.WantRefused(t, move("Bob", iam.UpdateUserInput{NewPath: aws.String("/team/")}), "AccessDenied", 403, "arn:aws:iam::111122223333:user/Bob")
	if err := move("Ann", iam.UpdateUserInput{NewUserName: aws.String("Anna"), NewPath: aws.String("/team/b/")}); err != nil {
		t.Errorf("within the team: %v", err)
	}
}

// Accounts share a store and see nothing of each other's users, keys and managed policies.
func TestAccountsOfUsers(t *testing.T) {
	first := servertest.New(t, nil)
	client := iam.NewFromConfig(first.Admin)
	if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("Ann")}); err != nil {
		t.Fatal(err)
	}
	key, _ := newKey(t, first, "Ann")
	arn := newPolicy(t, client, "list", servertest.AllowAll)
	first.Stop()
	second := servertest.Open(t, first.DataDir, func(cfg *server.Config) { cfg.AccountID, cfg.BuiltInClusters = "444455556666", nil })
	other := iam.NewFromConfig(second.Admin)
	for name, call := range map[string]func() error{
		"user": func() error {
			_, err := other.GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String("Ann")})
			return err
		},
		"key": func() error {
			_, err := other.GetAccessKeyLastUsed(t.Context(), &iam.GetAccessKeyLastUsedInput{AccessKeyId: &key})
			return err
		},
		"key of the caller": func() error {
			_, err := other.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{AccessKeyId: &key})
			return err
		},
		"policy": func() error {
			_, err := other.GetPolicyVersion(t.Context(), &iam.GetPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")})
			return err
		},
		"attaching the policy": func() error {
			_, err := other.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: aws.String("admin"), PolicyArn: arn})
			return err
		},
		"simulation": func() error {
			_, err := other.SimulatePrincipalPolicy(t.Context(), &iam.SimulatePrincipalPolicyInput{
				PolicySourceArn: aws.String("arn:aws:iam::111122223333:user/Ann"), ActionNames: []string{"s3:GetObject"},
			})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { servertest.WantRefused(t, call(), "NoSuchEntity", 404) })
	}
	if out, err := other.ListUsers(t.Context(), nil); err != nil || len(out.Users) != 1 {
		t.Errorf("users %+v, %v", out, err)
	}
}
